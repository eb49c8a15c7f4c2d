//! Routes of the archive: cases leave the live store, and come back.

use serde_json::json;

use super::answer::{Answered, accepts_json};
use super::header::{self, Media};
use super::problem::Problem;
use super::query::{self, Query, duration_us, shorten};
use super::{Error, Request, body, cases};
use crate::engine::archiving::CASES_MAX;
use crate::engine::room::Room;
use crate::engine::service::{ArchiveOrder, CaseState, RestoreOrder, Service};

/// Longest text that says where a history comes from, in bytes.
const FROM_BYTES_MAX: usize = 255;

/// Archives a slice of closed cases.
pub(super) fn archive(service: &dyn Service, request: &Request) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    header::media(request, &[Media::Json], "application/json")?;
    let known = ["older_than", "workflow", "state", "limit", "after", "dry_run"];
    let mut members = body::object(&request.body, &known)?;
    let older_than = members.need("older_than")?;
    let older_than_us = duration_us(&older_than)
        .ok_or_else(|| wrong("older_than", "a length of time such as 90d, 12h or 30m", &older_than))?;
    let order = ArchiveOrder {
        older_than_us,
        workflow: members.text("workflow")?,
        state: members.text("state")?.map(|text| closed_state(&text)).transpose()?,
        limit: members.number("limit", CASES_MAX)?.unwrap_or(CASES_MAX),
        after: members.text("after")?,
        is_trial: members.flag("dry_run")?,
    };
    members.finish()?;
    let done = service.archive(&order)?;
    let document = json!({
        "archived": done.cases,
        "bytes": done.bytes,
        "file": done.file,
        "kept_back": done.kept_back,
        "refused": done.refused,
        "dry_run": order.is_trial,
        "next": done.next,
    });
    Ok(Answered::json(200, &document))
}

fn wrong(member: &'static str, wanted: &str, value: &str) -> Error {
    query::wrong(member, wanted, &shorten(value))
}

fn closed_state(text: &str) -> Result<CaseState, Error> {
    let found = CaseState::ALL.into_iter().find(|state| state.is_closed() && state.name() == text);
    found.ok_or_else(|| wrong("state", "completed or cancelled: no other cases are archived", text))
}

/// Brings a case back from its archive, or as the body has it.
pub(super) fn restore(
    service: &dyn Service,
    request: &Request,
    text: &str,
    room: &Room,
) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(&request.query, &["force", "from"])?;
    let types = "application/json or application/octet-stream";
    let media = header::media(request, &[Media::Json], types)?;
    // A packed history begins with letters; without a content type, a body may also be an empty object.
    let body = request.body.trim_ascii_start();
    let is_given = media == Media::Unknown && !body.is_empty() && !body.starts_with(b"{");
    if !is_given {
        body::object(&request.body, &[])?.finish()?;
    }
    let from = query.get("from").unwrap_or("a history that was sent");
    if from.len() > FROM_BYTES_MAX {
        return Err(query::wrong("from", &format!("at most {FROM_BYTES_MAX} bytes long"), from).into());
    }
    let order = RestoreOrder {
        case: cases::id(text)?,
        history: is_given.then(|| request.body.clone()),
        from: from.to_owned(),
        is_forced: query.flag("force")?,
    };
    Ok(cases::answer(&service.restore(order, room)?, room))
}
