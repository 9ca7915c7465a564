//! Answers that wait to be sent. A client of HTTP/2 decides by its windows when that is, so the memory for them is bounded: those
//! that wait for the longest time give way. A client that reads its answers notices nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Body;
use futures::stream;

/// How many bytes all answers together may hold that nobody reads.
pub(super) const UNSENT: usize = 8 << 20;
/// From how many on the queue is cleared of answers that were sent.
const CLEARED: usize = 1024;

/// The answers that are not sent yet, oldest first.
pub(super) struct Unsent {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    waiting: VecDeque<Weak<Answer>>,
    /// The length of the queue at which it is cleared next.
    cleared_at: usize,
}

/// One answer, until it is sent or gives way.
struct Answer {
    unsent: Arc<Unsent>,
    bytes: Mutex<Option<Vec<u8>>>,
}

impl Unsent {
    pub(super) fn new(most: usize) -> Arc<Unsent> {
        Arc::new(Unsent { most, state: Mutex::new(State { cleared_at: CLEARED, ..State::default() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of an answer. It is an error where it gave way before it was read.
    pub(super) fn body(self: &Arc<Unsent>, bytes: Vec<u8>) -> Body {
        let length = bytes.len();
        let answer = Arc::new(Answer { unsent: self.clone(), bytes: Mutex::new(Some(bytes)) });
        let oldest = self.add(&answer, length);
        oldest.into_iter().for_each(|oldest| drop(oldest.take()));
        Body::from_stream(stream::once(async move {
            answer.take().ok_or_else(|| io::Error::other("the answer was not read in time"))
        }))
    }

    /// Adds an answer. Returns those that give way.
    fn add(&self, answer: &Arc<Answer>, length: usize) -> Vec<Arc<Answer>> {
        let mut state = self.state();
        state.bytes += length;
        state.waiting.push_back(Arc::downgrade(answer));
        if state.waiting.len() >= state.cleared_at {
            state.waiting.retain(|answer| answer.strong_count() > 0);
            state.cleared_at = CLEARED.max(2 * state.waiting.len());
        }
        let (mut oldest, mut left) = (Vec::new(), state.bytes);
        while left > self.most
            && let Some(next) = state.waiting.pop_front()
        {
            if let Some(next) = next.upgrade() {
                left = left.saturating_sub(next.length());
                oldest.push(next);
            }
        }
        oldest
    }
}

impl Answer {
    fn bytes(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn length(&self) -> usize {
        self.bytes().as_ref().map_or(0, Vec::len)
    }

    fn take(&self) -> Option<Vec<u8>> {
        let bytes = self.bytes().take()?;
        self.unsent.state().bytes -= bytes.len();
        Some(bytes)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn answers_that_nobody_reads_give_way_the_oldest_first() {
        let unsent = Unsent::new(100);
        let mut bodies: VecDeque<Body> = (0..20).map(|_| unsent.body(vec![b'x'; 10])).collect();
        assert_eq!(unsent.state().bytes, 100);
        let newest = bodies.pop_back().unwrap();
        assert_eq!(to_bytes(newest, 100).await.unwrap().len(), 10);
        assert!(
            to_bytes(bodies.pop_front().unwrap(), 100).await.is_err(),
            "its client is told by the end of the stream"
        );
        assert_eq!(unsent.state().bytes, 90);
        drop(bodies);
        assert_eq!(unsent.state().bytes, 0);
    }

    #[tokio::test]
    async fn answers_that_are_read_leave_nothing_behind() {
        let unsent = Unsent::new(1 << 20);
        let stuck = unsent.body(vec![b'x'; 10]);
        for _ in 0..10 * CLEARED {
            assert!(to_bytes(unsent.body(vec![b'x'; 10]), 100).await.is_ok());
        }
        let bytes = unsent.state().bytes;
        let waiting = unsent.state().waiting.len();
        assert!(bytes == 10 && waiting <= CLEARED, "{bytes} bytes of {waiting} answers");
        assert!(to_bytes(stuck, 100).await.is_ok(), "where there is room it waits");
    }
}
