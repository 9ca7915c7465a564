//! Second station: from files to objects, each with the place that declares it.
//!
//! Imports [`crate::source`] for the files, and nothing else of gitward's but the plan's identity of an object.

mod plain;
mod spool;

use std::fmt;

use serde_json::Value;
use thiserror::Error;

pub use plain::render;
pub use spool::{Slice, Spool, SpoolError};

/// An object as a file declares it.
#[derive(Debug)]
pub struct Declared {
    /// The object; a JSON object with `apiVersion`, `kind` and `metadata.name`.
    pub object: Value,
    /// Where it is declared.
    pub origin: Origin,
}

/// A line in a file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// From the root of the repository.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a commit gives no objects. Names the file and line to mend; nothing in the cluster changes because of one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RenderError {
    /// The file is no YAML.
    #[error("{origin}: {message}")]
    Yaml {
        /// Where the parser stopped.
        origin: String,
        /// What it said.
        message: String,
    },
    /// A document is no Kubernetes object.
    #[error("{origin}: not a Kubernetes object: {why}")]
    NoObject {
        /// Where it begins.
        origin: String,
        /// What it lacks.
        why: String,
    },
    /// The folder declares nothing.
    #[error("the folder {0:?} declares no object; nothing is pruned because of that")]
    Empty(String),
}
