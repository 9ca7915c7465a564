//! What one server takes on at a time: connections, bytes of bodies, time. Beyond it a caller gets a clear answer, and
//! the memory stays bounded whatever is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::{BoxError, Router};
use futures::StreamExt;
use futures::future::{Ready, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tower::Service;

/// Largest body: escaping makes a review of some 12 MB of a 1 MB object (tried).
pub(super) const MAX_BODY: usize = 20 << 20;
/// How much of a larger body is read before the connection is given up.
const DRAINED: usize = 4 * MAX_BODY;
/// How long a client may take for its TLS handshake, and for its first request.
pub(super) const FIRST: Duration = Duration::from_secs(10);
/// How long a connection may be idle, or take for the headers of a request. Longer than the API server keeps its own
/// idle connections, so that it never writes into one that is just being closed.
pub(super) const IDLE: Duration = Duration::from_secs(120);
/// Longest headers of a request.
pub(super) const HEADERS: usize = 64 << 10;
/// How many requests one HTTP/2 connection may have in flight.
pub(super) const STREAMS: u32 = 256;

/// A status and what to tell the caller.
pub(super) type Refusal = (StatusCode, String);

/// The bytes that the bodies of all requests in flight may hold together, counted in KiB.
pub(super) struct Bodies {
    free: Semaphore,
    kib: usize,
}

impl Bodies {
    /// Room for so many MiB, at least for one of the largest bodies.
    pub(super) fn new(mib: usize) -> Bodies {
        let kib = (mib << 10).max(MAX_BODY >> 10);
        Bodies { free: Semaphore::new(kib), kib }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        (self.kib - self.free.available_permits()) << 10
    }

    /// Reads a body; waits until there is room for it. The bytes count until the permit is dropped.
    pub(super) async fn read(&self, request: Request) -> Result<(Vec<u8>, SemaphorePermit<'_>), Refusal> {
        let announced =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let announced: usize = announced.unwrap_or(0);
        let mut permit = self.reserve(announced.min(MAX_BODY)).await?;
        let mut kept = Vec::with_capacity(announced.min(MAX_BODY));
        let (mut length, mut stream) = (0, request.into_body().into_data_stream());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| (StatusCode::BAD_REQUEST, format!("the body could not be read: {e}\n")))?;
            length += chunk.len();
            if length > DRAINED {
                break;
            }
            // One that is too large is read on without being kept: a client that is still sending would see a broken
            // connection instead of the answer.
            if length > MAX_BODY {
                kept = Vec::new();
                continue;
            }
            if length > permit.num_permits() << 10 {
                permit.merge(self.reserve(chunk.len()).await?);
            }
            kept.extend_from_slice(&chunk);
        }
        if length > MAX_BODY {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a review may have {MAX_BODY} bytes at most\n")));
        }
        Ok((kept, permit))
    }

    async fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let closed = |_| (StatusCode::SERVICE_UNAVAILABLE, "the guard is stopping\n".to_owned());
        self.free.acquire_many(kib).await.map_err(closed)
    }
}

/// The services of a server's connections.
pub(super) fn connections(router: Router, most: usize) -> Connections {
    Connections { router, most, free: Arc::new(Semaphore::new(most)) }
}

/// Gives every connection its service, and refuses those that are too many.
#[derive(Clone)]
pub(super) struct Connections {
    router: Router,
    most: usize,
    free: Arc<Semaphore>,
}

impl Service<SocketAddr> for Connections {
    type Response = Connection;
    type Error = BoxError;
    type Future = Ready<Result<Connection, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: SocketAddr) -> Self::Future {
        let taken = self.free.clone().try_acquire_owned();
        let connection = |taken| Connection { router: self.router.clone(), _taken: Arc::new(taken) };
        ready(taken.map(connection).map_err(|_| format!("{} connections are open", self.most).into()))
    }
}

/// One connection's service. It counts for as long as it lives.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    _taken: Arc<OwnedSemaphorePermit>,
}

impl<B> Service<axum::http::Request<B>> for Connection
where
    Router: Service<axum::http::Request<B>>,
{
    type Response = <Router as Service<axum::http::Request<B>>>::Response;
    type Error = <Router as Service<axum::http::Request<B>>>::Error;
    type Future = <Router as Service<axum::http::Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, request: axum::http::Request<B>) -> Self::Future {
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(body: Body) -> Request {
        Request::new(body)
    }

    #[tokio::test]
    async fn the_bytes_of_a_body_count_until_it_is_done_with() {
        let bodies = Bodies::new(32);
        let (body, permit) = bodies.read(request(Body::from(vec![b'x'; 5000]))).await.unwrap();
        assert_eq!((body.len(), bodies.held()), (5000, 5 << 10));
        drop(permit);
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn one_byte_too_many_is_refused_and_nothing_stays_held() {
        let bodies = Bodies::new(32);
        assert!(bodies.read(request(Body::from(vec![b'x'; MAX_BODY]))).await.is_ok());
        let refused = bodies.read(request(Body::from(vec![b'x'; MAX_BODY + 1]))).await.map(|(body, _)| body);
        assert_eq!(refused.unwrap_err().0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn a_body_waits_until_there_is_room() {
        let bodies = Bodies::new(32);
        let all = bodies.reserve(32 << 20).await.unwrap();
        let mut waiting = Box::pin(bodies.read(request(Body::from("x"))));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(all);
        assert!(waiting.await.is_ok());
    }
}
