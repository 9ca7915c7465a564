//! A proxy between the reconciler and the API server, at which everything can go wrong that goes wrong between the two: a crash
//! of the reconciler at an exact write, an API server that is overloaded, broken or away, watches that expire.
//!
//! The reconciler speaks plain HTTP with it, and its credentials pass through, so that to the API server it is itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::ControlPlane;
use crate::api::{Connection, connect};
use crate::process::kill;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

/// A request as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Whether it is a watch.
    pub watch: bool,
    /// Which write this is, counted from 1 since [`Proxy::set`]; `None` where it only reads.
    pub write: Option<usize>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// The reconciler is killed before the API server gets the request.
    KillBefore,
    /// The reconciler is killed when the API server has answered, and before it learns the answer.
    KillAfter,
    /// The API server does not get it; the answer is this status.
    Answer(u16),
    /// The answer to a watch is one event, which says that it has expired.
    Expired,
    /// The connection is closed without an answer.
    Cut,
    /// There is no answer, until [`Proxy::cut`].
    Hang,
}

/// Decides what becomes of each request.
type Rule = Box<dyn FnMut(&Seen) -> Fault + Send>;

/// A proxy. Ends with the value.
pub struct Proxy {
    state: Arc<State>,
    kubeconfig: PathBuf,
    runtime: Option<Runtime>,
}

struct State {
    connection: Connection<Incoming>,
    server: String,
    pid_file: PathBuf,
    now: Mutex<Now>,
    killed: AtomicBool,
    /// Which life of the reconciler this is: what a dead one has sent goes nowhere.
    life: AtomicU64,
    /// Changes when all that is under way is to be cut.
    cut: watch::Sender<()>,
}

struct Now {
    rule: Rule,
    /// Since the rule was set: the writes, in the order in which they came.
    writes: Vec<String>,
    last_write: Instant,
    /// Since the rule was set: how often each status was answered.
    answers: BTreeMap<u16, usize>,
}

impl Now {
    fn new(rule: Rule) -> Now {
        Now { rule, writes: Vec::new(), last_write: Instant::now(), answers: BTreeMap::new() }
    }
}

impl Proxy {
    /// Starts one for a client whose token and process number stand in files. Everything passes.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(cluster: &ControlPlane, token: &Path, pid_file: &Path) -> Proxy {
        let runtime = Runtime::new().expect("a runtime");
        let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listening).expect("a free port");
        let state = Arc::new(State {
            connection: connect(cluster.dir()),
            server: cluster.server(),
            pid_file: pid_file.to_owned(),
            now: Mutex::new(Now::new(Box::new(|_| Fault::None))),
            killed: AtomicBool::new(false),
            life: AtomicU64::new(0),
            cut: watch::Sender::new(()),
        });
        let port = listener.local_addr().expect("an address").port();
        let serving = state.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let life = serving.life.load(Ordering::SeqCst);
                tokio::spawn(serve(serving.clone(), stream, life));
            }
        });
        Proxy { state, kubeconfig: cluster.kubeconfig_of_proxy(port, token), runtime: Some(runtime) }
    }

    /// The kubeconfig of who goes through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// From now on `rule` decides; writes and answers are counted anew. A kill ends the rule, and everything passes again.
    pub fn set(&self, rule: impl FnMut(&Seen) -> Fault + Send + 'static) {
        self.state.killed.store(false, Ordering::SeqCst);
        *self.state.now() = Now::new(Box::new(rule));
    }

    /// From now on everything passes.
    pub fn pass(&self) {
        self.set(|_| Fault::None);
    }

    /// Closes all that is under way, watches too.
    pub fn cut(&self) {
        self.state.cut.send_replace(());
    }

    /// Whether the rule has killed the reconciler.
    pub fn has_killed(&self) -> bool {
        self.state.killed.load(Ordering::SeqCst)
    }

    /// The writes since the rule was set, as method and path.
    pub fn writes(&self) -> Vec<String> {
        self.state.now().writes.clone()
    }

    /// How long no write has come; at most since the rule was set.
    pub fn quiet(&self) -> Duration {
        self.state.now().last_write.elapsed()
    }

    /// How often a status was answered since the rule was set.
    pub fn answered(&self, status: u16) -> usize {
        self.state.now().answers.get(&status).copied().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers a request, and decides what becomes of it.
    fn decide(&self, request: &Request<Incoming>) -> Fault {
        let (method, path) = (request.method(), request.uri().path());
        let mut now = self.now();
        // The Lease is renewed by the clock, not by what is told.
        let write = if method.is_safe() || path.contains("/leases") {
            None
        } else {
            now.last_write = Instant::now();
            now.writes.push(format!("{method} {path}"));
            Some(now.writes.len())
        };
        let watch = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let fault = (now.rule)(&Seen { method: method.to_string(), path: path.to_owned(), watch, write });
        if matches!(fault, Fault::KillBefore | Fault::KillAfter) {
            now.rule = Box::new(|_| Fault::None);
        }
        fault
    }

    fn kill(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
        kill(&self.pid_file);
        self.killed.store(true, Ordering::SeqCst);
    }
}

