//! Live objects that a verdict depends on: which, and what a look-up gave.

use std::fmt;

use serde_json::value::RawValue;

use super::Subject;
use super::case::Case;
use crate::fields::Object;
use crate::json::Json;

/// What a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// One live object.
    One(ObjectName),
    /// All live objects of a type in a namespace that could be pinned; more than those do no harm.
    Pinned(TypeName, String),
    /// Whether a Namespace holds pinned objects, where its label does not say so.
    InNamespace(String),
    /// Whether there are pinned objects of a group and kind, where the label of its definition does not say so.
    OfKind(String, String),
}

/// The name of a live object. Not its uid: where an object was deleted and made again, the one that is there counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// Its type.
    pub of: TypeName,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The name of a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypeName {
    /// API group; empty for the core API.
    pub group: String,
    /// Version to read it in. Empty where it is named by its kind: a reference may name any version, also one that is not
    /// served, and its controller follows the group and the kind.
    pub version: String,
    /// How the type is named.
    pub by: By,
}

/// How a [`TypeName`] names its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The plural, as in URLs.
    Resource(String),
    /// The kind, as in owner references.
    Kind(String),
}

/// What a look-up gave.
#[derive(Clone, Debug)]
pub enum Found {
    /// The live objects; one, where one was [`Wanted`].
    Objects(Vec<Box<RawValue>>),
    /// There is none.
    Absent,
    /// It is not known whether there is one, and why. Answered by a refusal: the guard fails closed.
    Failed(String),
}

/// The look-ups made so far for one request.
#[derive(Debug, Default)]
pub struct Known(Vec<(Wanted, Found)>);

impl Known {
    /// Adds the result of a look-up.
    pub fn add(&mut self, wanted: Wanted, found: Found) {
        self.0.push((wanted, found));
    }

    fn get(&self, wanted: &Wanted) -> Option<&Found> {
        self.0.iter().find(|(known, _)| known == wanted).map(|(_, found)| found)
    }
}

impl TypeName {
    pub(super) fn resource(group: &str, version: &str, plural: &str) -> TypeName {
        TypeName { group: group.to_owned(), version: version.to_owned(), by: By::Resource(plural.to_owned()) }
    }

    pub(super) fn kind(api_version: &str, kind: &str) -> TypeName {
        let group = crate::names::group_of(api_version).to_owned();
        TypeName { group, version: String::new(), by: By::Kind(kind.to_owned()) }
    }

    /// Whether objects of this group and kind are of the type. A plural is compared by the rule that Kubernetes' own
    /// kinds follow.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        group == self.group
            && match &self.by {
                By::Kind(name) => name == kind,
                By::Resource(plural) => {
                    let kind = kind.to_lowercase();
                    let stem = kind.strip_suffix('y').map(|stem| format!("{stem}ies"));
                    [format!("{kind}s"), format!("{kind}es"), kind].contains(plural) || stem.as_ref() == Some(plural)
                }
            }
    }

    /// The kind or plural, as a refusal names it.
    pub(super) fn text(&self) -> &str {
        let (By::Resource(name) | By::Kind(name)) = &self.by;
        name
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::One(one) => write!(f, "{} {}/{}", one.of.text(), one.namespace, one.name),
            Wanted::Pinned(of, namespace) => write!(f, "{} of {namespace}", of.text()),
            Wanted::InNamespace(namespace) => write!(f, "pinned objects in {namespace}"),
            Wanted::OfKind(_, kind) => write!(f, "pinned objects of kind {kind}"),
        }
    }
}

/// Why a rule has no answer yet, or never.
pub(super) enum Stop {
    /// It depends on these.
    Need(Vec<Wanted>),
    /// A look-up failed, and why.
    Failed(Subject, String),
}

/// The answer of a rule.
pub(super) type Answer<T> = Result<T, Stop>;

impl<'a> Case<'a> {
    /// Live objects, all looked up side by side.
    pub(super) fn find(&self, wanted: Vec<Wanted>) -> Answer<Vec<Object<'a>>> {
        let missing: Vec<Wanted> = wanted.iter().filter(|wanted| self.known.get(wanted).is_none()).cloned().collect();
        if !missing.is_empty() {
            return Err(Stop::Need(missing));
        }
        let mut found = Vec::new();
        for wanted in &wanted {
            match self.known.get(wanted) {
                Some(Found::Objects(live)) => {
                    for json in live {
                        let json: &'a RawValue = json;
                        let object = Object::read(Json::from(json)).map_err(|e| failed(wanted, &e.to_string()))?;
                        found.push(object);
                    }
                }
                Some(Found::Failed(why)) => return Err(failed(wanted, why)),
                Some(Found::Absent) | None => {}
            }
        }
        Ok(found)
    }

    /// One live object, where there is one.
    pub(super) fn find_one(&self, wanted: ObjectName) -> Answer<Option<Object<'a>>> {
        Ok(self.find(vec![Wanted::One(wanted)])?.into_iter().next())
    }
}

impl From<ObjectName> for Subject {
    fn from(one: ObjectName) -> Subject {
        let kind = one.of.text().to_owned();
        Subject { group: one.of.group, kind, namespace: one.namespace, name: one.name }
    }
}

fn failed(wanted: &Wanted, why: &str) -> Stop {
    let subject = match wanted {
        Wanted::One(one) => one.clone().into(),
        Wanted::Pinned(of, namespace) => Subject {
            group: of.group.clone(),
            kind: of.text().to_owned(),
            namespace: namespace.clone(),
            name: "*".to_owned(),
        },
        Wanted::InNamespace(name) => Subject { kind: "Namespace".into(), name: name.clone(), ..Subject::default() },
        Wanted::OfKind(group, kind) => {
            Subject { group: group.clone(), kind: kind.clone(), name: "*".into(), ..Subject::default() }
        }
    };
    Stop::Failed(subject, why.to_owned())
}
