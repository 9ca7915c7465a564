//! One refusal or access, in the form in which it is kept. Pure.

use gitward_core::text::bounded;
use gitward_core::verdict::{RefusedField, Request, UserInfo, Verdict};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::merge::merge;
use crate::api::{BlockedChangeSpec, BlockedField, BlockedObject};
use crate::kubernetes::MANAGER;
use crate::protect::Disabled;

/// How many fields a record lists; the summary says when there were more.
const MOST_FIELDS: usize = 20;
/// How many of them the summary for `kubectl get` names.
const MOST_IN_SUMMARY: usize = 3;
/// Longest name of a caller, object, kind or verb in a record, in bytes.
const LONGEST_NAME: usize = 256;
/// Longest path, value or origin in a record, in bytes. A key of a ConfigMap may be a megabyte.
const LONGEST_TEXT: usize = 384;
/// The verb of a record that the guard was disabled.
pub(super) const DISABLE: &str = "disable";
/// Why disabling the guard is on record: no verdict gives this reason, and no Event.
const GUARD_DISABLED: &str = "GuardDisabled";
/// How much of a hash stands in names and labels: 128 bits.
const HASH_DIGITS: usize = 32;

/// A refusal or access to be kept.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Equal for what is counted in one record: the same caller, object, verb, reason and fields.
    pub name: String,
    /// Equal for all entries of one caller; fits into a label.
    pub caller: String,
    /// What is kept, with a count of one.
    pub spec: BlockedChangeSpec,
    /// Whether it is one event that several guards see: it is never counted twice.
    pub once: bool,
}

impl Entry {
    /// The entry of a verdict on a request.
    pub fn new(request: &Request<'_>, verdict: &Verdict, now: Timestamp) -> Entry {
        let subject = &verdict.subject;
        let verb = request.operation.as_str().to_lowercase();
        let verb = if request.sub_resource.is_empty() { verb } else { format!("{verb} {}", request.sub_resource) };
        let caller = caller(&request.user_info);
        let object = [&subject.group, &subject.kind, &subject.namespace, &subject.name];
        let reason = verdict.reason.as_str();
        let paths: Vec<String> = verdict.fields.iter().map(|field| field.path.to_string()).collect();
        let identity = [caller.as_str(), &verb, reason].into_iter().chain(object.map(String::as_str));
        // Of what is not cut: two long keys with the same beginning are two records.
        let hash = hash(identity.chain(paths.iter().map(String::as_str)));
        let pin = verdict.pin.as_ref();
        let git_sync = pin.map(|pin| format!("{}/{}", pin.sync_namespace, pin.sync_name)).unwrap_or_default();
        let spec = BlockedChangeSpec {
            user: name_text(&request.user_info.username),
            credential: credential(&request.user_info).to_owned(),
            verb: name_text(&verb),
            object: BlockedObject {
                group: name_text(&subject.group),
                kind: name_text(&subject.kind),
                namespace: name_text(&subject.namespace),
                name: name_text(&subject.name),
            },
            summary: text(&subject.to_string()),
            reason: reason.to_owned(),
            decision: verdict.decision.as_str().to_owned(),
            fields: verdict
                .fields
                .iter()
                .zip(&paths)
                .take(MOST_FIELDS)
                .map(|(field, path)| blocked(field, path))
                .collect(),
            field_summary: summary(&verdict.fields),
            git_sync: text(git_sync.trim_start_matches('/')),
            origin: pin.map(|pin| text(&pin.origin)).unwrap_or_default(),
            count: 1,
            first_time: Time(now),
            last_time: Time(now),
        };
        Entry { name: name(&spec.object, &hash), caller, spec, once: false }
    }

