//! The rendered objects of a commit, kept on disk: healing needs the declared object at once, and tens of thousands
//! of them do not belong into memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why an object could not be kept or read back.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The disk is full, or not writable.
    #[error("the rendered objects cannot be kept in the cache: {0}; check that the disk is not full")]
    Io(#[from] std::io::Error),
    /// What was read back is no object.
    #[error("a rendered object cannot be read back: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where one object stands in a [`Spool`]. Holds the file open.
#[derive(Clone, Debug)]
pub struct Slice {
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Slice {
    /// Reads the object back.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SpoolError> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// A file without a name: it is gone when nobody needs it any more, also after a crash.
pub struct Spool {
    file: Arc<File>,
    writer: BufWriter<File>,
    offset: u64,
}

impl Spool {
    /// A new spool in the cache folder.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn create(cache: &Path) -> Result<Spool, SpoolError> {
        std::fs::create_dir_all(cache)?;
        let file = tempfile::tempfile_in(cache)?;
        Ok(Spool { writer: BufWriter::new(file.try_clone()?), file: Arc::new(file), offset: 0 })
    }

    /// Keeps an object.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn add(&mut self, object: &impl Serialize) -> Result<Slice, SpoolError> {
        let bytes = serde_json::to_vec(object)?;
        self.writer.write_all(&bytes)?;
        let slice = Slice { file: self.file.clone(), offset: self.offset, length: bytes.len() };
        self.offset += bytes.len() as u64;
        Ok(slice)
    }

    /// Ends the writing; before it a [`Slice`] may not be readable.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn finish(mut self) -> Result<(), SpoolError> {
        Ok(self.writer.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn objects_read_back_after_the_spool_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path()).unwrap();
        let slices: Vec<_> = (0..3).map(|i| spool.add(&json!({"i": i})).unwrap()).collect();
        spool.finish().unwrap();
        assert_eq!(slices[1].read::<Value>().unwrap(), json!({"i": 1}));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
