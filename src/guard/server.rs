//! The TLS server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use futures::StreamExt;
use gitward_core::verdict::Policy;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::watch;
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::{info, warn};

use super::lookup::Lookup;
use super::review::Reviewer;
use super::state::State;
use crate::certs;
use crate::record::{Recorder, Writer};
use crate::telemetry::{self, Readiness};

/// Largest body: escaping makes a review of some 12 MB of a 1 MB object (tried).
const MAX_BODY: usize = 20 << 20;
/// How much of a larger body is read before the connection is given up.
const DRAINED: usize = 4 * MAX_BODY;
/// How many reviews are judged at a time; the others wait. Bounds the memory together with [`MAX_BODY`].
const CONCURRENT: usize = 64;
/// How long requests in flight may take after the process was asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How a guard is run.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Where the API server calls.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub observe_listen: SocketAddr,
    /// gitward's own namespace.
    pub namespace: String,
    /// The Secret with the guard's certificate.
    pub tls_secret: String,
    /// The service account that may write what git declares.
    pub reconciler_account: String,
    /// The service account of the guard itself, which alone writes BlockedChanges.
    pub guard_account: String,
}

/// Why the guard stopped.
#[derive(Debug, Error)]
pub enum GuardError {
    /// An address cannot be listened on.
    #[error("cannot serve on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The task that follows the certificate ended.
    #[error("the certificate is no longer followed")]
    Certificate,
}

/// Serves until `stop` is done, then finishes what is in flight and writes what waits to be written.
///
/// # Errors
/// Where it cannot serve.
pub async fn run(client: Client, config: GuardConfig, stop: impl Future<Output = ()>) -> Result<(), GuardError> {
    let mut registry = Registry::default();
    let (recorder, refusals) = Recorder::new(&mut registry);
    let writer = tokio::spawn(Writer::new(client.clone(), config.namespace.clone()).run(refusals));
    let built_in = Policy::built_in(&config.namespace, &config.reconciler_account, &config.guard_account);
    let state = State::follow(&client, built_in);
    let readiness = Readiness::default();
    let observe = telemetry::serve(config.observe_listen, readiness.clone(), registry);
    let reviewer = Reviewer { state: state.clone(), lookup: Lookup::cluster(client.clone()), recorder };
    let secrets = Api::namespaced(client, &config.namespace);
    let served = tokio::select! {
        served = serve(&config, secrets, reviewer, state, readiness, stop) => served,
        ended = observe => Err(listen_error(config.observe_listen, ended)),
    };
    // The recorder is gone with the server: the writer ends when its queue is empty.
    if writer.await.is_err() {
        warn!("the last BlockedChanges may not be written; the log lines above have them");
    }
    served
}

fn listen_error(address: SocketAddr, ended: std::io::Result<()>) -> GuardError {
    let source = ended.err().unwrap_or_else(|| std::io::Error::other("the server ended"));
    GuardError::Listen { address, source }
}

async fn serve(
    config: &GuardConfig,
    secrets: Api<Secret>,
    reviewer: Reviewer,
    state: State,
    readiness: Readiness,
    stop: impl Future<Output = ()>,
) -> Result<(), GuardError> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(certs::serve_from_secret(secrets, config.tls_secret.clone(), sender));
    let tls = tokio::select! {
        tls = first(receiver) => tls?,
        () = state_of_waiting(config) => return Ok(()),
    };
    state.ready().await;
    let handle = Handle::new();
    let server = axum_server::bind_rustls(config.listen, tls).handle(handle.clone());
    let serving = server.serve(router(reviewer).into_make_service());
    let stopping = async {
        handle.listening().await;
        readiness.set(true);
        info!(listen = %config.listen, "guards");
        stop.await;
        readiness.set(false);
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served.map_err(|source| GuardError::Listen { address: config.listen, source }),
        () = stopping => Ok(()),
    }
}

/// Says once a minute what the guard waits for.
async fn state_of_waiting(config: &GuardConfig) {
    loop {
        info!(secret = config.tls_secret, "waits for its certificate, which the reconciler issues");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

async fn first(mut receiver: watch::Receiver<Option<RustlsConfig>>) -> Result<RustlsConfig, GuardError> {
    let loaded = receiver.wait_for(Option::is_some).await.map_err(|_| GuardError::Certificate)?;
    loaded.clone().ok_or(GuardError::Certificate)
}

fn router(reviewer: Reviewer) -> Router {
    Router::new()
        .route("/review", post(review))
        .layer(GlobalConcurrencyLimitLayer::new(CONCURRENT))
        .with_state(Arc::new(reviewer))
}

async fn review(Shared(reviewer): Shared<Arc<Reviewer>>, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err((status, text)) => {
            warn!(%status, text, "a call without a verdict");
            return (status, text).into_response();
        }
    };
    match reviewer.answer(&body).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(error) => {
            warn!(%error, "a call without a verdict");
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
    }
}

/// Reads a body up to the limit. One that is larger is read on, up to a second limit, without being kept: a client
/// that is still sending would see a broken connection instead of the answer.
async fn read(body: Body) -> Result<Vec<u8>, (StatusCode, String)> {
    let mut stream = body.into_data_stream();
    let (mut kept, mut length) = (Vec::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| (StatusCode::BAD_REQUEST, format!("the body could not be read: {e}\n")))?;
        length += chunk.len();
        if length <= MAX_BODY {
            kept.extend_from_slice(&chunk);
        } else if length > DRAINED {
            break;
        }
    }
    if length > MAX_BODY {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a review may have {MAX_BODY} bytes at most\n")));
    }
    Ok(kept)
}