    /// The entry of the guard being disabled, as its webhook configuration says.
    pub fn disabled(disabled: &Disabled, now: Timestamp) -> Entry {
        let Disabled { reason, by, at } = disabled;
        let time = Time(at.parse().unwrap_or(now));
        let field = BlockedField {
            path: "/metadata/annotations[gitward.dev/disabled]".to_owned(),
            before: None,
            after: Some(text(reason)),
            first_before: None,
            first_after: None,
        };
        let object = BlockedObject {
            group: "admissionregistration.k8s.io".to_owned(),
            kind: "ValidatingWebhookConfiguration".to_owned(),
            namespace: String::new(),
            name: MANAGER.to_owned(),
        };
        let spec = BlockedChangeSpec {
            user: name_text(by),
            credential: String::new(),
            verb: DISABLE.to_owned(),
            summary: format!("{} {}", object.kind, object.name),
            reason: GUARD_DISABLED.to_owned(),
            decision: "allow".to_owned(),
            field_summary: text(reason),
            fields: vec![field],
            git_sync: String::new(),
            origin: String::new(),
            count: 1,
            first_time: time.clone(),
            last_time: time,
            object,
        };
        let hash = hash([DISABLE, by, reason, at]);
        Entry { name: name(&spec.object, &hash), caller: self::hash([DISABLE, by]), spec, once: true }
    }

    /// Counts another entry of the same name into this one.
    pub fn absorb(&mut self, other: Entry) {
        if !self.once {
            self.spec = merge(&self.spec, &other.spec);
        }
    }

    /// Whether a stored record is about the same change by the same caller. Equal names say it with 128 bits.
    pub fn is_same_change(&self, stored: &BlockedChangeSpec) -> bool {
        let identity = |spec: &BlockedChangeSpec| {
            let paths: Vec<String> = spec.fields.iter().map(|field| field.path.clone()).collect();
            (
                spec.user.clone(),
                spec.credential.clone(),
                spec.verb.clone(),
                spec.reason.clone(),
                spec.object.clone(),
                paths,
            )
        };
        identity(&self.spec) == identity(stored)
    }
}

/// The caller as the API server tells it. A name alone may be impersonated, so whoever shows a credential is another caller
/// than whoever only has the name: nobody crowds out the records of the real one by impersonating it.
fn caller(user: &UserInfo<'_>) -> String {
    hash([&*user.username, &*user.uid, credential(user)])
}

