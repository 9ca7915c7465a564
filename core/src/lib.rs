//! What gitward decides, as pure code.
//!
//! Both flows meet here: the reconciler asks [`plan`] what to do, the guard asks [`verdict`] what to answer, and both
//! read field ownership through [`fields`]. Nothing in this package does I/O, reads a clock or knows a Kubernetes
//! client, so that everything in it can be tested with recorded data and fuzzed.
//!
//! May import: `serde`, `serde_json`, `thiserror`. Nothing else.

#![forbid(unsafe_code)]

pub mod access;
pub mod fields;
pub mod health;
pub mod json;
pub mod names;
pub mod plan;
pub mod rights;
pub mod stray;
pub mod surroundings;
pub mod text;
pub mod verdict;
