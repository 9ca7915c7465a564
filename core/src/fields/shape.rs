//! How a value of a declared object merges with the live one: as a map, item by item, or as a whole.

use serde_json::Value;

use super::Segment;
use super::builtin::{Default, Part, Type};
use super::tree::{Tree, is_written};

/// How two values become one.
pub(super) enum Way {
    /// The declared one takes the place of the live one.
    Whole,
    /// Field by field.
    Map,
    /// Item by item, named by these keys, in order.
    Items(Vec<String>),
    /// A set: member by member.
    Set,
}

/// What is known of the value at a place: from the sets of all managers, and of built-in kinds.
#[derive(Clone, Copy)]
pub(super) struct Shape<'t> {
    known: Option<&'t Tree>,
    part: Option<&'static Part>,
    of: Option<&'static Type>,
}

impl<'t> Shape<'t> {
    /// The shape of an object, of what its managers own and of its kind.
    pub(super) fn root(known: &'t Tree, of: &'static Type) -> Shape<'t> {
        Shape { known: Some(known), part: None, of: Some(of) }
    }

    pub(super) fn child(self, segment: &Segment) -> Shape<'t> {
        let known = self.known.and_then(|known| known.child(segment));
        let Segment::Field(name) = segment else { return Shape { known, part: None, of: self.of } };
        let part = self.of.and_then(|of| of.part(name));
        Shape { known, part, of: part.and_then(Part::inside) }
    }

    /// Whether this is a part of a kind of which something is known, so that Kubernetes leaves out what is empty.
    pub(super) fn is_typed(self) -> bool {
        self.of.is_some()
    }

    /// Whether Kubernetes leaves this part out where `value` stands there.
    pub(super) fn is_left_out(self, parent: Shape<'_>, value: &Value) -> bool {
        match value {
            Value::Array(items) => items.is_empty() && parent.is_typed(),
            Value::Object(map) => map.is_empty() && matches!(self.part, Some(Part::Texts)),
            _ => false,
        }
    }

    /// How `declared` merges with `live`. What is said of a list's items by an entry of `managedFields` counts first, then what
    /// is known of the kind; else maps are merged and lists are atomic.
    pub(super) fn way(self, live: Option<&Value>, declared: &Value) -> Way {
        match declared {
            Value::Object(map) => {
                let is_owned_whole = self.known.is_some_and(|known| known.is_member && known.below.is_empty());
                let holds_some = live.and_then(Value::as_object).is_some_and(|live| !live.is_empty());
                match self.part {
                    _ if self.known.is_some_and(|known| known.below.keys().any(is_field)) => Way::Map,
                    Some(Part::Whole(_)) => Way::Whole,
                    Some(_) => Way::Map,
                    // An entry that owns `{}` says little: a struct that was declared empty is filled by the server.
                    None if is_owned_whole && holds_some && !map.is_empty() => Way::Whole,
                    None => Way::Map,
                }
            }
            Value::Array(_) => self.list(),
            _ => Way::Whole,
        }
    }

    fn list(self) -> Way {
        for segment in self.known.iter().flat_map(|known| known.below.keys()) {
            match segment {
                Segment::Item(keys) => return Way::Items(keys.iter().map(|(name, _)| name.clone()).collect()),
                Segment::Member(_) => return Way::Set,
                Segment::Field(_) | Segment::Index(_) => {}
            }
        }
        match self.part {
            Some(Part::Items(keys, _)) => Way::Items(keys.iter().map(|key| (*key).to_owned()).collect()),
            Some(Part::Set) => Way::Set,
            _ => Way::Whole,
        }
    }

    /// What an item that lacks a key has there.
    fn default_of(self, key: &str) -> Option<&'static str> {
        self.of?.defaults.iter().find_map(|default| match default {
            Default::Is(name, json) if *name == key => Some(*json),
            _ => None,
        })
    }

    /// The name of an item. `None` where it has none of the keys, or is nothing that has a name in such a list.
    ///
    /// Where the server fills a key in, of a kind of which nothing is known, the live item that agrees in all other keys is
    /// taken for the same.
    pub(super) fn name(self, item: &Value, way: &Way, live: &[Value]) -> Option<Segment> {
        let keys = match way {
            Way::Items(keys) => keys,
            Way::Set if !item.is_object() && !item.is_array() && !item.is_null() => {
                return Some(Segment::Member(item.to_string()));
            }
            _ => return None,
        };
        let item = item.as_object()?;
        let mut named: Vec<(String, String)> =
            keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.to_string()))).collect();
        let agrees =
            |live: &&Value| named.iter().all(|(key, value)| live.get(key).is_some_and(|is| is_written(is, value)));
        let mut twins = live.iter().filter(agrees);
        let twin = twins.next().filter(|_| twins.next().is_none());
        let of_twin = |key: &String| twin.and_then(|twin| twin.get(key)).map(Value::to_string);
        let filled: Vec<_> = keys
            .iter()
            .filter(|key| !item.contains_key(*key))
            .filter_map(|key| {
                let value =
                    self.default_of(key).map(str::to_owned).or_else(|| of_twin(key).filter(|_| !named.is_empty()));
                Some((key.clone(), value?))
            })
            .collect();
        named.extend(filled);
        named.sort();
        (!named.is_empty()).then_some(Segment::Item(named))
    }
}

fn is_field(segment: &Segment) -> bool {
    matches!(segment, Segment::Field(_))
}
