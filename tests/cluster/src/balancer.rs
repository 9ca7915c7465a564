//! What stands between the API server and several guards, as kube-proxy does: a new connection goes to one of those that
//! are ready, in turn, and an established one stays where it is.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::gitward::probe;

/// How often it is asked who is ready: that is how long the balancer lags behind.
const LOOK: Duration = Duration::from_millis(200);

/// Where a guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it serves.
    pub serve: u16,
    /// Where it says whether it is ready.
    pub observe: u16,
}

/// A balancer. Ends with the value.
pub struct Balancer {
    state: Arc<State>,
    port: u16,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State {
    endpoints: Mutex<Vec<Endpoint>>,
    ready: Mutex<Vec<u16>>,
    turn: AtomicUsize,
}

impl Balancer {
    /// Starts one without endpoints.
    ///
    /// # Panics
    /// Where there is no port for it.
    pub fn start() -> Balancer {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let (looking, serving) = (state.clone(), state.clone());
        runtime.spawn(async move {
            loop {
                let state = looking.clone();
                let _ = tokio::task::spawn_blocking(move || state.look()).await;
                tokio::time::sleep(LOOK).await;
            }
        });
        runtime.spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                // Without an endpoint the connection is closed.
                let Some(port) = serving.next() else { continue };
                tokio::spawn(carry(from, port));
            }
        });
        Balancer { state, port, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on these are balanced, as soon as they are ready; connections to others stay.
    pub fn balance(&self, endpoints: &[Endpoint]) {
        *lock(&self.state.endpoints) = endpoints.to_vec();
        self.state.look();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn look(&self) {
        let endpoints = lock(&self.endpoints).clone();
        let ready = endpoints.iter().filter(|endpoint| probe(endpoint.observe).is_ok());
        *lock(&self.ready) = ready.map(|endpoint| endpoint.serve).collect();
    }

    fn next(&self) -> Option<u16> {
        let ready = lock(&self.ready);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        ready.get(turn % ready.len().max(1)).copied()
    }
}

async fn carry(mut from: TcpStream, port: u16) {
    let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let _ = copy_bidirectional(&mut from, &mut to).await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
