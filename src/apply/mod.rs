//! Fourth station: writes objects to the cluster by server-side apply, marked as declared, and prunes.
//!
//! Imports [`crate::render`] for what is declared, and the plan's identity of an object.

mod kinds;
mod mark;
mod write;

use thiserror::Error;

pub use kinds::{Kind, Kinds};
pub use mark::{Marks, mark};
pub use write::{Holder, Pruned, apply, guard_holder, prune, release};

use crate::kubernetes::describe;

/// Why an object could not be applied or pruned. The other objects go on.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The kind is not served.
    #[error("the cluster serves no {kind} of {api_version}: is its CustomResourceDefinition missing?")]
    UnknownKind {
        /// As the object says.
        api_version: String,
        /// As the object says.
        kind: String,
    },
    /// A namespaced object that names no namespace.
    #[error("it names no namespace, and the GitSync has no targetNamespace")]
    NoNamespace,
    /// Another GitSync declares it already.
    #[error("GitSync {0} declares it already; it keeps the object")]
    OtherSync(String),
    /// Two places of one GitSync declare it.
    #[error("it is declared a second time here; the first is {0}")]
    Twice(String),
    /// The API server refused or failed.
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    /// The declared object could not be read back from the cache.
    #[error(transparent)]
    Spool(#[from] crate::render::SpoolError),
    /// A CRD that was not ready in time.
    #[error("the CustomResourceDefinition is not Established after {0} s")]
    NotEstablished(u64),
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> ApplyError {
        ApplyError::Api(Box::new(error))
    }
}
