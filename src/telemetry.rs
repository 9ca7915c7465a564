//! What the processes tell of themselves: log lines on stdout, metrics and probes on a plain HTTP port of their own.
//!
//! Imports nothing of gitward's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

/// Sends log lines as JSON to stdout, one object a line. `RUST_LOG` chooses what; the default is `info`.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
}

/// Whether the process is ready to do its work, for the readiness probe. Clones share one answer.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on, or until it is set otherwise.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it is.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` (OpenMetrics) until the process ends.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(listen: SocketAddr, readiness: Readiness, mut registry: Registry) -> std::io::Result<()> {
    let is_ready: Gauge = Gauge::default();
    registry.register("gitward_ready", "Whether the process is ready to do its work (1) or not (0)", is_ready.clone());
    let registry = Arc::new(registry);
    let told = readiness.clone();
    let ready = move || async move {
        if readiness.get() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n") }
    };
    let metrics = move || async move {
        is_ready.set(i64::from(told.get()));
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    axum::serve(tokio::net::TcpListener::from_std(bind(listen)?)?, router).await
}

/// Listens on an address, without blocking. `[::]` takes callers by IPv4 as well; on a machine without IPv6 it means `0.0.0.0`.
///
/// # Errors
/// Where the address cannot be listened on.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = match TcpListener::bind(address) {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())),
        bound => bound,
    }?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn by_default_callers_come_by_ipv4_and_by_ipv6() {
        let listener = bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }
}
