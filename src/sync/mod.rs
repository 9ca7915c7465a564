//! Drives the flow `git ─► source ─► render ─► plan ─► apply ─► observe`: one controller for all GitSyncs.
//!
//! Imports every station of the flow; none of them imports this.

mod cleanup;
mod controller;
mod declared;
mod inputs;
mod inventory;
mod run;
mod status;
mod surroundings;

pub use controller::{ReconcileConfig, ReconcileError, run};

use thiserror::Error;

use crate::apply::ApplyError;
use crate::render::{RenderError, SpoolError};
use crate::source::SourceError;

/// Why a run ended early. Each ends up as a condition of the GitSync; nothing in the cluster is removed.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// The commit could not be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A Secret or ConfigMap that the spec names is not there, or cannot be read.
    #[error("{place} {name}: {message}")]
    Input { place: &'static str, name: String, message: String },
    /// The commit's files are no objects.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The plan was refused.
    #[error(transparent)]
    Plan(#[from] gitward_core::plan::PlanError),
    /// The cache failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The API server failed where nothing goes on without it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The inventory could not be stored: nothing may be created that it does not hold.
    #[error(transparent)]
    Inventory(#[from] inventory::InventoryError),
}

impl RunError {
    /// The reason of the condition: Flux' word, where it has one.
    fn reason(&self) -> &'static str {
        match self {
            RunError::Source(SourceError::Unverified { .. } | SourceError::Signers(_)) => "VerificationFailed",
            RunError::Source(_) | RunError::Input { .. } => "ArtifactFailed",
            RunError::Render(_) | RunError::Spool(_) => "BuildFailed",
            RunError::Plan(_) => "PruneFailed",
            RunError::Apply(_) | RunError::Inventory(_) => "ReconciliationFailed",
        }
    }
}
