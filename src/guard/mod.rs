//! The guard: the stations of the flow `API server ─► guard ─► verdict ─► record`.
//!
//! Takes admission reviews over TLS, gets the verdict, explains it. Everything that decides is in
//! `gitward_core::verdict`; what is here carries bytes, looks objects up, and follows GitSyncs and the GuardPolicy.
//!
//! Imports [`crate::api`], [`crate::certs`], and of [`crate::protect`] what a disabled guard says of itself.

mod answer;
mod bodies;
mod connections;
mod judging;
mod ledger;
mod limits;
mod lookup;
mod metrics;
mod object_path;
mod offline;
mod policy;
mod record;
mod review;
mod server;
mod state;
mod unsent;

pub use offline::{FileError, read_objects, read_policy};
pub use policy::{InvalidPolicy, policy};
pub use server::{GuardConfig, GuardError, GuardSource, run};
