//! What the API server fills in where a field is missing, and how it writes quantities, in the kinds of which it is known.

use serde_json::{Map, Value};

use super::Segment;
use super::builtin::{Default, Part, Type};
use super::quantity::is_same_amount;
use super::shape::{Shape, Way};
use super::tree::Tree;

/// Fills in what was there before and is missing now, and what new structs get. What the live object lacks as well is left
/// alone: the server that wrote it knows no such default.
pub(super) fn fill(after: &mut Value, live: Option<&Value>, of: &'static Type) {
    let Some(map) = after.as_object_mut() else { return };
    let live = live.and_then(Value::as_object);
    for default in of.defaults {
        if let Some((name, value)) = missing(default, map)
            && live.is_none_or(|live| live.contains_key(name))
        {
            map.insert(name.to_owned(), value);
        }
    }
    for (name, part) in of.parts {
        let Some(value) = map.get_mut(*name) else { continue };
        fill_part(value, live.and_then(|live| live.get(*name)), part);
    }
}

/// The field and the value that a default would set.
fn missing(default: &Default, map: &Map<String, Value>) -> Option<(&'static str, Value)> {
    let parse = |json: &str| serde_json::from_str(json).ok();
    let (name, value) = match default {
        Default::Is(name, json) => (*name, parse(json)?),
        Default::When(name, json, (field, is)) if map.get(*field).is_some_and(|value| value == is) => {
            (*name, parse(json)?)
        }
        Default::When(..) => return None,
        Default::Copies(name, from) => (*name, map.get(*from)?.clone()),
        Default::Follows(name, from) => return Some((*name, map.get(*from)?.clone())),
        Default::PullPolicy => ("imagePullPolicy", pull_policy(map.get("image")?.as_str()?).into()),
    };
    (!map.contains_key(name)).then_some((name, value))
}

/// `Always` for the tag `latest`, which is also that of an image without a tag.
fn pull_policy(image: &str) -> &'static str {
    let (image, digest) = image.split_once('@').map_or((image, None), |(image, digest)| (image, Some(digest)));
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn fill_part(value: &mut Value, live: Option<&Value>, part: &'static Part) {
    match part {
        Part::Quantity => keep_form(value, live),
        Part::Quantities => {
            for (name, value) in value.as_object_mut().into_iter().flatten() {
                keep_form(value, live.and_then(|live| live.get(name)));
            }
        }
        Part::Set | Part::Texts => {}
        Part::Struct(of) => fill(value, live, of),
        Part::Whole(of) => match value {
            Value::Array(items) => items
                .iter_mut()
                .enumerate()
                .for_each(|(index, item)| fill(item, live.and_then(|live| live.get(index)), of)),
            other => fill(other, live, of),
        },
        Part::Items(keys, of) => {
            let way = Way::Items(keys.iter().map(|key| (*key).to_owned()).collect());
            let nothing = Tree::default();
            let shape = Shape::root(&nothing, of);
            let name = |item: &Value| -> Option<Segment> { shape.name(item, &way, &[]) };
            let live = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for item in value.as_array_mut().into_iter().flatten() {
                let named = name(item);
                let before = live.iter().find(|live| named.is_some() && name(live) == named);
                fill(item, before, of);
            }
        }
    }
}

/// The live way of writing the same amount stays.
fn keep_form(value: &mut Value, live: Option<&Value>) {
    if let Some(live) = live
        && is_same_amount(value, live)
    {
        *value = live.clone();
    }
}
