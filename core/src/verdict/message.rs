//! The refusal that a person reads: what was refused, and where in git to change it instead.

use std::fmt::Write as _;

use super::{Pin, Reason, RefusedField, Verdict};
use crate::text::bounded;

/// How many fields a message lists.
const MOST_FIELDS: usize = 30;
/// Longest path of a field in a message, in bytes. A key of a ConfigMap may be a megabyte.
const LONGEST_PATH: usize = 256;
/// Longest message, in bytes: names, origins and the words of the API server are bounded by it.
const LONGEST: usize = 16 << 10;

/// What is known of the GitSync that declares the object, beyond its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncInfo {
    /// The repository's URL, as the GitSync has it. Must carry no credentials.
    pub url: String,
    /// The branch, tag or commit that the GitSync follows.
    pub reference: String,
    /// The applied revision, as `main@sha1:4f2c9e1…`; empty before the first.
    pub revision: String,
}

/// The message of a refusal, `None` for any other verdict. `sync` is the GitSync of [`Verdict::pin`], where known.
pub fn message(verdict: &Verdict, sync: Option<&SyncInfo>) -> Option<String> {
    if !verdict.is_refusal() {
        return None;
    }
    let mut out = headline(verdict, sync);
    if !verdict.fields.is_empty() {
        let what = match verdict.reason {
            Reason::ForgedPin | Reason::BesidePinned => "It would get",
            _ => "You tried to change",
        };
        let _ = write!(out, "\n{what}:");
        verdict.fields.iter().take(MOST_FIELDS).for_each(|field| push_field(&mut out, field));
        if verdict.fields.len() > MOST_FIELDS {
            let _ = write!(out, "\n  and {} more", verdict.fields.len() - MOST_FIELDS);
        }
    }
    push_advice(&mut out, verdict, sync);
    Some(bounded(&out, LONGEST).into_owned())
}

fn headline(verdict: &Verdict, sync: Option<&SyncInfo>) -> String {
    let subject = &verdict.subject;
    let pinned = verdict.pin.as_ref().map(|pin| pinned_by(pin, sync)).unwrap_or_default();
    let ancestor = verdict.ancestor.as_ref().map(ToString::to_string).unwrap_or_default();
    match verdict.reason {
        Reason::ForgedPin => {
            format!("{subject} is not declared in git: only the reconciler may mark an object as declared.")
        }
        Reason::HolderChanged if verdict.fields.is_empty() => {
            format!("{subject} holds objects that are pinned to git and cannot be deleted.")
        }
        Reason::HolderChanged => format!("{subject} holds objects that are pinned to git."),
        Reason::LookupFailed => format!(
            "gitward could not look up {subject}, so it cannot tell whether git declares it, and refuses to be safe: {}",
            verdict.detail.as_deref().unwrap_or("no reason is known")
        ),
        Reason::ExclusiveNamespace => format!(
            "Namespace {} is kept by git alone: {subject} may not be created, changed or deleted by hand.",
            subject.namespace
        ),
        Reason::GitwardProtected => format!(
            "{subject} is a part of gitward, or would let somebody act in its place: only gitward's installers may do this."
        ),
        Reason::BesidePinned => format!("{subject} would become part of {ancestor}, which is {pinned}."),
        Reason::DescendantDeleted => {
            format!("{subject} belongs to {ancestor}, which is {pinned}, and cannot be deleted by hand.")
        }
        _ if !ancestor.is_empty() => format!("{subject} belongs to {ancestor}, which is {pinned}."),
        Reason::PinnedObjectDeleted => format!("{subject} is {pinned} and cannot be deleted."),
        _ => format!("{subject} is {pinned}."),
    }
}

/// `pinned to git (GitSync gitward-system/shop, main@4f2c9e1)`.
fn pinned_by(pin: &Pin, sync: Option<&SyncInfo>) -> String {
    let revision = sync.map(|s| short(&s.revision)).filter(|r| !r.is_empty());
    let revision = revision.map(|r| format!(", {r}")).unwrap_or_default();
    format!("pinned to git ({}{revision})", declared_by(pin))
}

