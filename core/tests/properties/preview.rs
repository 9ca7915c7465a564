//! Properties of a preview: an object that the reconciler, a controller and people wrote, and what git declares now.
//!
//! The objects are of a made-up kind, whose fields tell by the first letter of their names what they are: `m` a map, `l` a
//! list merged by name, `s` a set, `a` an atomic list, `v` a scalar. So what has to come out can be reckoned here by other
//! means than in the code: each manager's fields laid over each other.

use std::collections::BTreeMap;

use gitward_core::fields::{explain, preview};
use serde_json::{Map, Value, json};

use super::{Random, rounds};

/// A random map of such fields, never empty.
fn fields(random: &mut Random, depth: u32) -> Value {
    let mut map = Map::new();
    while map.is_empty() || random.below(5) > 1 {
        let name = ["v0", "v1", "a0", "s0", "m0", "m/1", "l0", "l1"][random.below(8) as usize];
        if depth == 0 && (name.starts_with('m') || name.starts_with('l')) {
            continue;
        }
        map.insert(name.to_owned(), field(random, name, depth));
    }
    Value::Object(map)
}

fn field(random: &mut Random, name: &str, depth: u32) -> Value {
    match name.as_bytes()[0] {
        b'v' => json!(random.below(3)),
        b'a' => (0..=random.below(2)).map(|_| json!(random.below(3))).collect(),
        b's' => shuffled(random, 4).into_iter().map(|n| json!(format!("member {n}"))).collect(),
        b'm' => fields(random, depth - 1),
        _ => {
            let items = shuffled(random, 3).into_iter();
            items
                .map(|n| {
                    let mut item = fields(random, depth - 1);
                    item["name"] = json!(format!("n{n}"));
                    item
                })
                .collect()
        }
    }
}

/// At least one number below `end`, in any order.
fn shuffled(random: &mut Random, end: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..end).collect();
    for n in 0..numbers.len() {
        numbers.swap(n, random.below(end) as usize);
    }
    numbers.truncate(1 + random.below(end) as usize);
    numbers
}

/// `above` laid over `below`.
fn lay(below: &mut Value, above: &Value) {
    let (Some(map), Some(above)) = (below.as_object_mut(), above.as_object()) else {
        *below = above.clone();
        return;
    };
    for (name, value) in above {
        let Some(there) = map.get_mut(name) else {
            map.insert(name.clone(), value.clone());
            continue;
        };
        match (name.as_bytes()[0], there.as_array_mut(), value.as_array()) {
            (b's', Some(there), Some(value)) => {
                value.iter().for_each(|member| {
                    if !there.contains(member) {
                        there.push(member.clone())
                    }
                });
            }
            (b'l', Some(there), Some(value)) => {
                for item in value {
                    match there.iter_mut().find(|known| known["name"] == item["name"]) {
                        Some(known) => lay(known, item),
                        None => there.push(item.clone()),
                    }
                }
            }
            (b'm', ..) => lay(there, value),
            _ => *there = value.clone(),
        }
    }
}

/// What a manager that wrote `value` owns, as `fieldsV1`.
fn owned(value: &Value, dots: bool) -> Value {
    let dot = || if dots { Map::from_iter([(".".to_owned(), json!({}))]) } else { Map::new() };
    let mut set = Map::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let items = value.as_array().into_iter().flatten();
        let below = match name.as_bytes()[0] {
            b's' => {
                let mut set = dot();
                set.extend(items.map(|member| (format!("v:{member}"), json!({}))));
                Value::Object(set)
            }
            b'l' => {
                let mut set = dot();
                for item in items {
                    let mut below = owned(item, dots);
                    below["."] = json!({});
                    set.insert(format!("k:{{\"name\":{}}}", item["name"]), below);
                }
                Value::Object(set)
            }
            b'm' => {
                let mut set = dot();
                set.extend(owned(value, dots).as_object().cloned().unwrap_or_default());
                Value::Object(set)
            }
            _ => json!({}),
        };
        set.insert(format!("f:{name}"), below);
    }
    Value::Object(set)
}

/// The part of `live` that stands where `value` has something.
fn part_of(live: &Value, value: &Value) -> Value {
    let mut part = Map::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let there = &live[name];
        let below = match name.as_bytes()[0] {
            b's' => value.clone(),
            b'l' => {
                let item = |item: &Value| {
                    let known = there.as_array().into_iter().flatten().find(|known| known["name"] == item["name"]);
                    part_of(known.unwrap_or(&Value::Null), item)
                };
                value.as_array().into_iter().flatten().map(item).collect()
            }
            b'm' => part_of(there, value),
            _ => there.clone(),
        };
        part.insert(name.clone(), below);
    }
    Value::Object(part)
}

/// The same without any order of what is merged by name.
fn sorted(value: &Value) -> Value {
    let Some(map) = value.as_object() else { return value.clone() };
    let sort = |(name, value): (&String, &Value)| {
        let value = match (name.as_bytes()[0], value.as_array()) {
            (b's' | b'l', Some(items)) => {
                let by_text: BTreeMap<String, Value> =
                    items.iter().map(|item| (item["name"].to_string() + &item.to_string(), sorted(item))).collect();
                by_text.into_values().collect()
            }
            _ => sorted(value),
        };
        (name.clone(), value)
    };
    map.iter().map(sort).collect()
}

