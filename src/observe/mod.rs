//! Last station: watches what is pinned, and heals drift the moment it is seen.
//!
//! One watch per kind, by label. Of each object only a fingerprint is kept; the declared object itself waits in the
//! spool of [`crate::render`]. Imports [`crate::apply`] and [`crate::render`].

mod fingerprint;
mod heal;
mod pinned;
mod watch;

pub use fingerprint::{Fingerprint, fingerprint};
pub use heal::{Drift, Healer};
pub use pinned::{Pinned, PinnedObject};
pub use watch::Watches;
