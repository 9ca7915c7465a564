//! The TLS server: from a connection to a review's body, and back.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use gitward_core::text::bounded;
use gitward_core::verdict::Policy;
use kube::Client;
use kube::api::Api;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout_at;
use tracing::{info, warn};

use super::bodies::Bodies;
use super::connections::Connections;
use super::judging::Judges;
use super::limits::{FIRST, HEADERS, IDLE, Refusal, STREAMS, WINDOW};
use super::lookup::Lookup;
use super::metrics::Metrics;
use super::offline::{FileError, read_objects, read_policy};
use super::record::{Recorder, Writer};
use super::review::{Answered, Reviewer};
use super::state::State;
use super::unsent::{UNSENT, Unsent};
use crate::certs::{self, CertificateSource, Expiry, ReloadError};
use crate::telemetry::{self, Readiness};

/// How long requests in flight may take after the process has stopped to accept. Longer than any takes.
const GRACE: Duration = Duration::from_secs(10);

/// Longest words about a call that has no verdict, in bytes: they repeat what was sent.
const LONGEST_ERROR: usize = 1024;

/// How a guard is run.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Where the API server calls.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub observe_listen: SocketAddr,
    /// gitward's own namespace.
    pub namespace: String,
    /// The service account that may write what git declares.
    pub reconciler_account: String,
    /// The service account of the guard itself, which alone writes BlockedChanges.
    pub guard_account: String,
    /// PEM certificates of authorities: callers must show a certificate that one of them has signed.
    pub client_ca: Option<PathBuf>,
    /// How many connections there may be. The API server keeps a few, and opens more under load.
    pub connections: usize,
    /// How many of them one client address may have.
    pub connections_per_address: usize,
    /// What the bodies of all requests in flight may hold together, in MiB.
    pub bodies_mib: usize,
    /// How long a request may take, from its headers to the answer. Shorter than the webhook's `timeoutSeconds`.
    pub answer_within: Duration,
    /// How long it serves on after it was asked to stop, until nobody is sent to it any more.
    pub drain: Duration,
}

/// Where a guard has its policy, objects and certificate from.
#[derive(Clone, Debug)]
pub enum GuardSource {
    /// From the cluster; the Secret in gitward's namespace has the certificate.
    Cluster {
        /// Its name.
        tls_secret: String,
    },
    /// From files, without any cluster.
    Files {
        /// A GuardPolicy; without it the built-in policy holds.
        policy: Option<PathBuf>,
        /// A List of live objects; without it there are none.
        objects: Option<PathBuf>,
        /// The certificate chain, as PEM.
        tls_cert: PathBuf,
        /// Its key, as PEM.
        tls_key: PathBuf,
    },
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
    /// The certificate cannot be loaded.
    #[error(transparent)]
    Certificate(#[from] ReloadError),
    /// The task that follows the certificate ended.
    #[error("the certificate is no longer followed")]
    Unfollowed,
    /// A file of policy, objects or authorities cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The API server cannot be asked.
    #[error(transparent)]
    Connect(#[from] crate::kubernetes::ConnectError),
}

/// Serves until `stop` is done, then finishes what is in flight and writes what waits to be written.
///
/// # Errors
/// Where it cannot serve.
pub async fn run(source: GuardSource, config: GuardConfig, stop: impl Future<Output = ()>) -> Result<(), GuardError> {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let built_in = Policy::built_in(&config.namespace, &config.reconciler_account, &config.guard_account);
    let (reviewer, certificate, writer) = match source {
        GuardSource::Files { policy, objects, tls_cert, tls_key } => {
            let policy = read_policy(policy.as_deref(), built_in)?;
            let lookup = Lookup::File(read_objects(objects.as_deref(), &policy.owner)?);
            let (state, recorder) = (State::fixed(policy), Recorder::without_cluster(&mut registry));
            let reviewer = Reviewer { state, lookup, recorder, judges: Judges::new(), metrics: metrics.clone() };
            (reviewer, CertificateSource::Files(tls_cert, tls_key), None)
        }
        GuardSource::Cluster { tls_secret } => {
            let client = crate::kubernetes::connect().await?;
            let recorder = Recorder::new(&mut registry);
            let writer = Writer::new(&recorder, client.clone(), config.namespace.clone());
            let reviewer = in_cluster(&client, built_in, recorder, &metrics);
            let secrets = Api::namespaced(client, &config.namespace);
            (reviewer, CertificateSource::Secret(Box::new(secrets), tls_secret), writer)
        }
    };
    let recorder = reviewer.recorder.clone();
    let writing = writer.map(|writer| tokio::spawn(writer.run()));
    let readiness = Readiness::default();
    let expiry = Expiry::new(&mut registry);
    let observe = observe(config.observe_listen, readiness.clone(), registry);
    let served = tokio::select! {
        served = serve(&config, (certificate, expiry), reviewer, metrics, readiness, stop) => served,
        ended = observe => Err(listen_error(config.observe_listen, ended)),
    };
    recorder.close();
    if let Some(writing) = writing
        && writing.await.is_err()
    {
        warn!("the last BlockedChanges may not be written; the log lines above have them");
    }
    served
}

fn in_cluster(client: &Client, built_in: Policy, recorder: Recorder, metrics: &Metrics) -> Reviewer {
    let lookup = Lookup::cluster(client.clone(), metrics.clone());
    let state = State::follow(client, built_in);
    Reviewer { state, lookup, recorder, judges: Judges::new(), metrics: metrics.clone() }
}

/// Serves probes and metrics on a thread of its own: they answer while every other thread is busy. A guard that is busy is not
/// broken, and to restart it would only make its work that of the others.
async fn observe(listen: SocketAddr, readiness: Readiness, registry: Registry) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("observe".to_owned()).spawn(move || {
        let served = runtime.block_on(telemetry::serve(listen, readiness, registry));
        // Nobody waits for it any more where the process ends.
        let _ = ended.send(served);
    })?;
    end.await.unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")))
}

fn listen_error(address: SocketAddr, ended: std::io::Result<()>) -> GuardError {
    let source = ended.err().unwrap_or_else(|| std::io::Error::other("the server ended"));
    GuardError::Listen { address, source }
}

async fn serve(
    config: &GuardConfig,
    (certificate, expiry): (CertificateSource, Expiry),
    reviewer: Reviewer,
    metrics: Metrics,
    readiness: Readiness,
    stop: impl Future<Output = ()>,
) -> Result<(), GuardError> {
    let client_ca = match &config.client_ca {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|source| FileError::Read { path: path.clone(), source })?),
    };
    let mut stop = pin!(stop);
    let (sender, receiver) = watch::channel(None);
    let following = tokio::spawn(certs::serve_certificate(certificate, client_ca, sender, expiry));
    let tls = tokio::select! {
        tls = first(receiver) => tls,
        () = say_that_it_waits() => return Ok(()),
        () = &mut stop => return Ok(()),
    };
    let Some(tls) = tls else {
        return Err(following
            .await
            .map_or(GuardError::Unfollowed, |ended| ended.err().map_or(GuardError::Unfollowed, GuardError::from)));
    };
    tokio::select! {
        () = reviewer.state.ready() => {}
        () = &mut stop => return Ok(()),
    }
    let handle = Handle::new();
    let router = router(config, reviewer, metrics, readiness.clone());
    let failed = |source| GuardError::Listen { address: config.listen, source };
    let listener = telemetry::bind(config.listen).map_err(failed)?;
    let server = server(listener, tls, handle.clone()).map_err(failed)?;
    let connections = Connections::new(router, config.connections, config.connections_per_address);
    let serving = server.serve(connections);
    let stopping = async {
        if handle.listening().await.is_some() {
            readiness.set(true);
            info!(listen = %config.listen, "serving");
        }
        stop.await;
        readiness.set(false);
        info!("shutting down");
        tokio::time::sleep(config.drain).await;
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served.map_err(failed),
        () = stopping => Ok(()),
    }
}

