//! Answers on their way out, and what the client accepts.

use serde::Serialize;

use super::{Error, Request, Response, header, show};
use crate::engine::room::Room;
use crate::telemetry::metrics::labels::Route;

/// Content type of ordinary answers.
pub(super) const JSON: &str = "application/json";

/// What a route gives when all went well.
#[derive(Debug)]
pub(super) struct Answered {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answered {
    /// Returns an answer of any type.
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    /// Returns a JSON document.
    pub(super) fn json(status: u16, document: &impl Serialize) -> Self {
        Self::new(status, JSON, show::text(document))
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the answer as it is sent.
    pub(super) fn into_response(self, route: Route) -> Response {
        Response { status: self.status, headers: self.headers, body: self.body, route, room: Room::default() }
    }
}

/// A type that a route can give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// As in Content-Type, without parameters.
    pub(super) media_type: &'static str,
    /// Other names that clients ask for it by.
    pub(super) aliases: &'static [&'static str],
}

/// JSON, also asked for as a problem document by careful clients.
pub(super) const OFFER_JSON: Offer = Offer { media_type: JSON, aliases: &["application/problem+json"] };
/// XML.
pub(super) const OFFER_XML: Offer = Offer { media_type: "application/xml", aliases: &["text/xml"] };
/// A picture.
pub(super) const OFFER_SVG: Offer =
    Offer { media_type: "image/svg+xml", aliases: &["application/xml", "text/xml"] };
/// Lines of JSON.
pub(super) const OFFER_LINES: Offer = Offer {
    media_type: "application/x-ndjson",
    aliases: &["application/ndjson", "application/jsonl", JSON, "application/problem+json"],
};

/// Returns the index of the offer that the client likes best, the first when it does not care.
///
/// # Errors
/// It accepts none of them.
pub(super) fn choose(request: &Request, offers: &[Offer]) -> Result<usize, Error> {
    let Some(accept) = header::find(request, "accept") else { return Ok(0) };
    let mut best: Option<(u32, usize)> = None;
    for (index, offer) in offers.iter().enumerate() {
        let quality = quality_of(accept, offer);
        if quality > 0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, index));
        }
    }
    best.map(|(_, index)| index).ok_or(Error::NotAcceptable { offered: offers[0].media_type })
}

/// Checks that the client accepts JSON.
pub(super) fn accepts_json(request: &Request) -> Result<(), Error> {
    choose(request, &[OFFER_JSON]).map(|_| ())
}

/// Returns how well the client likes an offer, in thousandths; the most specific range decides.
fn quality_of(accept: &str, offer: &Offer) -> u32 {
    let mut found: (u8, u32) = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .filter_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map(|quality| quality.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0))
            .next()
            .unwrap_or(1.0);
        let family = offer.media_type.split('/').next().unwrap_or_default();
        let specific = if media_range == offer.media_type || offer.aliases.contains(&media_range.as_str()) {
            3
        } else if media_range.strip_suffix("/*").is_some_and(|range| range == family) {
            2
        } else if media_range == "*/*" || media_range == "*" || media_range.is_empty() {
            1
        } else {
            continue;
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let thousandths = (quality * 1000.0) as u32;
        if specific > found.0 || (specific == found.0 && thousandths > found.1) {
            found = (specific, thousandths);
        }
    }
    found.1
}
