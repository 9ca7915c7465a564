//! Field ownership: paths, `fieldsV1` sets, and differences between two versions of an object.
//!
//! Everything is read from the objects themselves: `metadata.managedFields` says which manager declared what, and
//! also which lists are merged by key, so that no OpenAPI schema is ever loaded.
//! Source of the format: Kubernetes' server-side apply (KEP-555) and `sigs.k8s.io/structured-merge-diff`.

mod diff;
mod fold;
mod managed;
mod object;
mod owned;
mod path;
mod set;

pub use diff::{Change, diff};
pub use fold::{People, fold};
pub use managed::Entry;
pub use object::{Meta, Object, OwnerReference};
pub use owned::owned_values;
pub use path::{Path, Segment};
pub use set::FieldSet;
