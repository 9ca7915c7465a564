//! gitward's life in a cluster: installed, upgraded, rolled back and removed by the real helm on a real control plane, with
//! workloads in place that git declares and that survive each.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alerts;
mod available;
mod cert_manager;
mod flow;
mod installers;
mod lifecycle;
mod manifests;
mod removal;
mod rendered;
mod shop;
mod values;