async fn serve(state: Arc<State>, stream: TcpStream, life: u64) {
    let answer = service_fn(|request| answer(state.clone(), request, life));
    // An error of the handler closes the connection: that is how a request is cut.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(state: Arc<State>, request: Request<Incoming>, life: u64) -> Result<Response<Body>, Failure> {
    let mut cut = state.cut.subscribe();
    if state.life.load(Ordering::SeqCst) != life {
        return Err("its sender is dead".into());
    }
    let fault = state.decide(&request);
    let answered = tokio::select! {
        answered = carry_out(&state, fault, request) => answered?,
        _ = cut.changed() => return Err("cut".into()),
    };
    *state.now().answers.entry(answered.status().as_u16()).or_default() += 1;
    Ok(answered)
}

async fn carry_out(state: &Arc<State>, fault: Fault, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    match fault {
        Fault::None => forward(state, request).await,
        Fault::KillBefore => {
            state.kill();
            Err("killed".into())
        }
        Fault::KillAfter => {
            let answered = forward(state, request).await;
            state.kill();
            answered.and(Err("killed".into()))
        }
        Fault::Answer(code) => {
            let status = StatusCode::from_u16(code)?;
            let mut response = Response::new(full(failure(code, "the proxy says so")));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, "application/json".parse()?);
            if status == StatusCode::TOO_MANY_REQUESTS {
                response.headers_mut().insert(RETRY_AFTER, "1".parse()?);
            }
            Ok(response)
        }
        Fault::Expired => {
            let event = json!({"type": "ERROR", "object": failure(410, "too old resource version")});
            let mut response = Response::new(full(event));
            response.headers_mut().insert(CONTENT_TYPE, "application/json".parse()?);
            Ok(response)
        }
        Fault::Cut => Err("cut".into()),
        Fault::Hang => std::future::pending().await,
    }
}

/// Hands a request to the API server. The answer streams, so that watches work.
async fn forward(state: &Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    drop_hop_by_hop(&mut parts.headers);
    let asked = parts.uri.path_and_query().map(|asked| asked.as_str()).unwrap_or_default();
    parts.uri = format!("{}{asked}", state.server).parse()?;
    let answered = state.connection.request(Request::from_parts(parts, body)).await?;
    let (mut parts, body) = answered.into_parts();
    drop_hop_by_hop(&mut parts.headers);
    let under_way = (body.into_data_stream(), state.cut.subscribe());
    let frames = stream::unfold(under_way, async |(mut data, mut cut)| {
        let next = tokio::select! {
            next = data.next() => next?.map(Frame::data).map_err(Failure::from),
            _ = cut.changed() => Err("cut".into()),
        };
        Some((next, (data, cut)))
    });
    Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()))
}

/// Headers that are about one connection only (RFC 9110, section 7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
}

/// An error as the API server words it.
fn failure(code: u16, message: &str) -> serde_json::Value {
    let reason = match code {
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
}

fn full(value: serde_json::Value) -> Body {
    Full::new(Bytes::from(format!("{value}\n"))).map_err(|never| match never {}).boxed_unsync()
}
