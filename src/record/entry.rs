//! One refusal, in the form in which it is kept. Pure.

use gitward_core::verdict::{RefusedField, Request, Verdict};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{BlockedChangeSpec, BlockedField, BlockedObject};

/// How many fields a record lists; the summary says when there were more.
const MOST_FIELDS: usize = 50;
/// How many of them the summary for `kubectl get` names.
const MOST_IN_SUMMARY: usize = 3;

/// A refusal to be kept.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Equal for refusals that are counted in one record: the same caller, object, verb, reason and fields.
    pub name: String,
    /// Equal for all refusals of one caller; fits into a label.
    pub user_hash: String,
    /// What is kept, with a count of one.
    pub spec: BlockedChangeSpec,
}

impl Refusal {
    /// The record of a verdict on a request.
    pub fn new(request: &Request<'_>, verdict: &Verdict, now: Timestamp) -> Refusal {
        let subject = &verdict.subject;
        let verb = request.operation.as_str().to_lowercase();
        let verb = if request.sub_resource.is_empty() { verb } else { format!("{verb} {}", request.sub_resource) };
        let pin = verdict.pin.as_ref();
        let spec = BlockedChangeSpec {
            user: request.user_info.username.to_string(),
            verb,
            object: BlockedObject {
                group: subject.group.clone(),
                kind: subject.kind.clone(),
                namespace: subject.namespace.clone(),
                name: subject.name.clone(),
            },
            summary: subject.to_string(),
            reason: verdict.reason.as_str().to_owned(),
            decision: verdict.decision.as_str().to_owned(),
            fields: verdict.fields.iter().take(MOST_FIELDS).map(field).collect(),
            field_summary: summary(&verdict.fields),
            git_sync: pin
                .map(|p| format!("{}/{}", p.sync_namespace, p.sync_name).trim_start_matches('/').to_owned())
                .unwrap_or_default(),
            origin: pin.map(|p| p.origin.clone()).unwrap_or_default(),
            count: 1,
            first_time: Time(now),
            last_time: Time(now),
        };
        Refusal { name: name(&spec), user_hash: hash([spec.user.as_str()]), spec }
    }

    /// Counts another refusal of the same name into this one.
    pub fn absorb(&mut self, later: Refusal) {
        let (count, first_time) = (self.spec.count + later.spec.count, self.spec.first_time.clone());
        self.spec = BlockedChangeSpec { count, first_time, ..later.spec };
    }
}

fn field(field: &RefusedField) -> BlockedField {
    BlockedField { path: field.path.to_string(), before: field.before.clone(), after: field.after.clone() }
}

fn summary(fields: &[RefusedField]) -> String {
    let mut names: Vec<String> = fields.iter().take(MOST_IN_SUMMARY).map(|f| f.path.dotted()).collect();
    if fields.len() > MOST_IN_SUMMARY {
        names.push(format!("and {} more", fields.len() - MOST_IN_SUMMARY));
    }
    names.join(", ")
}

/// A valid object name in which a reader sees what it is about: `deployment-web-1f0c9a…`.
fn name(spec: &BlockedChangeSpec) -> String {
    let object = &spec.object;
    let identity = [&spec.user, &spec.verb, &object.group, &object.kind, &object.namespace, &object.name, &spec.reason];
    let fields = spec.fields.iter().map(|f| f.path.as_str());
    let hash = hash(identity.into_iter().map(String::as_str).chain(fields));
    let readable = format!("{}-{}", object.kind, object.name).to_lowercase();
    let readable: String =
        readable.chars().take(200).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{}-{hash}", readable.trim_matches('-'))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gitward_core::verdict::{Decision, Reason, Subject};

    fn refusal(user: &str, object: &str) -> Refusal {
        let json = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","kind":{{}},
            "resource":{{}},"subResource":"scale","operation":"UPDATE","userInfo":{{"username":"{user}"}}}}}}"#
        );
        let verdict = Verdict {
            decision: Decision::Deny,
            reason: Reason::PinnedObjectScaled,
            fields: Vec::new(),
            subject: Subject { kind: "ClusterRole".into(), name: object.into(), ..Subject::default() },
            pin: None,
            ancestor: None,
            recorded: false,
            detail: None,
        };
        Refusal::new(&Request::parse(json.as_bytes()).unwrap(), &verdict, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn one_record_for_the_same_caller_and_object() {
        let (a, b) = (refusal("dev", "web"), refusal("dev", "web"));
        assert_eq!(a.name, b.name);
        assert_ne!(a.name, refusal("ops", "web").name);
        assert_ne!(a.name, refusal("dev", "api").name);
        assert_eq!(a.spec.verb, "update scale");
        let mut sum = a;
        sum.absorb(b);
        assert_eq!(sum.spec.count, 2);
    }

    #[test]
    fn the_name_is_valid_whatever_the_object_is_called() {
        let name = refusal("dev", "system:node:ÄÖ/.").name;
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        assert!(name.starts_with("clusterrole-system-node"), "{name}");
        assert!(refusal("dev", &"x".repeat(253)).name.len() <= 253);
    }
}
