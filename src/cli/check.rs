//! `gitward check`: the guard's verdict on recorded reviews, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gitward_core::verdict::{Decision, Listed, Policy, Request, ReviewError, Verdict};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use thiserror::Error;

use crate::api::GuardPolicySpec;
use crate::guard::{InvalidPolicy, policy};

/// Judge recorded AdmissionReviews offline. One JSON line per review; exit status 0: nothing denied, 1: something
/// denied, 2: something could not be judged.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A GuardPolicy (YAML or JSON); without it the built-in policy applies.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A List of live objects (YAML or JSON) that stands for look-ups in the cluster.
    #[arg(long)]
    objects: Option<PathBuf>,
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// The service account that may write what git declares, in that namespace.
    #[arg(long, default_value = "gitward-reconciler")]
    reconciler_account: String,
    /// The service account of the guard, in that namespace.
    #[arg(long, default_value = "gitward-guard")]
    guard_account: String,
    /// Files with one AdmissionReview each.
    #[arg(required = true)]
    reviews: Vec<PathBuf>,
}

#[derive(Debug, Error)]
enum CheckError {
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0}: {1}")]
    Parse(String, String),
    #[error("{0}: {1}")]
    Policy(String, InvalidPolicy),
    #[error("{0}: there is no field {1} in a GuardPolicy")]
    UnknownField(String, String),
    #[error("{0}: {1}")]
    Review(String, ReviewError),
    #[error("{0}: it takes a List of objects (kind: List, with items)")]
    NoList(String),
}

pub(super) fn run(args: &Args) -> ExitCode {
    let built_in = Policy::built_in(&args.namespace, &args.reconciler_account, &args.guard_account);
    let (policy, objects) = match prepare(args, built_in) {
        Ok(prepared) => prepared,
        Err(error) => return super::fail(&error),
    };
    let (mut denied, mut unjudged) = (false, false);
    for review in &args.reviews {
        let stem = review.file_stem().unwrap_or_default().to_string_lossy();
        match verdict(review, &policy, &objects) {
            Ok(verdict) => {
                denied |= verdict.decision == Decision::Deny;
                let fields: Vec<String> = verdict.fields.iter().map(|field| field.path.to_string()).collect();
                let (decision, reason) = (verdict.decision.as_str(), verdict.reason.as_str());
                println!("{}", json!({"review": stem, "verdict": decision, "reason": reason, "fields": fields}));
            }
            Err(error) => {
                unjudged = true;
                eprintln!("gitward: {error}");
            }
        }
    }
    match (unjudged, denied) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::from(1),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn prepare(args: &Args, built_in: Policy) -> Result<(Policy, Listed), CheckError> {
    let policy = match &args.policy {
        None => built_in,
        Some(path) => {
            let value = yaml(path)?;
            let spec = value.get("spec").cloned().unwrap_or_else(|| json!({}));
            let parse_error = |error: serde_json::Error| CheckError::Parse(show(path), error.to_string());
            let read: GuardPolicySpec = serde_json::from_value(spec.clone()).map_err(parse_error)?;
            let known = serde_json::to_value(&read).map_err(parse_error)?;
            if let Some(field) = unknown(&spec, &known, "spec") {
                return Err(CheckError::UnknownField(show(path), field));
            }
            policy(&read, &built_in.own, &built_in.owner).map_err(|error| CheckError::Policy(show(path), error))?
        }
    };
    let Some(path) = &args.objects else { return Ok((policy, Listed::default())) };
    let mut list = yaml(path)?;
    let Some(Value::Array(items)) = list.get_mut("items").map(Value::take) else {
        return Err(CheckError::NoList(show(path)));
    };
    let items = items.iter().filter_map(|item| to_raw_value(item).ok());
    Ok((policy.clone(), Listed::new(items, &policy.owner)))
}

fn verdict(path: &Path, policy: &Policy, objects: &Listed) -> Result<Verdict, CheckError> {
    let body = std::fs::read(path).map_err(|error| CheckError::Read(show(path), error))?;
    let failed = |error| CheckError::Review(show(path), error);
    let request = Request::parse(&body).map_err(failed)?;
    objects.judge(&request, policy).map_err(failed)
}

/// A field of a policy that gitward does not know: the API server would drop it with a warning.
fn unknown(given: &Value, known: &Value, path: &str) -> Option<String> {
    let map = given.as_object()?;
    map.iter().find_map(|(key, value)| match known.get(key) {
        None => Some(format!("{path}.{key}")),
        Some(known) => unknown(value, known, &format!("{path}.{key}")),
    })
}

fn yaml(path: &Path) -> Result<Value, CheckError> {
    let bytes = std::fs::read(path).map_err(|error| CheckError::Read(show(path), error))?;
    serde_saphyr::from_slice(&bytes).map_err(|error| CheckError::Parse(show(path), error.to_string()))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
