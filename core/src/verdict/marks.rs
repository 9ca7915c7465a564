//! Whether an object is pinned, and what git declares of it.

use serde_json::Value;

use super::Pin;
use super::owner::{Claim, Owner};
use crate::fields::Object;
use crate::fields::{Entry, Path, Segment, Set};
use crate::names;

/// The annotation in which client-side apply keeps what was declared.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether an operator declares a live object of this group and kind.
pub fn is_pinned(object: &Object<'_>, kind: (&str, &str), owner: &Owner) -> bool {
    Owned::read(object, kind, owner).pinned()
}

/// A live or stored object with its ownership read.
#[derive(Debug)]
pub(super) struct Owned<'a> {
    /// All entries.
    pub(super) entries: &'a [Entry<'a>],
    claim: Option<Claim<'a>>,
    origin: String,
    last_applied: Option<String>,
}

impl<'a> Owned<'a> {
    /// Reads an object of this group and kind.
    pub(super) fn read(object: &'a Object<'a>, kind: (&str, &str), owner: &Owner) -> Owned<'a> {
        let claim = owner.claim(object, kind);
        if claim.is_none() {
            return Owned { entries: &[], claim, origin: String::new(), last_applied: None };
        }
        Owned {
            entries: &object.meta.managed_fields,
            claim,
            origin: object.annotation(names::ORIGIN).unwrap_or_default().into_owned(),
            last_applied: object.annotation(LAST_APPLIED).map(std::borrow::Cow::into_owned),
        }
    }

    /// Whether the object wears one of the marks, and none that says that it is a copy.
    pub(super) fn claims(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| !claim.marks.shared || self.pinned())
    }

    /// Whether git declares the object: all the marks, the operator's declaration, and no copy. Labels alone prove
    /// nothing, since controllers copy labels (the endpointslice controller those of a Service).
    pub(super) fn pinned(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.complete) && self.declarations().next().is_some()
    }

    /// Where it is declared.
    pub(super) fn pin(&self) -> Option<Pin> {
        let claim = self.claim.as_ref().filter(|claim| claim.complete)?;
        Some(Pin {
            source: claim.marks.source,
            sync_namespace: claim.namespace.to_string(),
            sync_name: claim.name.to_string(),
            origin: self.origin.clone(),
        })
    }

    fn declarations(&self) -> impl Iterator<Item = &Entry<'a>> {
        let marks = self.claim.as_ref().map(|claim| claim.marks);
        self.entries.iter().filter(move |entry| marks.is_some_and(|marks| marks.is_declaration(entry)))
    }

    /// What git declares of the object.
    pub(super) fn declared(&self) -> Declared<'a> {
        let fields = Set::union(self.declarations().filter_map(Entry::fields_json));
        let applied = self.declarations().all(|entry| entry.operation == "Apply");
        let last_applied = self.last_applied.as_ref().filter(|_| !applied);
        let last_applied = last_applied.map(|text| serde_json::from_str(text).unwrap_or_default());
        Declared { fields, applied, last_applied }
    }

    /// Whether an entry is one by which the operator declares.
    pub(super) fn is_claim(&self, entry: &Entry<'_>) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.marks.claims_declaration(entry))
    }

    /// The version in which the declaration is written.
    pub(super) fn declared_version(&self) -> Option<&str> {
        self.declarations().next().map(|entry| entry.api_version.as_ref())
    }
}

/// What git declares of an object.
#[derive(Clone, Debug)]
pub(super) struct Declared<'a> {
    /// As the field manager owns it.
    pub(super) fields: Set<'a>,
    /// Whether it was applied on the server, so that `fields` is exactly what git says.
    applied: bool,
    /// What client-side apply noted. An update owns defaults too, which git does not say. Null where it cannot be read.
    last_applied: Option<Value>,
}

impl Declared<'_> {
    /// Whether a change at this path changes something that git declares.
    pub(super) fn is_touched_by(&self, path: &Path) -> bool {
        if self.applied {
            return self.fields.is_touched_by(path);
        }
        match &self.last_applied {
            Some(applied) => says(applied, path.segments()),
            None => self.fields.is_touched_by(path),
        }
    }

    /// Whether [`Declared::is_touched_by`] knows, or only suspects: an update owns defaults too.
    pub(super) fn is_exact(&self) -> bool {
        self.applied || self.last_applied.as_ref().is_some_and(Value::is_object)
    }
}

/// Whether a declaration says something at, below or around a path. Having a list means having every item of it.
fn says(applied: &Value, path: &[Segment]) -> bool {
    match (path.split_first(), applied) {
        (Some((Segment::Field(name), rest)), Value::Object(members)) => {
            members.get(name).is_some_and(|below| says(below, rest))
        }
        _ => true,
    }
}