/// `GitSync gitward-system/shop`.
fn declared_by(pin: &Pin) -> String {
    let slash = if pin.sync_namespace.is_empty() { "" } else { "/" };
    format!("{} {}{slash}{}", pin.source, pin.sync_namespace, pin.sync_name)
}

fn push_field(out: &mut String, field: &RefusedField) {
    let name = field.path.dotted();
    let name = bounded(&name, LONGEST_PATH);
    let _ = match (&field.before, &field.after) {
        (Some(before), Some(after)) => write!(out, "\n  {name}: {before} -> {after}"),
        (Some(before), None) => write!(out, "\n  {name}: {before} -> (removed)"),
        (None, Some(after)) => write!(out, "\n  {name}: (none) -> {after}"),
        (None, None) if name.is_empty() => write!(out, "\n  more fields than can be compared"),
        (None, None) => write!(out, "\n  {name}: who owns the fields that git declares"),
    };
}

fn push_advice(out: &mut String, verdict: &Verdict, sync: Option<&SyncInfo>) {
    if let Some(pin) = &verdict.pin {
        let of = verdict.ancestor.as_ref().map(|ancestor| format!("{ancestor} is ")).unwrap_or_default();
        let declared = if of.is_empty() { "Declared" } else { "declared" };
        let _ = match pin.origin.as_str() {
            "" => write!(out, "\nChange it in the repository of {}", declared_by(pin)),
            origin => {
                let link = sync.and_then(|sync| link(sync, origin)).map(|link| format!(": {link}")).unwrap_or_default();
                write!(out, "\n{of}{declared} in {origin} — change it there{link}")
            }
        };
        return;
    }
    out.push_str(match verdict.reason {
        Reason::ForgedPin => "\nLeave these labels out, or add the object to a repository that a GitSync follows.",
        Reason::HolderChanged => {
            "\nRemove those objects from git first: `kubectl get gitsyncs -A` shows which repositories declare them."
        }
        Reason::ExclusiveNamespace => {
            "\nAdd it to a repository that a GitSync follows: `kubectl get gitsyncs -A` shows which there are."
        }
        Reason::GitwardProtected => "\nAsk an administrator: the chart's value `installers` says who may.",
        _ => "\nTry again; if it stays, an administrator finds the reason in the guard's log.",
    });
}

/// `main@sha1:4f2c9e1c…` as people write it: `main@4f2c9e1`.
fn short(revision: &str) -> String {
    match revision.split_once("@sha1:") {
        Some((reference, commit)) => format!("{reference}@{}", commit.get(..7).unwrap_or(commit)),
        None => revision.strip_prefix("sha1:").and_then(|commit| commit.get(..7)).unwrap_or(revision).to_owned(),
    }
}