/// How the caller proved who it is, as far as the API server shows it (`authentication.kubernetes.io/credential-id`).
fn credential(user: &UserInfo<'_>) -> &'static str {
    let ids = user.extra.as_ref().map(|extra| extra.credential_id.as_slice()).unwrap_or_default();
    match ids.first() {
        Some(id) if id.starts_with("JTI=") => "ServiceAccountToken",
        Some(id) if id.starts_with("X509SHA256=") => "Certificate",
        _ => "",
    }
}

fn name_text(text: &str) -> String {
    bounded(text, LONGEST_NAME).into_owned()
}

fn text(text: &str) -> String {
    bounded(text, LONGEST_TEXT).into_owned()
}

fn blocked(field: &RefusedField, path: &str) -> BlockedField {
    let value = |value: &Option<String>| value.as_deref().map(text);
    BlockedField {
        path: text(path),
        before: value(&field.before),
        after: value(&field.after),
        first_before: None,
        first_after: None,
    }
}

fn summary(fields: &[RefusedField]) -> String {
    let mut names: Vec<String> = fields.iter().take(MOST_IN_SUMMARY).map(|f| text(&f.path.dotted())).collect();
    if fields.len() > MOST_IN_SUMMARY {
        names.push(format!("and {} more", fields.len() - MOST_IN_SUMMARY));
    }
    names.join(", ")
}

/// A valid object name in which a reader sees what it is about: `deployment-web-1f0c9a…`.
fn name(object: &BlockedObject, hash: &str) -> String {
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
    hasher.finalize().to_hex()[..HASH_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use gitward_core::fields::Path;
    use gitward_core::verdict::{Decision, Reason, Subject};

    use super::*;

    fn entry_with(user: &str, more: &str, object: &str, fields: Vec<RefusedField>) -> Entry {
        let json = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","kind":{{}},
            "resource":{{}},"subResource":"scale","operation":"UPDATE","userInfo":{{"username":"{user}"{more}}}}}}}"#
        );
        let verdict = Verdict {
            decision: Decision::Deny,
            reason: Reason::PinnedObjectScaled,
            fields,
            subject: Subject { kind: "ClusterRole".into(), name: object.into(), ..Subject::default() },
            pin: None,
            ancestor: None,
            recorded: false,
            detail: None,
        };
        Entry::new(&Request::parse(json.as_bytes()).unwrap(), &verdict, Timestamp::UNIX_EPOCH)
    }

    fn entry(user: &str, object: &str) -> Entry {
        entry_with(user, "", object, Vec::new())
    }

    #[test]
    fn one_record_for_the_same_caller_and_object() {
        let (a, b) = (entry("dev", "web"), entry("dev", "web"));
        assert_eq!(a.name, b.name);
        assert!(a.is_same_change(&b.spec));
        assert_ne!(a.name, entry("ops", "web").name);
        assert!(!a.is_same_change(&entry("ops", "web").spec), "the caller is compared, whatever the name is");
        assert_ne!(a.name, entry("dev", "api").name);
        assert_eq!(a.spec.verb, "update scale");
        let mut sum = a;
        sum.absorb(b);
        assert_eq!(sum.spec.count, 2);
    }

    #[test]
    fn an_impersonated_name_is_another_caller_than_the_real_one() {
        let real = r#","uid":"7","extra":{"authentication.kubernetes.io/credential-id":["JTI=1"]}"#;
        let renewed = r#","uid":"7","extra":{"authentication.kubernetes.io/credential-id":["JTI=2"]}"#;
        let [real, renewed] = [real, renewed].map(|more| entry_with("ci", more, "web", Vec::new()));
        let impersonated = entry("ci", "web");
        assert_eq!((real.spec.credential.as_str(), impersonated.spec.credential.as_str()), ("ServiceAccountToken", ""));
        assert_eq!(real.name, renewed.name, "a renewed token is the same caller");
        assert_ne!((&real.caller, &real.name), (&impersonated.caller, &impersonated.name));
    }

    #[test]
    fn disabling_the_guard_is_one_record_however_many_guards_see_it() {
        let disabled = |at: &str| Disabled { reason: "incident 4711".into(), by: "admin".into(), at: at.into() };
        let entry = |at: &str| Entry::disabled(&disabled(at), Timestamp::UNIX_EPOCH);
        let mut seen = entry("2026-03-01T10:00:00Z");
        seen.absorb(entry("2026-03-01T10:00:00Z"));
        assert_eq!((seen.spec.count, seen.spec.user.as_str()), (1, "admin"));
        assert_eq!(seen.spec.first_time.0.to_string(), "2026-03-01T10:00:00Z");
        assert_ne!(seen.name, entry("2026-03-01T11:00:00Z").name, "each time is a record of its own");
        assert_eq!(entry("").spec.first_time.0, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn names_are_valid_and_have_128_bits() {
        let name = entry("dev", "system:node:ÄÖ/.").name;
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        assert!(name.starts_with("clusterrole-system-node"), "{name}");
        assert_eq!(name.rsplit_once('-').unwrap().1.len(), 32);
        assert!(entry("dev", &"x".repeat(253)).name.len() <= 253);
        assert!(entry("dev", "web").caller.len() <= 63, "a label's value");
    }

    #[test]
    fn a_record_stays_small_whatever_is_sent() {
        let long = "é".repeat(650_000);
        let field = |last: &str| RefusedField {
            path: Path::of_fields(&["data", &format!("{long}{last}")]),
            before: None,
            after: Some(long.clone()),
        };
        let fields: Vec<RefusedField> = (0..200).map(|n| field(&n.to_string())).collect();
        let record = entry_with(&long, "", &long, fields);
        let size = serde_json::to_vec(&record.spec).unwrap().len();
        assert!(size < 32 << 10, "{size} bytes");
        assert!(record.spec.user.ends_with("… (1300000 bytes)"), "{}", record.spec.user);
        assert!(record.spec.field_summary.ends_with("and 197 more"), "{}", record.spec.field_summary);
        let [a, b] = ["a", "b"].map(|last| entry_with("dev", "", "web", vec![field(last)]));
        assert_ne!(a.name, b.name, "keys are told apart behind the cut too");
    }
}
