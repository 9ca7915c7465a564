//! gitward's promises on a real control plane, one file per capability. They share one control plane, each test in a
//! namespace of its own; what disturbs the others (a dead guard, a removed webhook) starts its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod bad_input;
mod comes_back;
mod descendants;
mod disable;
mod every_kind;
mod guard;
mod heal;
mod other_owners;
mod policy;
mod protection;
mod render;
mod rights;
mod sources;
mod support;
mod surroundings;
mod sync;
mod system;