/// The web page of a file and line, in the form of the forge that the host's name suggests; GitHub's form elsewhere.
fn link(sync: &SyncInfo, origin: &str) -> Option<String> {
    let base = sync.url.strip_suffix(".git").unwrap_or(&sync.url).trim_end_matches('/');
    let host = base.strip_prefix("https://")?.split('/').next()?;
    // What a chart of a registry declares has no page.
    let (file, line) = match origin.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => (file, format!("#L{line}")),
        _ if origin.contains([':', ' ']) => return None,
        _ => (origin, String::new()),
    };
    let reference = &sync.reference;
    let middle = if host.contains("gitlab") {
        format!("-/blob/{reference}")
    } else if ["gitea", "forgejo", "codeberg"].iter().any(|forge| host.contains(forge)) {
        format!("src/branch/{reference}")
    } else {
        format!("blob/{reference}")
    };
    Some(format!("{base}/{middle}/{file}{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Path;
    use crate::verdict::{Decision, Subject};

    fn refusal(reason: Reason) -> Verdict {
        let (namespace, name) = ("shop".to_owned(), "web".to_owned());
        Verdict {
            decision: Decision::Deny,
            reason,
            fields: vec![RefusedField {
                path: Path::of_fields(&["spec", "replicas"]),
                before: Some("3".into()),
                after: Some("5".into()),
            }],
            subject: Subject { group: "apps".into(), kind: "Deployment".into(), namespace, name },
            ancestor: None,
            recorded: false,
            pin: Some(Pin {
                source: "GitSync",
                sync_namespace: "gitward-system".into(),
                sync_name: "shop".into(),
                origin: "apps/web/deployment.yaml:14".into(),
            }),
            detail: None,
        }
    }

    #[test]
    fn a_refusal_says_what_was_refused_and_where_to_change_it() {
        let sync = SyncInfo {
            url: "https://git.example.com/shop/ops.git".into(),
            reference: "main".into(),
            revision: "main@sha1:4f2c9e1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
        };
        let text = message(&refusal(Reason::PinnedFieldChanged), Some(&sync)).unwrap();
        assert_eq!(
            text,
            "Deployment shop/web is pinned to git (GitSync gitward-system/shop, main@4f2c9e1).\n\
             You tried to change:\n  spec.replicas: 3 -> 5\n\
             Declared in apps/web/deployment.yaml:14 — change it there: \
             https://git.example.com/shop/ops/blob/main/apps/web/deployment.yaml#L14"
        );
    }

    #[test]
    fn without_a_known_gitsync_the_file_is_named_without_a_link() {
        let text = message(&refusal(Reason::PinnedFieldChanged), None).unwrap();
        assert!(text.ends_with("Declared in apps/web/deployment.yaml:14 — change it there"), "{text}");
    }

    #[test]
    fn a_link_goes_as_far_as_the_origin_is_known() {
        let sync =
            SyncInfo { url: "https://gitlab.com/shop/ops".into(), reference: "v1".into(), ..SyncInfo::default() };
        let page = "https://gitlab.com/shop/ops/-/blob/v1/web/templates/a.yaml";
        assert_eq!(link(&sync, "web/templates/a.yaml").as_deref(), Some(page));
        assert_eq!(link(&sync, "web/templates/a.yaml:7"), Some(format!("{page}#L7")));
        assert_eq!(link(&sync, "chart podinfo 6.0.0: templates/a.yaml"), None);
    }

    #[test]
    fn an_allowed_request_has_no_message() {
        assert_eq!(message(&Verdict::allow(Reason::NotPinned), None), None);
    }

    #[test]
    fn a_message_stays_short_whatever_the_keys_are() {
        let mut verdict = refusal(Reason::PinnedFieldChanged);
        let key = "k".repeat(1_300_000);
        let field = RefusedField { path: Path::of_fields(&["data", &key]), before: None, after: Some("x".into()) };
        verdict.fields = vec![field; 40];
        let text = message(&verdict, None).unwrap();
        assert!(text.len() <= LONGEST, "{} bytes", text.len());
        assert!(text.contains("kkk… (1300005 bytes): (none) -> x") && text.contains("and 10 more"), "{text}");
        assert!(text.ends_with("Declared in apps/web/deployment.yaml:14 — change it there"), "{text}");
    }

    #[test]
    fn what_belongs_to_a_pinned_object_is_explained_by_it() {
        let mut verdict = refusal(Reason::DescendantDeleted);
        verdict.fields.clear();
        verdict.ancestor = Some(std::mem::take(&mut verdict.subject));
        verdict.subject =
            Subject { kind: "Pod".into(), namespace: "shop".into(), name: "web-1".into(), ..Subject::default() };
        assert_eq!(
            message(&verdict, None).unwrap(),
            "Pod shop/web-1 belongs to Deployment shop/web, which is pinned to git (GitSync gitward-system/shop), and \
             cannot be deleted by hand.\nDeployment shop/web is declared in apps/web/deployment.yaml:14 — change it there"
        );
    }
}
