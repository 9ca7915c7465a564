//! Drives the flow `git ─► source ─► render ─► plan ─► apply ─► observe`: one controller for all GitSyncs.
//!
//! Imports every station of the flow; none of them imports this.

mod ask;
mod cleanup;
mod controller;
mod declared;
mod dependencies;
mod diff;
mod drifts;
mod follow;
mod gauges;
mod holders;
mod hooks;
mod inputs;
mod inventory;
mod objects;
mod permission;
mod progress;
mod revision;
mod rights;
mod rules;
mod run;
mod status;
mod surroundings;
mod times;

pub use controller::{ConnectedError, ReconcileConfig, ReconcileError, run};
pub use diff::{DiffError, Difference, Differences, diff};

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
    /// The GitSync may not do this, or it cannot be asked whether it may.
    #[error(transparent)]
    Rights(#[from] rights::RightsError),
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
            RunError::Rights(error) if error.is_denial() => "NotAllowed",
            RunError::Apply(ApplyError::NotAllowed(_)) => "NotAllowed",
            RunError::Apply(_) | RunError::Inventory(_) | RunError::Rights(_) => "ReconciliationFailed",
        }
    }

    /// What the look came to.
    fn outcome(&self) -> status::Outcome {
        match self {
            RunError::Plan(_) => status::Outcome::Stalled(self.reason(), self.to_string()),
            RunError::Rights(error) if error.is_denial() => status::Outcome::Stalled(self.reason(), self.to_string()),
            _ => status::Outcome::Failed(self.reason(), self.to_string()),
        }
    }
}
