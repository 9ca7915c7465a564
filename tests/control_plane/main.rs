//! gitward's promises on a real control plane, one file per capability. They share one control plane, each test in a
//! namespace of its own; what disturbs the others (a dead guard, a removed webhook) starts its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod bad_input;
mod certificates;
mod comes_back;
mod descendants;
mod diff;
mod disable;
mod every_kind;
mod guard;
mod heal;
mod issuers;
mod leader;
mod lifetime;
mod load;
mod lookups;
mod migration;
mod oci;
mod other_owners;
mod ownership;
mod pki;
mod policy;
mod preview;
mod privileges;
mod protection;
mod records;
mod render;
mod restart;
mod restore;
mod rolling;
mod rotation;
mod self_managed;
mod served;
mod sources;
mod strays;
mod support;
mod surroundings;
mod sync;
mod system;
mod teams;
mod waves;
