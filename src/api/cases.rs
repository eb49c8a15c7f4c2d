//! Routes of cases.

use super::answer::{Answered, JSON, OFFER_JSON, OFFER_SVG, OFFER_XML, accepts_json, choose};
use super::header::{self, Media};
use super::problem::Problem;
use super::query::{Query, shorten};
use super::{Error, Request, body, data, show};
use crate::engine::cost;
use crate::engine::room::Room;
use crate::engine::service::{
    Answer, Brief, CaseAct, CaseFilter, CaseSummary, HistoryView, IsNew, Operation, Page, PageOf, Service,
};
use crate::error::Kind;
use crate::id::CaseId;
use crate::telemetry::metrics::labels::Route;

/// Most cases of a page whose histories are followed: one request must not keep a thread for long.
const VERIFIED_CASES_MAX: u32 = 100;

/// Reads the id of a case.
pub(super) fn id(text: &str) -> Result<CaseId, Error> {
    CaseId::parse(text).ok_or_else(|| Error::Id { text: shorten(text), what: "case" })
}

/// Reads what case is to be started.
pub(super) fn create(request: &Request) -> Result<Operation, Problem> {
    accepts_json(request)?;
    let media = header::media(request, &[Media::Json, Media::Xml], "application/json or application/xml")?;
    Ok(if media == Media::Xml {
        let query = Query::read(&request.query, &["workflow", "key"])?;
        let workflow = query
            .get("workflow")
            .ok_or_else(|| super::query::wrong("workflow", "given with an XML body", ""))?;
        Operation::Create {
            workflow: workflow.to_owned(),
            data: data::from_xml(&request.body)?,
            business_key: query.get("key").map(|key| header::business_key("key", key)).transpose()?,
        }
    } else {
        Query::read(&request.query, &[])?;
        let mut members = body::object(&request.body, &["workflow", "data", "key", "business_key"])?;
        let key = members.business_key("key")?;
        let business_key = members.business_key("business_key")?;
        if key.is_some() && business_key.is_some() {
            let wanted = "left out when business_key is given, which is the same".to_owned();
            return Err(Error::Member { member: "key", wanted }.into());
        }
        Operation::Create {
            workflow: members.need("workflow")?,
            data: members.data()?,
            business_key: business_key.or(key),
        }
    })
}

/// Reads what is to be done to a case.
pub(super) fn act(request: &Request, route: Route, text: &str) -> Result<Operation, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    header::media(request, &[Media::Json], "application/json")?;
    let id = id(text)?;
    let known: &[&str] = if route == Route::CaseCancel { &["reason"] } else { &[] };
    let mut members = body::object(&request.body, known)?;
    let act = match route {
        Route::CaseCancel => CaseAct::Cancel { reason: members.reason()? },
        Route::CaseSuspend => CaseAct::Suspend,
        Route::CaseResume => CaseAct::Resume,
        Route::CaseRetry => CaseAct::Retry,
        _ => CaseAct::Execute,
    };
    Ok(Operation::Case(id, act))
}

/// Returns the status of what the engine answers.
pub(super) fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Created(_, IsNew::Yes) | Answer::Brief(Brief::Created(_, _, IsNew::Yes)) => 201,
        Answer::NotRemembered(answer) => status(answer),
        _ => 200,
    }
}

/// Turns what the engine answers into what the client gets.
pub(super) fn answer(answer: &Answer, room: &Room) -> Answered {
    let mut document = Vec::with_capacity(show::DOCUMENT_BYTES);
    show::answer(&mut document, answer, room);
    let answered = Answered::new(status(answer), JSON, document);
    let made = match answer {
        Answer::Created(case, IsNew::Yes) => case.id,
        Answer::Brief(Brief::Created(case, _, IsNew::Yes)) => *case,
        _ => return answered,
    };
    answered.with("location", format!("/cases/{made}"))
}

/// Lists cases.
pub(super) fn list(service: &dyn Service, request: &Request, room: &Room) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(
        &request.query,
        &["state", "workflow", "older_than", "archived", "verify", "after", "limit"],
    )?;
    let filter = CaseFilter {
        is_archived: query.flag("archived")?,
        state: query.case_state()?,
        workflow: query.get("workflow").map(str::to_owned),
        older_than_us: query.duration_us("older_than")?,
    };
    let page_of = query.page()?;
    if !query.flag("verify")? {
        let page = service.cases(&filter, &page_of, room)?;
        return Ok(Answered::new(
            200,
            JSON,
            show::page(&page, |out, case| show::write(out, &show::summary(case))),
        ));
    }
    let page_of = PageOf { limit: page_of.limit.min(VERIFIED_CASES_MAX), ..page_of };
    let Page { items, next } = service.cases(&filter, &page_of, room)?;
    let ids: Vec<CaseId> = items.iter().map(|case| case.id).collect();
    let mut found = service.check_cases(&ids);
    let mut checked = Vec::new();
    for case in items {
        match found.remove(&case.id).expect("invariant: every case that was asked about is answered") {
            // It left the list just now.
            Err(refusal) if refusal.kind == Kind::NotFound => {}
            damage => checked.push((case, damage?)),
        }
    }
    let page = Page { items: checked, next };
    let line = |out: &mut Vec<u8>, (case, damage): &(CaseSummary, Option<String>)| {
        show::write(out, &show::checked(case, damage.as_deref()));
    };
    Ok(Answered::new(200, JSON, show::page(&page, line)))
}

/// Shows one case, or its data as XML.
pub(super) fn get(
    service: &dyn Service,
    request: &Request,
    text: &str,
    room: &Room,
) -> Result<Answered, Problem> {
    let chosen = choose(request, &[OFFER_JSON, OFFER_XML])?;
    Query::read(&request.query, &[])?;
    let case = service.case(id(text)?, room)?;
    Ok(match chosen {
        0 => {
            let write = |out: &mut Vec<u8>| show::case(out, &case);
            Answered::new(200, JSON, show::document(room, cost::largest_value(&case), write)?)
        }
        _ => Answered::new(200, OFFER_XML.media_type, data::to_xml(&case.root.data)),
    }
    .with("vary", "accept".to_owned()))
}

/// Draws the root net of a case with its tokens.
pub(super) fn picture(
    service: &dyn Service,
    request: &Request,
    text: &str,
    room: &Room,
) -> Result<Answered, Problem> {
    choose(request, &[OFFER_SVG])?;
    Query::read(&request.query, &[])?;
    let id = id(text)?;
    let nets = service.nets_of(id)?;
    let case = service.case(id, room)?;
    super::picture::answer(&nets, Some(&case.root))
}

/// Shows what happened in a case.
pub(super) fn history(
    service: &dyn Service,
    request: &Request,
    text: &str,
    room: &Room,
) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(&request.query, &["after", "limit"])?;
    let case = id(text)?;
    let page = service.history(case, &query.page()?, room)?;
    let largest = page.items.iter().map(cost::largest_of_event).max().unwrap_or(0);
    let line = |out: &mut Vec<u8>, event: &HistoryView| show::event(out, event, case);
    Ok(Answered::new(200, JSON, show::document(room, largest, |out| show::write_page(out, &page, line))?))
}
