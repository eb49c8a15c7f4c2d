//! The span of a request: from the moment it was read until its answer is there.

use super::{Request, Response, header};
use crate::engine::service::Service;
use crate::id::Time;
use crate::telemetry::metrics::labels::Route;
use crate::telemetry::traces::{About, Context, Parent, Span, Tracer};

/// A request that is traced.
pub(super) struct Traced {
    pub(super) context: Context,
    parent: Option<Parent>,
    start: Time,
    route: Route,
}

/// Begins the span of a request, if it is traced. Questions about the service itself are not: monitoring asks them again
/// and again.
pub(super) fn begin(service: &dyn Service, request: &Request, route: Route) -> Option<Traced> {
    let tracer = service.tracer()?;
    if matches!(route, Route::Health | Route::HealthLive | Route::Metrics | Route::OpenApi) {
        return None;
    }
    let parent = header::find(request, "traceparent").and_then(Parent::read);
    let context = tracer.begin(parent)?;
    Some(Traced { context, parent, start: tracer.now(), route })
}

impl Traced {
    /// Ends the span, and tells the client its place.
    pub(super) fn end(self, service: &dyn Service, response: &mut Response) {
        response.headers.push(("traceparent", self.context.to_string()));
        self.finish(service, Some(response.status));
    }

    /// Ends the span of a request whose client is gone: what was done for it is under this span.
    pub(super) fn abandon(self, service: &dyn Service) {
        self.finish(service, None);
    }

    fn finish(self, service: &dyn Service, status: Option<u16>) {
        let Self { context, parent, start, route } = self;
        if let Some(tracer) = service.tracer() {
            let about = About::Request { route, status };
            tracer.take(Span { context, parent, start, end: tracer.now(), about });
        }
    }
}

/// Returns the span that one of many operations of a request belongs under: each counts as a trace of its own, so that no
/// batch makes more spans than so many requests would.
pub(super) fn of_many(service: &dyn Service, request: Option<Context>) -> Option<Context> {
    request.filter(|_| service.tracer().is_some_and(Tracer::samples_another))
}
