//! A collector in this process: takes what comes over gRPC and keeps it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use knhk::engine::threads::Threads;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What came.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) spans: Vec<ResourceSpans>,
    pub(super) metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<Taken>>);

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().spans.extend(request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.lock().unwrap().metrics.extend(request.into_inner().resource_metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// The running collector; it ends when it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    keeper: Keeper,
    stop: Option<oneshot::Sender<()>>,
    threads: Option<Threads>,
}

impl Receiver {
    /// Starts at an address, or at any free one of this machine when its port is 0.
    pub(super) fn start(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (keeper, (stop, stopped)) = (Keeper::default(), oneshot::channel::<()>());
        let mut threads = Threads::new(Vec::new());
        let kept = keeper.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                let server = tonic::transport::Server::builder()
                    .add_service(TraceServiceServer::new(kept.clone()))
                    .add_service(MetricsServiceServer::new(kept))
                    .serve_with_incoming(incoming);
                // Dropping the server drops its connections: a client learns of it at once.
                let mut server = std::pin::pin!(server);
                let mut stopped = std::pin::pin!(stopped);
                std::future::poll_fn(|context| {
                    if std::future::Future::poll(stopped.as_mut(), context).is_ready() {
                        return std::task::Poll::Ready(());
                    }
                    std::future::Future::poll(server.as_mut(), context).map(|ended| ended.unwrap())
                })
                .await;
            });
        };
        threads.spawn("receiver", serve).unwrap();
        Self { address, keeper, stop: Some(stop), threads: Some(threads) }
    }

    /// Looks at what came so far.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Taken) -> R) -> R {
        look(&self.keeper.0.lock().unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.threads.take().map(Threads::join));
    }
}
