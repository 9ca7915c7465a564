//! gitward keeps Kubernetes clusters exactly as git declares them, and lets nobody but git change them.
//!
//! Two flows, and the modules are their stations (`docs/architecture.md`):
//!
//! ```text
//! git  ─► source ─► render ─► plan ─► apply ─► observe        driven by sync
//! API server ─► guard ─► verdict ─► guard::record             driven by guard
//! ```

#![forbid(unsafe_code)]

pub mod api;
pub mod apply;
pub mod certs;
pub mod cli;
pub mod guard;
pub mod kubernetes;
pub mod lead;
pub mod observe;
pub mod protect;
pub mod provide;
pub mod release;
pub mod render;
pub mod source;
pub mod sync;
pub mod telemetry;
