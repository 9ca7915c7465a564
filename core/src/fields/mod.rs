//! Field ownership: paths, `fieldsV1` sets, and differences between two versions of an object.
//!
//! Everything is read from the objects themselves: `metadata.managedFields` says which manager declared what, and
//! also which lists are merged by key, so that no OpenAPI schema is ever loaded.
//! Source of the format: Kubernetes' server-side apply (KEP-555) and `sigs.k8s.io/structured-merge-diff`.

mod builtin;
mod declares;
mod diff;
mod explain;
mod fill;
mod fold;
mod leave;
mod managed;
mod merge;
mod object;
mod owned;
mod path;
mod preview;
mod prune;
mod quantity;
mod received;
mod set;
mod shape;
pub(crate) mod shown;
mod tree;

pub use declares::declares;
pub use diff::{Budget, Change, diff, diff_within};
pub use explain::{Line, explain};
pub use fold::{People, fold};
pub use leave::{CannotLeave, handover, is_left, leave};
pub use managed::Entry;
pub use object::{Meta, Object, OwnerReference};
pub use owned::owned_values;
pub use path::{Path, Segment};
pub use preview::{preview, preview_with};
pub use set::Set;