type TlsServer = axum_server::Server<SocketAddr, RustlsAcceptor<NoDelayAcceptor>>;

fn server(listener: TcpListener, tls: RustlsConfig, handle: Handle<SocketAddr>) -> std::io::Result<TlsServer> {
    let acceptor = RustlsAcceptor::new(tls).handshake_timeout(FIRST).acceptor(NoDelayAcceptor::new());
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle).first_request_timeout(FIRST);
    let http = server.http_builder();
    http.http1().header_read_timeout(IDLE).max_buf_size(HEADERS);
    http.http2()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS as u32)
        .keep_alive_interval(IDLE)
        .keep_alive_timeout(FIRST);
    Ok(server.accept_error_handler(|from, error| {
        info!(from = from.map(ToString::to_string), %error, "a connection without a request");
    }))
}

/// Says once a minute what the guard waits for.
async fn say_that_it_waits() {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        info!("waits for its certificate, which the reconciler issues");
    }
}

async fn first(mut receiver: watch::Receiver<Option<RustlsConfig>>) -> Option<RustlsConfig> {
    receiver.wait_for(Option::is_some).await.ok()?.clone()
}

/// What every request needs.
struct Guard {
    reviewer: Arc<Reviewer>,
    bodies: Bodies,
    unsent: Arc<Unsent>,
    metrics: Metrics,
    answer_within: Duration,
}

fn router(config: &GuardConfig, reviewer: Reviewer, metrics: Metrics, readiness: Readiness) -> Router {
    let bodies = Bodies::new(config.bodies_mib, config.connections);
    let (reviewer, unsent) = (Arc::new(reviewer), Unsent::new(UNSENT));
    let guard = Guard { reviewer, bodies, unsent, metrics, answer_within: config.answer_within };
    let routes = Router::new().route("/review", post(review)).with_state(Arc::new(guard));
    routes.layer(from_fn_with_state(readiness, part_while_draining))
}

/// Before the end every answer ends its connection: its client opens the next one to another guard, and none is closed
/// under a request. HTTP/2 says so by itself (GOAWAY), and its clients send again what came too late.
async fn part_while_draining(Shared(readiness): Shared<Readiness>, request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if is_http1 && !readiness.get() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn review(Shared(guard): Shared<Arc<Guard>>, request: Request) -> Response {
    let begun = guard.metrics.begin();
    let deadline = Instant::now() + guard.answer_within;
    let answered = timeout_at(deadline.into(), guard.answer(request, deadline)).await.unwrap_or_else(|_| {
        let seconds = guard.answer_within.as_secs_f32();
        Err((StatusCode::SERVICE_UNAVAILABLE, format!("no answer within {seconds} s: the guard has too much to do\n")))
    });
    match answered {
        Ok((answer, decision)) => {
            begun.decided(decision);
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (header::CONTENT_LENGTH, answer.len().to_string()),
            ];
            (headers, guard.unsent.body(answer)).into_response()
        }
        Err((status, text)) => {
            let text = bounded(&text, LONGEST_ERROR).into_owned();
            begun.unanswered(status);
            warn!(%status, text, "admission review failed");
            (status, text).into_response()
        }
    }
}

impl Guard {
    async fn answer(&self, request: Request, deadline: Instant) -> Result<Answered, Refusal> {
        let body = self.bodies.read(request).await?;
        self.metrics.bytes(self.bodies.held());
        let answered = self.reviewer.answer(body, deadline).await;
        answered.map_err(|error| (error.status(), format!("{error}\n")))
    }
}
