//! Fourth station: writes objects to the cluster by server-side apply, marked as declared, and prunes.
//!
//! Imports [`crate::render`] for what is declared, and the plan's identity of an object.

mod holder;
mod kinds;
mod mark;
mod put;
mod replace;
mod write;

use gitward_core::fields::CannotLeave;
use thiserror::Error;

pub use holder::{Holder, guard_holder};
pub use kinds::{Kind, Kinds};
pub use mark::{Marks, mark};
pub use put::{Declaration, Rules, TakeOver, put};
pub use write::{Pruned, get, prune, release, remove, remove_and_wait};

use crate::api::SyncId;
use crate::kubernetes::{describe, is_status};

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
    /// A name that no object can have.
    #[error("{0}")]
    IllFormed(String),
    /// A namespaced object that names no namespace.
    #[error("it names no namespace, and the GitSync has no targetNamespace")]
    NoNamespace,
    /// Another GitSync declares it already.
    #[error("GitSync {0} declares it already; it keeps the object")]
    OtherSync(SyncId),
    /// Two places of one GitSync declare it.
    #[error("it is declared a second time here; the first is {0}")]
    Twice(String),
    /// An annotation that says when it is applied cannot be followed.
    #[error(transparent)]
    Sequence(#[from] gitward_core::plan::SequenceError),
    /// It has no place among the others.
    #[error(transparent)]
    Order(#[from] gitward_core::plan::OrderError),
    /// What the GitSync ignores cannot be left alone.
    #[error("spec.ignore: {0}")]
    CannotLeave(#[from] CannotLeave),
    /// The API server refused or failed.
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    /// A field changed that cannot be changed.
    #[error(
        "{0}; this field cannot be changed in place: with the annotation gitward.dev/replace: allow in git the object is \
         deleted and made anew"
    )]
    Immutable(String),
    /// An object that was to be replaced does not go away.
    #[error("it is to be replaced, and not gone {0} s after it was deleted: look at its finalizers")]
    StillThere(u64),
    /// The declared object could not be read back from the cache.
    #[error(transparent)]
    Spool(#[from] crate::render::SpoolError),
    /// A CRD that was not ready in time.
    #[error("the CustomResourceDefinition is not Established after {0} s")]
    NotEstablished(u64),
    /// The GitSync has no right to it.
    #[error("{0}")]
    NotAllowed(String),
    /// A Namespace or definition in which another GitSync has objects.
    #[error("it holds objects of GitSync {0}, which would go with it")]
    Holds(SyncId),
    /// Something is there under the name of a hook, and is not gitward's.
    #[error("there is an object of this name that no hook has made; it is left alone, so the hook cannot run")]
    NotAHook,
    /// It is on its way out, so an apply does not last.
    #[error("it is being deleted, and made anew when it is gone")]
    Terminating,
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> ApplyError {
        ApplyError::Api(Box::new(error))
    }
}

impl ApplyError {
    /// Whether trying again may help although nothing in git or in the GitSync changes.
    pub fn may_pass(&self) -> bool {
        match self {
            ApplyError::Api(error) => match &**error {
                kube::Error::Api(status) => status.code >= 500 || [403, 404, 409, 429].contains(&status.code),
                _ => true,
            },
            ApplyError::UnknownKind { .. }
            | ApplyError::NotEstablished(_)
            | ApplyError::StillThere(_)
            | ApplyError::Spool(_)
            | ApplyError::Holds(_)
            | ApplyError::OtherSync(_)
            | ApplyError::Terminating => true,
            _ => false,
        }
    }

    /// Whether the API server knows no such place.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApplyError::Api(error) if is_status(error, 404))
    }

    /// Whether no API server answered at all.
    pub fn is_outage(&self) -> bool {
        match self {
            ApplyError::Api(error) => !matches!(&**error, kube::Error::Api(_)) || is_status(error, 503),
            _ => false,
        }
    }
}
