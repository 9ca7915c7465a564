//! A declared value merged into the live one, and what its manager owns by that.
//!
//! The order of merged lists is that of `structured-merge-diff` (`typed/merge.go`, `visitListItems`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use super::Segment;
use super::shape::{Shape, Way};
use super::tree::Tree;

/// How deep two objects are merged: `serde_json` reads nothing deeper. Below, a value takes the place of the other.
pub(super) const DEEPEST: usize = 128;

/// Merges `declared` into `live`; `owned` becomes the set of what is declared.
pub(super) fn merge(
    live: Option<Value>,
    declared: &Value,
    shape: Shape<'_>,
    owned: &mut Tree,
    depth: usize,
) -> Option<Value> {
    let live = live.filter(|live| !live.is_null());
    let way = if depth < DEEPEST { shape.way(live.as_ref(), declared) } else { Way::Whole };
    match (&way, declared) {
        (Way::Map, Value::Object(fields)) => Some(merge_maps(live, fields, shape, owned, depth)),
        (Way::Items(_) | Way::Set, Value::Array(items)) => match name_all(items, live.as_ref(), shape, &way) {
            Some(names) => Some(merge_lists(live, names, shape, &way, owned, depth)),
            None => whole(live, declared, shape, owned),
        },
        _ => whole(live, declared, shape, owned),
    }
}

fn whole(live: Option<Value>, declared: &Value, shape: Shape<'_>, owned: &mut Tree) -> Option<Value> {
    owned.is_member = true;
    match (live, declared) {
        // A null leaves what is merged as it is, and takes everything else away.
        (live, Value::Null) => live.filter(|live| live.is_object() || live.is_array()),
        (Some(Value::Number(live)), Value::Number(number)) if is_same_number(&live, number) => {
            Some(Value::Number(live))
        }
        (_, declared) => {
            let mut declared = declared.clone();
            if shape.is_typed() {
                drop_nulls(&mut declared);
            }
            Some(declared)
        }
    }
}

fn is_same_number(a: &Number, b: &Number) -> bool {
    a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn merge_maps(
    live: Option<Value>,
    declared: &Map<String, Value>,
    shape: Shape<'_>,
    owned: &mut Tree,
    depth: usize,
) -> Value {
    let mut merged = match live {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    owned.is_member |= declared.is_empty();
    for (name, value) in declared {
        let segment = Segment::Field(name.clone());
        let below = owned.grow(&segment);
        let (child, live) = (shape.child(&segment), merged.remove(name));
        let stood = live.as_ref().is_some_and(|live| child.is_left_out(shape, live));
        if let Some(value) = merge(live, value, child, below, depth + 1)
            && (stood || !child.is_left_out(shape, &value))
        {
            merged.insert(name.clone(), value);
        }
        // An empty list that is merged owns nothing.
        if *below == Tree::default() {
            owned.below.remove(&segment);
        }
    }
    Value::Object(merged)
}

/// The declared items with their names. `None` where one has no name, or two have the same: such a list is refused.
fn name_all<'d>(
    items: &'d [Value],
    live: Option<&Value>,
    shape: Shape<'_>,
    way: &Way,
) -> Option<Vec<(Segment, &'d Value)>> {
    let live = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<_> = items.iter().map(|item| Some((shape.name(item, way, live)?, item))).collect::<Option<_>>()?;
    let different: BTreeSet<_> = names.iter().map(|(name, _)| name).collect();
    (different.len() == names.len()).then_some(names)
}

fn merge_lists(
    live: Option<Value>,
    declared: Vec<(Segment, &Value)>,
    shape: Shape<'_>,
    way: &Way,
    owned: &mut Tree,
    depth: usize,
) -> Value {
    let live = match live {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let mut places: Vec<(Segment, Option<Value>)> = Vec::with_capacity(live.len());
    let mut times: BTreeMap<Segment, usize> = BTreeMap::new();
    for (index, item) in live.into_iter().enumerate() {
        let name = shape.name(&item, way, &[]).unwrap_or(Segment::Index(index));
        *times.entry(name.clone()).or_default() += 1;
        places.push((name, Some(item)));
    }
    let wanted: BTreeMap<&Segment, usize> =
        declared.iter().enumerate().map(|(index, (name, _))| (name, index)).collect();
    let order = order(&places, &declared, &wanted);
    let merged: Vec<Value> = order
        .into_iter()
        .filter_map(|place| match place {
            Place::Live(index) => places[index].1.take(),
            Place::Declared(index) => {
                let (name, item) = &declared[index];
                let below = owned.grow(name);
                below.is_member = true;
                // Of two live items of one name neither is merged.
                let live = places.iter_mut().find(|(live, _)| live == name).and_then(|(_, item)| item.take());
                let live = live.filter(|_| times.get(name) == Some(&1));
                merge(live, item, shape.child(name), below, depth + 1)
            }
        })
        .collect();
    Value::Array(merged)
}

enum Place {
    Live(usize),
    Declared(usize),
}

/// In which order the items stand: as they are declared, with the live ones that nobody declared where they stood among
/// them.
fn order(
    live: &[(Segment, Option<Value>)],
    declared: &[(Segment, &Value)],
    wanted: &BTreeMap<&Segment, usize>,
) -> Vec<Place> {
    let known: BTreeSet<&Segment> = live.iter().map(|(name, _)| name).collect();
    let mut shared = declared.iter().map(|(name, _)| name).filter(|name| known.contains(name));
    let mut next = shared.next();
    let mut done: BTreeSet<&Segment> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len() + declared.len());
    let (mut l, mut d) = (0, 0);
    while l < live.len() || d < declared.len() {
        if let (Some((name, _)), Some((declared, _))) = (live.get(l), declared.get(d)) {
            if name == declared {
                done.insert(name);
                out.push(Place::Declared(d));
                (l, d) = (l + 1, d + 1);
                next = shared.next();
                continue;
            }
            if wanted.contains_key(name) && next.is_some_and(|next| next != name) {
                l += 1;
                continue;
            }
        }
        if let Some((name, _)) = live.get(l) {
            if !wanted.contains_key(name) {
                out.push(Place::Live(l));
                l += 1;
                continue;
            }
            if done.contains(name) {
                l += 1;
            }
        }
        if let Some((name, _)) = declared.get(d) {
            done.insert(name);
            out.push(Place::Declared(d));
            d += 1;
            if next == Some(name) {
                next = shared.next();
            }
        }
    }
    out
}
