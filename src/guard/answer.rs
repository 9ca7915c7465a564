//! The guard's answer, as bytes.

use gitward_core::text::bounded;
use gitward_core::verdict::{Decision, Verdict};
use serde::Serialize;

/// Longest audit annotation, in bytes.
const LONGEST_ANNOTATION: usize = 1024;

/// An AdmissionReview with a response (`admission.k8s.io/v1`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<Annotations>,
}

#[derive(Serialize)]
struct Status<'a> {
    message: &'a str,
    reason: &'static str,
    code: u16,
}

/// What the API server writes into its own audit log, each key behind the webhook's name.
#[derive(Serialize)]
struct Annotations {
    reason: &'static str,
    fields: String,
    origin: String,
}

impl<'a> Answer<'a> {
    /// The answer for a verdict, with the message of a refusal.
    pub(super) fn new(uid: &'a str, verdict: &Verdict, message: Option<&'a str>) -> Answer<'a> {
        let denied = verdict.decision == Decision::Deny;
        let status = |message| Status { message, reason: "Forbidden", code: 403 };
        let warnings = match verdict.decision {
            Decision::Warn => message.into_iter().flat_map(str::lines).collect(),
            _ => Vec::new(),
        };
        let response = Response {
            uid,
            allowed: !denied,
            status: message.filter(|_| denied).map(status),
            warnings,
            audit_annotations: verdict.is_refusal().then(|| annotations(verdict)),
        };
        Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }
    }
}

fn annotations(verdict: &Verdict) -> Annotations {
    let mut fields = String::new();
    for field in &verdict.fields {
        if fields.len() > LONGEST_ANNOTATION {
            break;
        }
        let space = if fields.is_empty() { "" } else { " " };
        fields.push_str(&format!("{space}{}", field.path));
    }
    let origin = verdict.pin.as_ref().map(|pin| pin.origin.as_str()).unwrap_or_default();
    Annotations {
        reason: verdict.reason.as_str(),
        fields: bounded(&fields, LONGEST_ANNOTATION).into_owned(),
        origin: bounded(origin, LONGEST_ANNOTATION).into_owned(),
    }
}
