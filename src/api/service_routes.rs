//! Routes about the service itself: health, figures, and the description of this interface.

use serde_json::json;

use super::Request;
use super::answer::{Answered, JSON, OFFER_JSON, Offer, accepts_json, choose};
use super::problem::Problem;
use super::query::Query;
use crate::engine::service::{Maintained, Maintenance, Service};

/// The description of this interface; a test holds it against the routes.
const OPENAPI: &str = include_str!("openapi.json");
/// Content type of the older text form of figures.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of the newer one.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Tells whether the service can do its work.
pub(super) fn health(service: &dyn Service, request: &Request) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    let health = service.health();
    if !health.failing.is_empty() {
        return Err(Problem::failing(&health));
    }
    let status = if health.degraded.is_empty() { "ok" } else { "degraded" };
    Ok(Answered::json(200, &json!({ "status": status, "degraded": health.degraded })))
}

/// Tells that the service answers.
pub(super) fn live(request: &Request) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    Ok(Answered::json(200, &json!({ "status": "live" })))
}

/// Shows the service's figures.
pub(super) fn metrics(service: &dyn Service, request: &Request) -> Result<Answered, Problem> {
    let offers = [
        Offer { media_type: "text/plain", aliases: &[] },
        Offer { media_type: "application/openmetrics-text", aliases: &[] },
    ];
    let chosen = choose(request, &offers)?;
    Query::read(&request.query, &[])?;
    let content_type = if chosen == 0 { PROMETHEUS } else { OPENMETRICS };
    service.measure();
    Ok(Answered::new(200, content_type, service.metrics().render(chosen == 1)))
}

/// Describes this interface.
pub(super) fn openapi(request: &Request) -> Result<Answered, Problem> {
    choose(request, &[OFFER_JSON])?;
    Query::read(&request.query, &[])?;
    Ok(Answered::new(200, JSON, OPENAPI))
}

/// Has the configuration read again.
pub(super) fn reload(service: &dyn Service, request: &Request) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    Ok(Answered::json(200, &service.reload()?))
}

/// Does something to the state on disk.
pub(super) fn maintain(
    service: &dyn Service,
    request: &Request,
    what: Maintenance,
) -> Result<Answered, Problem> {
    accepts_json(request)?;
    Query::read(&request.query, &[])?;
    Ok(Answered::json(
        200,
        &match service.maintain(what)? {
            Maintained::Snapshot { seq, new_bytes } => {
                json!({ "seq": seq, "is_new": new_bytes.is_some(), "bytes": new_bytes })
            }
            Maintained::Trimmed { files, bytes } => json!({ "files": files, "bytes": bytes }),
            Maintained::Upgraded { from, to } => json!({ "from": from, "to": to }),
        },
    ))
}
