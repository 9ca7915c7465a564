//! The threads that judge. Judging is computation: on the threads that carry bytes it would hold up every other request.

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// From this many bytes on a review waits for others of its size, and not with the small ones.
const LARGE: usize = 64 << 10;

/// A bounded number of threads, most of which are kept free of large reviews.
pub(super) struct Judges {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Why a review was not judged.
#[derive(Debug, Error)]
pub(super) enum JudgingError {
    /// The time for the answer was over before its turn came.
    #[error("the time for an answer was over before it was judged")]
    Overdue,
    /// The judge ended without a verdict.
    #[error("judging has failed")]
    Failed,
}

impl Judges {
    /// As many threads for small reviews as there are processors, and half as many for large ones.
    pub(super) fn new() -> Judges {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Judges {
            small: Arc::new(Semaphore::new(processors.max(2))),
            large: Arc::new(Semaphore::new((processors / 2).max(1))),
        }
    }

    /// Judges a review of so many bytes when its turn comes. Whoever stops to wait leaves the thread to `work` until that is done:
    /// so no more threads than these ever work, however many give up.
    pub(super) async fn judge<T: Send + 'static>(
        &self,
        bytes: usize,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JudgingError> {
        let threads = if bytes < LARGE { &self.small } else { &self.large };
        let turn = threads.clone().acquire_owned().await.map_err(|_| JudgingError::Failed)?;
        let work = move || {
            let _turn = turn;
            (Instant::now() < deadline).then(work)
        };
        spawn_blocking(work).await.map_err(|_| JudgingError::Failed)?.ok_or(JudgingError::Overdue)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn no_more_are_judged_at_a_time_than_there_are_threads() {
        let (judges, running, most) = (Judges::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = || {
            let (running, most) = (running.clone(), most.clone());
            move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                running.fetch_sub(1, Ordering::SeqCst);
            }
        };
        join_all((0..50).map(|_| judges.judge(LARGE, soon(), count()))).await;
        assert_eq!(most.load(Ordering::SeqCst), judges.large.available_permits());
    }

    #[tokio::test]
    async fn a_small_review_passes_large_ones_and_a_late_one_is_not_judged() {
        let judges = Judges::new();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let mut large: Vec<_> = (0..10)
            .map(|_| {
                let held = held.clone();
                Box::pin(judges.judge(LARGE, soon(), move || held.lock().unwrap().recv().is_err()))
            })
            .collect();
        for review in &mut large {
            assert!(futures::poll!(review).is_pending());
        }
        assert_eq!(judges.judge(10, soon(), || 7).await.unwrap(), 7);
        assert!(matches!(judges.judge(10, Instant::now(), || 7).await, Err(JudgingError::Overdue)));
        drop(release);
        assert!(join_all(large).await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn who_gives_up_does_not_free_the_thread() {
        let judges = Judges::new();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let before = judges.large.available_permits();
        let mut given_up = Box::pin(judges.judge(LARGE, soon(), move || held.recv().is_err()));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        assert_eq!(judges.large.available_permits(), before - 1);
        drop(release);
        join_all((0..before).map(|_| judges.judge(LARGE, soon(), || ()))).await;
    }
}
