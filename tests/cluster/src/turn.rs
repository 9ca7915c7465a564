//! Control planes start a few at a time on a machine: an API server that starts is busy for seconds, and more of them than
//! cores would only run into their timeouts.

use std::fs::{File, TryLockError};
use std::num::NonZero;
use std::time::Duration;

/// The right to start a control plane, until it is dropped. It counts across all test programs that share a folder for
/// temporary files.
pub(crate) struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits for it.
    ///
    /// # Panics
    /// Where no file can be locked.
    pub(crate) fn wait() -> Turn {
        let places = std::thread::available_parallelism().map_or(1, NonZero::get);
        let path = |place: usize| std::env::temp_dir().join(format!("gitward-start-{place}.lock"));
        let files: Vec<File> =
            (0..places).map(|place| File::create(path(place)).expect("a lock can be made")).collect();
        loop {
            for file in &files {
                match file.try_lock() {
                    Ok(()) => return Turn { _lock: file.try_clone().expect("a second handle") },
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => panic!("no control plane can be started: {error}"),
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
