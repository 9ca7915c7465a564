//! Last station: watches what is pinned, and heals drift the moment it is seen.
//!
//! One watch per kind, by label. Of each object only a fingerprint is kept; the declared object itself waits in the
//! spool of [`crate::render`]. Imports [`crate::apply`] and [`crate::render`].

mod drift;
mod fingerprint;
mod heal;
mod pinned;
mod strays;
mod streak;
mod wake;
mod watch;

pub use drift::{Drift, Told};
pub use fingerprint::Fingerprint;
pub use heal::{Healer, Permission};
pub use pinned::{Content, Pinned, PinnedObject, Recalled, Settled, health_of};
pub use strays::Strays;
pub use wake::Wakes;
pub use watch::Watches;
