//! Routes of work items.

use super::answer::{Answered, JSON, OFFER_JSON, OFFER_XML, accepts_json, choose};
use super::header::{self, Media};
use super::problem::Problem;
use super::query::{Query, shorten, wrong};
use super::{Error, Request, body, cases, data, show};
use crate::engine::cost;
use crate::engine::room::Room;
use crate::engine::service::{ItemAct, ItemFilter, Operation, Service};
use crate::id::ItemId;
use crate::telemetry::metrics::labels::Route;

/// States that a live work item can be in.
const STATES: [&str; 3] = ["enabled", "executing", "failed"];

/// Reads the id of a work item.
pub(super) fn id(text: &str) -> Result<ItemId, Error> {
    ItemId::parse(text).ok_or_else(|| Error::Id { text: shorten(text), what: "work item" })
}

/// Lists live work items.
pub(super) fn list(service: &dyn Service, request: &Request, room: &Room) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(&request.query, &["case", "workflow", "task", "state", "after", "limit"])?;
    let state = query.get("state").map(str::to_owned);
    if let Some(state) = state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(wrong("state", &format!("one of {}", STATES.join(", ")), state).into());
    }
    let case =
        query.get("case").map(|text| cases::id(text).map_err(|_| wrong("case", "the id of a case", text)));
    let filter = ItemFilter {
        case: case.transpose()?,
        workflow: query.get("workflow").map(str::to_owned),
        task: query.get("task").map(str::to_owned),
        state,
    };
    let page = service.items(&filter, &query.page()?, room)?;
    let largest = page.items.iter().map(|item| cost::largest(&item.data)).max().unwrap_or(0);
    Ok(Answered::new(
        200,
        JSON,
        show::document(room, largest, |out| show::write_page(out, &page, show::item))?,
    ))
}

/// Shows one work item, or its data as XML.
pub(super) fn get(
    service: &dyn Service,
    request: &Request,
    text: &str,
    room: &Room,
) -> Result<Answered, Problem> {
    let chosen = choose(request, &[OFFER_JSON, OFFER_XML])?;
    Query::read(&request.query, &[])?;
    let item = service.item(id(text)?, room)?;
    Ok(match chosen {
        0 => {
            let write = |out: &mut Vec<u8>| show::item(out, &item);
            Answered::new(200, JSON, show::document(room, cost::largest(&item.data), write)?)
        }
        _ => Answered::new(200, OFFER_XML.media_type, data::to_xml(&item.data)),
    }
    .with("vary", "accept".to_owned()))
}

/// Reads what is to be done to a work item.
pub(super) fn act(request: &Request, route: Route, text: &str) -> Result<Operation, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    let act = if route == Route::ItemComplete {
        ItemAct::Complete(outputs(request)?)
    } else {
        header::media(request, &[Media::Json], "application/json")?;
        let known: &[&str] = if route == Route::ItemStart { &[] } else { &["reason"] };
        let mut members = body::object(&request.body, known)?;
        match route {
            Route::ItemStart => ItemAct::Start,
            Route::ItemFail => ItemAct::Fail { reason: members.reason()? },
            _ => ItemAct::Skip { reason: members.reason()? },
        }
    };
    Ok(Operation::Item(id(text)?, act))
}

fn outputs(request: &Request) -> Result<Vec<(String, crate::engine::service::Fragment)>, Error> {
    let media = header::media(request, &[Media::Json, Media::Xml], "application/json or application/xml")?;
    if media == Media::Xml {
        return data::from_xml(&request.body);
    }
    body::object(&request.body, &["data"])?.data()
}
