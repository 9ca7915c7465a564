//! `gitward check`: the guard's verdict on recorded reviews, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gitward_core::verdict::{Decision, Found, Identity, Known, Policy, Request, ReviewError, Step, Verdict, judge};
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
    #[error("{0}: {1}")]
    Review(String, ReviewError),
    #[error("{0}: it takes a List of objects (kind: List, with items)")]
    NoList(String),
}

pub(super) fn run(args: &Args) -> ExitCode {
    let identity = Identity::reconciler(&args.namespace, &args.reconciler_account);
    let (policy, objects) = match prepare(args, identity) {
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

fn prepare(args: &Args, identity: Identity) -> Result<(Policy, Value), CheckError> {
    let policy = match &args.policy {
        None => Policy::built_in(identity),
        Some(path) => {
            let value = yaml(path)?;
            let spec = value.get("spec").cloned().unwrap_or_default();
            let spec: GuardPolicySpec =
                serde_json::from_value(spec).map_err(|error| CheckError::Parse(show(path), error.to_string()))?;
            policy(&spec, identity).map_err(|error| CheckError::Policy(show(path), error))?
        }
    };
    let objects = match &args.objects {
        None => json!({"items": []}),
        Some(path) => yaml(path)?,
    };
    if !objects.get("items").is_some_and(Value::is_array) {
        return Err(CheckError::NoList(args.objects.as_deref().map(show).unwrap_or_default()));
    }
    Ok((policy, objects))
}

fn verdict(path: &Path, policy: &Policy, objects: &Value) -> Result<Verdict, CheckError> {
    let body = std::fs::read(path).map_err(|error| CheckError::Read(show(path), error))?;
    let failed = |error| CheckError::Review(show(path), error);
    let request = Request::parse(&body).map_err(failed)?;
    let mut known = Known::default();
    loop {
        match judge(&request, policy, &known).map_err(failed)? {
            Step::Done(verdict) => return Ok(*verdict),
            Step::Need(wanted) => {
                let found = Found::in_list(objects, &wanted);
                known.add(wanted, found);
            }
        }
    }
}

fn yaml(path: &Path) -> Result<Value, CheckError> {
    let bytes = std::fs::read(path).map_err(|error| CheckError::Read(show(path), error))?;
    serde_saphyr::from_slice(&bytes).map_err(|error| CheckError::Parse(show(path), error.to_string()))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
