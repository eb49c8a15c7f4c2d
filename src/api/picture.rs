//! Nets as pictures.

use super::Error;
use super::answer::{Answered, OFFER_SVG};
use super::problem::Problem;
use crate::engine::service::{NetView, Nets};
use crate::net::{Net, svg};

/// Draws the root net, with its tokens and busy tasks when it is a case's.
pub(super) fn answer(nets: &Nets, view: Option<&NetView>) -> Result<Answered, Problem> {
    let net = match view {
        // A closed case has no net instance left; its net is drawn empty.
        Some(view) => nets.all.iter().find(|net| net.id == view.net).or(nets.root()),
        None => nets.root(),
    };
    let net = net.ok_or(Error::NoAnswer)?;
    let marking = view.map(|view| numbers(net, view));
    Ok(Answered::new(200, OFFER_SVG.media_type, svg::render(net, marking.as_deref())))
}

/// Turns names of marked conditions and busy tasks into places with their tokens.
fn numbers(net: &Net, view: &NetView) -> Vec<(u16, u16)> {
    let conditions = view.marking.iter().filter_map(|(name, count)| {
        let place = net.places.iter().position(|place| place.name().as_deref() == Some(name))?;
        Some((u16::try_from(place).ok()?, u16::try_from(*count).unwrap_or(u16::MAX)))
    });
    let busy = view.busy.iter().filter_map(|id| {
        let task = net.tasks.iter().find(|task| task.id == *id)?;
        Some((task.busy, 1))
    });
    let mut marking: Vec<_> = conditions.chain(busy).collect();
    marking.sort_unstable();
    marking
}
