//! Which route a request is for. The set itself is [`Route`], whose texts are the patterns.

use std::sync::LazyLock;

use super::query::decode;
use super::{Error, problem::Problem};
use crate::telemetry::metrics::labels::{Label, Route};

/// A route and the id in its path.
#[derive(Debug)]
pub(super) struct Found {
    /// The route.
    pub(super) route: Route,
    /// The decoded id; empty when the path has none.
    pub(super) id: String,
}

/// Returns the routes that are served today.
pub(super) fn served() -> impl Iterator<Item = Route> {
    Route::ALL.iter().copied().filter(|route| !matches!(route, Route::Console | Route::Other))
}

/// What asks for the picture of the thing before it.
const PICTURE: &str = ".svg";

/// A route and what its text says.
struct Pattern {
    route: Route,
    method: &'static str,
    /// The path, up to the id if it has one.
    before: &'static str,
    /// What follows the id.
    after: Option<&'static str>,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let pattern = |route: Route| {
        let (method, path) = route.value().split_once(' ').expect("invariant: a route is METHOD PATH");
        let (before, after) =
            path.split_once("{id}").map_or((path, None), |(before, after)| (before, Some(after)));
        Pattern { route, method, before, after }
    };
    served().map(pattern).collect()
});

/// Finds the route of a request.
pub(super) fn find(method: &str, path: &str) -> Result<Found, Problem> {
    let asked = if method == "HEAD" { "GET" } else { method };
    let mut allow = Vec::new();
    for pattern in PATTERNS.iter() {
        let Some(id) = matches(pattern, path) else { continue };
        if pattern.method == asked {
            let id = decode(id).ok_or(Error::Encoding { what: "the id in the path" })?;
            return Ok(Found { route: pattern.route, id });
        }
        allow.push(pattern.method);
    }
    if allow.is_empty() {
        return Err(Error::NoRoute { path: path.chars().take(200).collect() }.into());
    }
    allow.sort_unstable();
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    Err(Error::Method { method: method.chars().take(20).collect(), allow: allow.join(", ") }.into())
}

/// Returns the id in `path`, still encoded, if the path has the form of the pattern.
///
/// The id of a specification is an address itself: if a client leaves its slashes as they are, all that follows
/// is the id. `.svg` at the end is never part of an id, unless its dot is written `%2E`.
fn matches<'a>(pattern: &Pattern, path: &'a str) -> Option<&'a str> {
    let Some(after) = pattern.after else {
        return (pattern.before == path).then_some("");
    };
    let id = path.strip_prefix(pattern.before)?.strip_suffix(after)?;
    let slashes_belong = pattern.before == "/workflows/";
    let is_id = !id.is_empty() && (slashes_belong || !id.contains('/'));
    let is_picture = after.is_empty() && id.ends_with(PICTURE);
    (is_id && !is_picture).then_some(id)
}
