//! Routes of specifications.

use super::answer::{Answered, JSON, OFFER_SVG, accepts_json, choose};
use super::header::{self, Media};
use super::problem::Problem;
use super::query::Query;
use super::{Request, encode_segment, once, show};
use crate::engine::room::Room;
use crate::engine::service::{Once, Service, SpecificationView};
use crate::telemetry::traces::Context;

/// Registers the specification in the body.
pub(super) fn register(
    service: &dyn Service,
    request: &Request,
    trace: Option<Context>,
) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(&request.query, &["accept_unsound"])?;
    // Without effect until soundness is judged; checked so that a slip does not lie in wait for that day.
    query.flag("accept_unsound")?;
    header::media(request, &[Media::Xml], "application/xml")?;
    let once = Once { trace, ..once(request)? };
    let view = service.register(&request.body, &once)?;
    let status = if view.is_new { 201 } else { 200 };
    let location = format!("/workflows/{}@{}", encode_segment(&view.id), view.version);
    Ok(Answered::json(status, &show::registered(&view, once.key.as_deref())).with("location", location))
}

/// Lists specifications.
pub(super) fn list(service: &dyn Service, request: &Request, room: &Room) -> Result<Answered, Problem> {
    accepts_json(request)?;
    let query = Query::read(&request.query, &["after", "limit"])?;
    let page = service.specifications(&query.page()?, room)?;
    let line = |out: &mut Vec<u8>, view: &SpecificationView| show::write(out, &show::specification(view));
    Ok(Answered::new(200, JSON, show::page(&page, line)))
}

/// Shows one specification and its nets.
pub(super) fn get(service: &dyn Service, request: &Request, id: &str) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    let view = service.specification(id)?;
    Ok(Answered::json(200, &show::specification_with_nets(&view)))
}

/// Draws a specification's root net.
pub(super) fn picture(service: &dyn Service, request: &Request, id: &str) -> Result<Answered, Problem> {
    choose(request, &[OFFER_SVG])?;
    Query::read(&request.query, &[])?;
    let view = service.specification(id)?;
    super::picture::answer(&view.nets, None)
}
