//! The fence around everything that writes: it lets writes through while we lead, and none afterwards. It is looked at right
//! before a request is sent, and what is under way when the time is over is given up: a process that was paused, a request
//! that waits for a connection or is tried again cannot write late.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::http::{Method, Request};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::{BoxError, Layer, Service};

/// A write was refused because another reconciler may lead.
#[derive(Debug, Error)]
#[error("this reconciler does not lead any more: nothing is written")]
struct Closed;

/// Lets writes through until a moment that can be moved. Clones share it.
#[derive(Clone)]
pub struct Fence {
    gate: Arc<Mutex<Gate>>,
    /// How many writes are under way.
    writes: watch::Sender<usize>,
}

#[derive(Clone, Copy)]
struct Gate {
    /// What is under way then is given up.
    until: Instant,
    /// Whether nothing new passes.
    closed: bool,
}

impl Default for Fence {
    /// One through which nothing passes.
    fn default() -> Fence {
        let gate = Gate { until: Instant::now(), closed: true };
        Fence { gate: Arc::new(Mutex::new(gate)), writes: watch::Sender::default() }
    }
}

impl Fence {
    /// Until when it is open.
    pub fn until(&self) -> Instant {
        self.gate().until
    }

    /// Opens it, or keeps it open.
    pub fn open_until(&self, until: Instant) {
        *self.lock() = Gate { until, closed: false };
    }

    /// Nothing new passes from now on.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until no write is under way.
    pub async fn drained(&self) {
        // It cannot fail: the sender is ours.
        let _ = self.writes.subscribe().wait_for(|writes| *writes == 0).await;
    }

    fn gate(&self) -> Gate {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a write as under way, where it may be sent.
    fn enter(&self) -> Result<UnderWay, Closed> {
        // Counted first: whoever closes the fence and then waits must not miss it.
        self.writes.send_modify(|writes| *writes += 1);
        let write = UnderWay(self.writes.clone());
        let Gate { until, closed } = self.gate();
        if !closed && Instant::now() < until { Ok(write) } else { Err(Closed) }
    }

    /// Done when the time is over, however often it was moved.
    async fn over(&self) {
        loop {
            let until = self.until();
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|writes| *writes -= 1);
    }
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { fence: self.clone(), inner }
    }
}

/// A service behind a [`Fence`].
#[derive(Clone)]
pub struct Fenced<S> {
    fence: Fence,
    inner: S,
}

impl<S, B> Service<Request<B>> for Fenced<S>
where
    S: Service<Request<B>>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !is_write(request.method()) {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map_err(Into::into) });
        }
        let write = match self.fence.enter() {
            Ok(write) => write,
            Err(closed) => return Box::pin(std::future::ready(Err(closed.into()))),
        };
        let (fence, answer) = (self.fence.clone(), self.inner.call(request));
        Box::pin(async move {
            let _write = write;
            // It may wait for a connection, and would be sent when there is one.
            tokio::select! {
                biased;
                () = fence.over() => Err(Closed.into()),
                answer = answer => answer.map_err(Into::into),
            }
        })
    }
}

/// Questions in the form of a POST (access reviews) count as writes: who does not lead need not ask.
fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// A server behind a fence. It takes a permit for each answer.
    fn server(
        fence: &Fence,
        answers: &Arc<Semaphore>,
    ) -> impl Service<Request<()>, Response = Method, Error = BoxError, Future: Send + 'static> + use<> {
        let answers = answers.clone();
        fence.layer(tower::service_fn(move |request: Request<()>| {
            let answers = answers.clone();
            async move {
                answers.acquire().await?.forget();
                Ok::<_, BoxError>(request.method().clone())
            }
        }))
    }

    fn request(method: Method) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        request
    }

    #[tokio::test]
    async fn writes_pass_while_the_fence_is_open_and_reads_always() {
        let fence = Fence::default();
        let mut server = server(&fence, &Arc::new(Semaphore::new(100)));
        assert!(server.call(request(Method::PATCH)).await.is_err(), "it begins closed");
        fence.open_until(Instant::now() + LONG);
        assert!(server.call(request(Method::PATCH)).await.is_ok());
        for close in [Fence::close, |fence: &Fence| fence.open_until(Instant::now())] {
            close(&fence);
            for method in [Method::PATCH, Method::POST, Method::PUT, Method::DELETE] {
                assert!(server.call(request(method)).await.is_err());
            }
            assert!(server.call(request(Method::GET)).await.is_ok());
        }
    }

    #[tokio::test]
    async fn whoever_closes_the_fence_can_wait_for_the_writes_under_way() {
        let (fence, answers) = (Fence::default(), Arc::new(Semaphore::new(0)));
        let mut server = server(&fence, &answers);
        fence.open_until(Instant::now() + LONG);
        let write = tokio::spawn(server.call(request(Method::PATCH)));
        fence.close();
        let waiting = fence.clone();
        let drained = tokio::spawn(async move { waiting.drained().await });
        tokio::task::yield_now().await;
        assert!(!drained.is_finished(), "a write is under way");
        answers.add_permits(1);
        drained.await.unwrap();
        assert!(write.await.unwrap().is_ok(), "it was let through to its end");
    }

    #[tokio::test]
    async fn a_write_that_is_not_answered_is_given_up_when_the_time_is_over() {
        let fence = Fence::default();
        let mut server = server(&fence, &Arc::new(Semaphore::new(0)));
        fence.open_until(Instant::now() + Duration::from_millis(20));
        assert!(server.call(request(Method::PATCH)).await.is_err());
        fence.drained().await;
    }
}
