//! A List of live objects that stands for the API server where there is none: in `gitward check`, and in a guard that
//! runs without a cluster.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::lookup::{Found, Known, ObjectName, Wanted};
use super::marks::Owned;
use super::owner::Owner;
use super::{Policy, Request, Step, Verdict, judge};
use crate::fields::Object;
use crate::json::Json;

/// Live objects, found by name.
#[derive(Debug, Default)]
pub struct Listed {
    by_name: HashMap<(String, String), Vec<Item>>,
}

#[derive(Debug)]
struct Item {
    group: String,
    kind: String,
    json: Box<RawValue>,
    pinned: bool,
}

impl Listed {
    /// Takes the objects of a list. What is no Kubernetes object is left out.
    pub fn new(objects: impl IntoIterator<Item = Box<RawValue>>, owner: &Owner) -> Listed {
        let mut listed = Listed::default();
        for json in objects {
            let Ok(object) = Object::read(Json::from(&*json)) else { continue };
            let (group, kind) = (object.group().to_owned(), object.kind.to_string());
            let name = (object.meta.namespace.to_string(), object.meta.name.to_string());
            let pinned = Owned::read(&object, (&group, &kind), owner).pinned();
            listed.by_name.entry(name).or_default().push(Item { group, kind, json, pinned });
        }
        listed
    }

    /// The verdict on a request where these are the live objects.
    pub fn judge(&self, request: &Request<'_>, policy: &Policy) -> Verdict {
        let mut known = Known::default();
        loop {
            match judge(request, policy, &known) {
                Step::Done(verdict) => return *verdict,
                Step::Need(wanted) => wanted.into_iter().for_each(|wanted| {
                    let found = self.find(&wanted);
                    known.add(wanted, found);
                }),
            }
        }
    }

    /// What a look-up in the cluster would give.
    pub fn find(&self, wanted: &Wanted) -> Found {
        match wanted {
            Wanted::One(one) => self.one(one),
            Wanted::Pinned(of, namespace) => self.all(|at, item| at == namespace && of.is(&item.group, &item.kind)),
            Wanted::InNamespace(namespace) => self.all(|at, _| at == namespace),
            Wanted::OfKind(group, kind) => self.all(|_, item| item.group == *group && item.kind == *kind),
        }
    }

    fn one(&self, ObjectName { of, namespace, name }: &ObjectName) -> Found {
        let of_name = |namespace: &str| self.by_name.get(&(namespace.to_owned(), name.clone()));
        // The owner of a namespaced object may be cluster-scoped; a reference does not say.
        let found = [namespace.as_str(), ""]
            .into_iter()
            .filter_map(of_name)
            .flatten()
            .find(|item| of.is(&item.group, &item.kind));
        found.map_or(Found::Absent, |item| Found::Objects(vec![item.json.clone()]))
    }

    /// The pinned objects of which `is_wanted` holds; it gets the namespace too.
    fn all(&self, is_wanted: impl Fn(&str, &Item) -> bool) -> Found {
        let items = self.by_name.iter().flat_map(|((at, _), items)| items.iter().map(move |item| (at, item)));
        let wanted = items.filter(|(at, item)| item.pinned && is_wanted(at, item));
        match wanted.map(|(_, item)| item.json.clone()).collect::<Vec<_>>() {
            none if none.is_empty() => Found::Absent,
            some => Found::Objects(some),
        }
    }
}
