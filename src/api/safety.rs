//! Headers that a browser needs, the same on every side: it guesses at no answer, and keeps none that is not public.

use crate::telemetry::metrics::labels::Route;

/// Takes a body for what `Content-Type` says, whatever it looks like: case data may look like a page.
const NO_SNIFFING: (&str, &str) = ("x-content-type-options", "nosniff");
/// Keeps no copy, in a browser or in a proxy.
const NO_COPIES: (&str, &str) = ("cache-control", "no-store");

/// Returns the headers of an answer of this route.
pub(super) fn headers(route: Route) -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::once(NO_SNIFFING).chain((!is_public(route)).then_some(NO_COPIES))
}

/// Returns whether answers hold nothing of a case or a specification.
fn is_public(route: Route) -> bool {
    matches!(route, Route::Health | Route::HealthLive | Route::Metrics | Route::OpenApi)
}
