//! A guard without a cluster: policy and live objects come from files. For trying policies, for load tests, and the
//! reading of these files for `gitward check`.

use std::path::{Path, PathBuf};

use gitward_core::verdict::{Listed, Owner, Policy};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use thiserror::Error;

use super::policy::{InvalidPolicy, policy};
use crate::api::GuardPolicySpec;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON, or not of the form that it should have.
    #[error("{}: {message}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A policy that cannot be followed.
    #[error("{}: {source}", path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidPolicy,
    },
    /// A policy with a field that there is not: the API server would drop it with a warning.
    #[error("{}: there is no field {field} in a GuardPolicy", path.display())]
    UnknownField {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
    },
    /// Objects that are no list.
    #[error("{}: it takes a List of objects (kind: List, with items)", .0.display())]
    NoList(PathBuf),
}

/// Reads a GuardPolicy; without a file the built-in policy holds.
///
/// # Errors
/// Where it cannot be followed.
pub fn read_policy(path: Option<&Path>, built_in: Policy) -> Result<Policy, FileError> {
    let Some(path) = path else { return Ok(built_in) };
    let value = read(path)?;
    let spec = value.get("spec").filter(|spec| !spec.is_null()).cloned().unwrap_or_else(|| json!({}));
    let parse_error = |error: serde_json::Error| FileError::Parse { path: path.into(), message: error.to_string() };
    let known: GuardPolicySpec = serde_json::from_value(spec.clone()).map_err(parse_error)?;
    let written = serde_json::to_value(&known).map_err(parse_error)?;
    if let Some(field) = unknown(&spec, &written, "spec") {
        return Err(FileError::UnknownField { path: path.into(), field });
    }
    policy(&known, &built_in.own, &built_in.owner).map_err(|source| FileError::Policy { path: path.into(), source })
}

fn unknown(given: &Value, known: &Value, path: &str) -> Option<String> {
    given.as_object()?.iter().find_map(|(key, value)| match known.get(key) {
        None => Some(format!("{path}.{key}")),
        Some(known) => unknown(value, known, &format!("{path}.{key}")),
    })
}

/// Reads a List of live objects; without a file there are none.
///
/// # Errors
/// Where it is no list.
pub fn read_objects(path: Option<&Path>, owner: &Owner) -> Result<Listed, FileError> {
    let Some(path) = path else { return Ok(Listed::default()) };
    let Some(Value::Array(items)) = read(path)?.get_mut("items").map(Value::take) else {
        return Err(FileError::NoList(path.into()));
    };
    let items: Vec<Box<RawValue>> = items.iter().filter_map(|item| to_raw_value(item).ok()).collect();
    Ok(Listed::new(items, owner))
}

fn read(path: &Path) -> Result<Value, FileError> {
    let bytes = std::fs::read(path).map_err(|source| FileError::Read { path: path.into(), source })?;
    let failed = |message| FileError::Parse { path: path.into(), message };
    if bytes.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()));
    }
    serde_saphyr::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}
