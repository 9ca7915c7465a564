//! Reads the bodies of requests into bounded memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::ledger::{BEGINNING, Ledger, Need, QUIET};
use super::limits::{DRAINED, MAX_BODY, Refusal, WINDOW};

/// By how much a buffer grows, at least. Each growth is counted before.
const STEP: usize = 16 << 10;

/// The memory for the bodies of all requests in flight.
#[derive(Clone)]
pub(super) struct Bodies {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something is free, or somebody gave way.
    freed: Notify,
}

struct State {
    ledger: Ledger,
    /// Wakes a body that gave way.
    ends: HashMap<u64, Arc<Notify>>,
}

/// A body, whose bytes count until it is dropped.
pub(super) struct Body {
    bytes: Vec<u8>,
    _held: Held,
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body's place in the ledger.
struct Held {
    shared: Arc<Shared>,
    id: u64,
    end: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ledger.close(self.id);
        state.ends.remove(&self.id);
        drop(state);
        self.shared.freed.notify_waiters();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bodies {
    /// Memory of so many MiB, of which every connection's window is a part; at least for one of the largest bodies.
    pub(super) fn new(mib: usize, connections: usize) -> Bodies {
        let windows = connections.saturating_mul(WINDOW as usize);
        let ledger = Ledger::new((mib << 20).saturating_sub(windows));
        let state = Mutex::new(State { ledger, ends: HashMap::new() });
        Bodies { shared: Arc::new(Shared { state, freed: Notify::new() }) }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        self.shared.state().ledger.held()
    }

    /// Reads a body; waits where there is no room for it.
    ///
    /// # Errors
    /// Where it is too large, is broken off, or gives way because it comes too slowly while others wait.
    pub(super) async fn read(&self, request: Request) -> Result<Body, Refusal> {
        let held = self.open();
        let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        held.take(Need::Bytes(headers)).await?;
        let end = held.end.clone();
        let read = async {
            let mut reading = Reading { held, bytes: Vec::new(), length: 0 };
            let mut stream = request.into_body().into_data_stream();
            while let Some(chunk) = stream.next().await {
                let unread = |error| (StatusCode::BAD_REQUEST, format!("the body could not be read: {error}\n"));
                reading.add(chunk.map_err(unread)?).await?;
                if reading.length > DRAINED {
                    break;
                }
            }
            reading.finish()
        };
        tokio::select! {
            body = read => body,
            () = end.notified() => Err(gave_way()),
        }
    }

    fn open(&self) -> Held {
        let mut state = self.shared.state();
        let (id, end) = (state.ledger.open(Instant::now()), Arc::new(Notify::new()));
        state.ends.insert(id, end.clone());
        Held { shared: self.shared.clone(), id, end }
    }
}

impl Held {
    /// Waits until there is what this body needs; where nothing is free, others that do not send give way.
    async fn take(&self, need: Need) -> Result<(), Refusal> {
        loop {
            let freed = self.shared.freed.notified();
            if self.try_take(need).ok_or_else(gave_way)? {
                return Ok(());
            }
            // After a while some may have fallen silent.
            let _ = timeout(QUIET / 2, freed).await;
        }
    }

    fn try_take(&self, need: Need) -> Option<bool> {
        let now = Instant::now();
        let mut state = self.shared.state();
        loop {
            if state.ledger.take(self.id, need, now)? {
                return Some(true);
            }
            let Some(other) = state.ledger.gives_way(self.id, need, now) else { return Some(false) };
            state.ledger.close(other);
            if let Some(end) = state.ends.remove(&other) {
                end.notify_one();
            }
        }
    }
}

/// A body that arrives.
struct Reading {
    held: Held,
    bytes: Vec<u8>,
    length: usize,
}

impl Reading {
    async fn add(&mut self, chunk: Bytes) -> Result<(), Refusal> {
        self.length += chunk.len();
        // One that is too large is read on without being kept: a client that is still sending would see a broken
        // connection instead of the answer.
        if self.length > MAX_BODY {
            self.bytes = Vec::new();
            return Ok(());
        }
        let missing = self.length.saturating_sub(self.bytes.capacity());
        if missing > 0 && self.length <= BEGINNING {
            let step = missing.max(STEP).min(BEGINNING - self.bytes.capacity());
            self.held.take(Need::Bytes(step)).await?;
            self.bytes.reserve_exact(self.bytes.capacity() - self.bytes.len() + step);
        } else if missing > 0 {
            self.held.take(Need::Place).await?;
            // What is untouched costs nothing; a quarter at a time keeps the copies few.
            let more = (self.length / 4).max(chunk.len()).min(MAX_BODY - self.bytes.len());
            self.bytes.reserve_exact(more);
        }
        self.held.shared.state().ledger.received(self.held.id, chunk.len(), Instant::now());
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    fn finish(self) -> Result<Body, Refusal> {
        if self.length > MAX_BODY {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a review may have {MAX_BODY} bytes at most\n")));
        }
        self.held.shared.state().ledger.complete(self.held.id);
        Ok(Body { bytes: self.bytes, _held: self.held })
    }
}

fn gave_way() -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, "the body came too slowly while others waited\n".to_owned())
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::time::sleep;

    use super::*;

    fn request(body: impl Into<axum::body::Body>) -> Request {
        Request::new(body.into())
    }

    /// A body that sends one chunk, and then nothing.
    fn half(bytes: usize) -> Request {
        let chunk = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]))]);
        let mut request = request(axum::body::Body::from_stream(chunk.chain(stream::pending())));
        request.headers_mut().insert("content-length", MAX_BODY.into());
        request
    }

    #[tokio::test]
    async fn the_bytes_of_a_body_count_until_it_is_dropped() {
        let bodies = Bodies::new(64, 0);
        let body = bodies.read(request(vec![b'x'; 5000])).await.map_err(|error| error.1).unwrap();
        assert_eq!(body.bytes().len(), 5000);
        assert!((5000..=STEP).contains(&bodies.held()), "{}", bodies.held());
        drop(body);
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn one_byte_too_many_is_refused_and_nothing_stays_held() {
        let bodies = Bodies::new(64, 0);
        assert!(bodies.read(request(vec![b'x'; MAX_BODY])).await.is_ok());
        let refused = bodies.read(request(vec![b'x'; MAX_BODY + 1])).await.err().unwrap();
        assert_eq!(refused.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn announcements_hold_nothing_and_half_bodies_give_way() {
        let bodies = Bodies::new(24, 0);
        let mut halves: Vec<_> = (0..40).map(|_| Box::pin(bodies.read(half(200 << 10)))).collect();
        for half in &mut halves {
            assert!(futures::poll!(half).is_pending());
        }
        assert!(bodies.held() <= 24 << 20);
        sleep(2 * QUIET).await;
        let body = bodies.read(request(vec![b'x'; 200 << 10])).await;
        assert!(body.is_ok(), "{:?}", body.err());
        let mut ended = 0;
        for half in &mut halves {
            ended +=
                usize::from(matches!(futures::poll!(half), std::task::Poll::Ready(Err((status, _))) if status == 503));
        }
        assert!(ended >= 1, "one of them gave way, and its caller is told");
    }

    #[tokio::test]
    async fn eight_large_bodies_are_read_one_after_the_other() {
        let bodies = Bodies::new(24, 0);
        let read = |_| {
            let bodies = bodies.clone();
            async move { bodies.read(request(vec![b'x'; 12 << 20])).await.map(|body| body.bytes().len()) }
        };
        let read = futures::future::join_all((0..8).map(read)).await;
        assert!(read.iter().all(|length| *length == Ok(12 << 20)), "{read:?}");
    }
}