fn object(spec: &Value, entries: Option<Value>) -> Value {
    let mut object =
        json!({"apiVersion": "example.com/v1", "kind": "Made", "metadata": {"name": "made"}, "spec": spec});
    if let Some(entries) = entries {
        object["metadata"]["managedFields"] = entries;
    }
    object
}

fn entry(manager: &str, operation: &str, spec: &Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "example.com/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": owned(spec, operation == "Update")}})
}

/// What everybody wrote, one after the other, and the live object that came of it.
struct Written {
    live: Value,
    controller: Value,
    declared: Value,
}

/// `defaults`: whether there is something that nobody owns.
fn written(random: &mut Random, defaults: bool) -> Written {
    let [ours, controller, people, declared, unowned] = std::array::from_fn(|_| fields(random, 2));
    let mut spec = if defaults { unowned } else { json!({}) };
    lay(&mut spec, &ours);
    let mut entries = vec![entry("gitward", "Apply", &ours)];
    if random.below(4) > 0 {
        lay(&mut spec, &controller);
        entries.push(entry("some-controller", "Update", &controller));
    }
    if random.below(4) > 0 {
        lay(&mut spec, &people);
        entries.insert(random.below(2) as usize, entry("kubectl-edit", "Update", &people));
    }
    let has_controller = entries.iter().any(|entry| entry["manager"] == "some-controller");
    let controller = if has_controller { part_of(&spec, &controller) } else { json!({}) };
    // Git often changes little, and objects that nobody has pinned yet are adopted.
    let declared = if random.below(2) == 0 { declared } else { merged(&ours, &declared) };
    let adopted = random.below(8) == 0;
    entries.retain(|entry| !adopted || entry["manager"] != "gitward");
    if adopted {
        entries.push(entry("kubectl-client-side-apply", "Update", &ours));
    }
    Written { live: object(&spec, Some(json!(entries))), controller, declared }
}

fn merged(below: &Value, above: &Value) -> Value {
    let mut merged = below.clone();
    lay(&mut merged, above);
    merged
}

#[test]
fn a_preview_is_what_git_declares_and_what_controllers_added_and_nothing_else() {
    for seed in 1..rounds() / 3 {
        let Written { live, controller, declared } = written(&mut Random::of(seed), false);
        let declared_object = object(&declared, None);
        let after = preview(&live, &declared_object);
        let expected = merged(&controller, &declared);
        assert_eq!(
            sorted(&after["spec"]),
            sorted(&expected),
            "seed {seed}: {declared_object} applied to {live} gave {after}"
        );
        assert_eq!(preview(&after, &declared_object), after, "seed {seed}: {declared_object} applied to {live}");
        assert_eq!(explain(&after, &preview(&after, &declared_object)), [], "seed {seed}");
    }
}

/// Defaults that the API server filled in belong to nobody.
#[test]
fn what_git_declares_comes_out_whatever_else_is_there() {
    for seed in 1..rounds() / 3 {
        let Written { live, controller, declared } = written(&mut Random::of(seed), true);
        let declared_object = object(&declared, None);
        let after = preview(&live, &declared_object);
        let mut laid = after["spec"].clone();
        lay(&mut laid, &merged(&controller, &declared));
        assert_eq!(sorted(&laid), sorted(&after["spec"]), "seed {seed}: something is not in {after}, from {live}");
        assert_eq!(preview(&after, &declared_object), after, "seed {seed}: {declared_object} applied to {live}");
    }
}

/// Objects with anything anywhere: a preview and an explanation, and never a panic.
#[test]
fn broken_objects_have_a_preview() {
    for seed in 1..rounds() / 3 {
        let random = &mut Random::of(seed);
        let Written { mut live, declared, .. } = written(random, true);
        let mut declared = object(&declared, None);
        for _ in 0..random.below(4) {
            break_something(random, &mut live);
        }
        if random.below(2) == 0 {
            break_something(random, &mut declared);
        }
        let after = preview(&live, &declared);
        explain(&live, &after);
        explain(&after, &preview(&after, &declared));
    }
}

fn break_something(random: &mut Random, value: &mut Value) {
    let below = match value {
        Value::Object(map) if random.below(8) > 0 && !map.is_empty() => {
            let index = random.below(map.len() as u64) as usize;
            map.values_mut().nth(index)
        }
        Value::Array(items) if random.below(8) > 0 && !items.is_empty() => {
            let index = random.below(items.len() as u64) as usize;
            items.get_mut(index)
        }
        _ => None,
    };
    match below {
        Some(below) => break_something(random, below),
        None => {
            // Nesting is dear to compare: seldom.
            let depth = if random.below(20) == 0 { 60 } else { 1 };
            let deep = (0..depth).fold(json!(1), |inner, _| json!([{ "f:l0": inner }]));
            let broken = [
                json!(null),
                json!([]),
                json!({}),
                json!(1.5),
                json!("gitward"),
                json!([{"name": "n0"}, {"name": "n0"}, 1, null]),
                json!({"k:{\"name\":1}": {}, "v:": {}, "f:": {}, "i:18446744073709551616": {}}),
                json!({"k:{}": {}, "k:{\"a\":[{}]}": {"v:{}": {}}}),
                deep,
            ];
            *value = broken[random.below(9) as usize].clone();
        }
    }
}
