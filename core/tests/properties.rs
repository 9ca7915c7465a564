//! Properties of field sets and differences, over many random objects; and the review's parser over broken bytes. The
//! random numbers are our own, so that a failure comes back with its seed.

#![allow(clippy::unwrap_used)]

use gitward_core::fields::{Object, Path, Segment, Set, diff};
use gitward_core::json::Json;
use gitward_core::verdict::{Listed, Policy, Request};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

#[path = "properties/plan.rs"]
mod plan;
#[path = "properties/preview.rs"]
mod preview;
#[path = "properties/verdict.rs"]
mod verdict;

/// How many random inputs each property is tried with. `GITWARD_FUZZ=<number>` tries more: `make fuzz`.
fn rounds() -> u64 {
    std::env::var("GITWARD_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(3000)
}

/// xorshift64*: enough to make objects of.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn name(&mut self) -> String {
        ["a", "b", "c", "app/x", "t~t", "ü", "d.e"][self.below(7) as usize].to_owned()
    }
}

/// A random value, with the set of everything in it as a manager that applied it would own it.
fn value(random: &mut Random, depth: u32) -> (Value, Value) {
    match random.below(if depth == 0 { 2 } else { 5 }) {
        0 => (json!(random.below(5)), json!({})),
        1 => (json!(random.name()), json!({})),
        2 => {
            let (mut map, mut set) = (Map::new(), Map::new());
            set.insert(".".into(), json!({}));
            for _ in 0..=random.below(3) {
                let name = random.name();
                let (v, s) = value(random, depth - 1);
                set.insert(format!("f:{name}"), s);
                map.insert(name, v);
            }
            (Value::Object(map), Value::Object(set))
        }
        3 => {
            let (mut list, mut set) = (Vec::new(), Map::new());
            set.insert(".".into(), json!({}));
            for n in 0..=random.below(3) {
                let (v, s) = value(random, depth - 1);
                set.insert(format!("k:{{\"name\":\"n{n}\"}}"), json!({".": {}, "f:name": {}, "f:value": s}));
                list.push(json!({"name": format!("n{n}"), "value": v}));
            }
            (Value::Array(list), Value::Object(set))
        }
        // An atomic list.
        _ => ((0..=random.below(3)).map(|n| json!(n)).collect(), json!({})),
    }
}

/// An object and its owner's set.
fn object(random: &mut Random) -> (Value, Value) {
    let (mut map, mut set) = (Map::new(), Map::new());
    for name in ["spec", "data"] {
        let (v, s) = value(random, 4);
        map.insert(name.into(), json!({"in": v}));
        set.insert(format!("f:{name}"), json!({"f:in": s}));
    }
    (Value::Object(map), Value::Object(set))
}

/// Changes one random leaf; says where it stands as the walker should name it, or a part of that.
fn change(random: &mut Random, value: &mut Value) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let index = random.below(map.len() as u64) as usize;
            let (key, below) = map.iter_mut().nth(index).unwrap();
            let key = key.clone();
            // The key of a list's item makes it another item.
            let mut path = if key == "name" { vec![key] } else { [vec![key], change(random, below)].concat() };
            if path == ["name"] {
                *map.get_mut("name").unwrap() = json!("another");
                path.clear();
            }
            path
        }
        Value::Array(list) if !list.is_empty() => {
            let index = random.below(list.len() as u64) as usize;
            let _ = change(random, &mut list[index]);
            Vec::new()
        }
        leaf => {
            *leaf = json!(format!("changed from {leaf}"));
            Vec::new()
        }
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

#[test]
fn a_change_of_what_is_owned_is_found_inside_of_the_set_and_only_there() {
    for seed in 1..rounds() {
        let random = &mut Random::of(seed);
        let (before, set) = object(random);
        let mut after = before.clone();
        let path = change(random, &mut after);
        let (old, new, set) = (raw(&before), raw(&after), raw(&set));
        let (old, new) = (Object::read(Json::from(&*old)).unwrap(), Object::read(Json::from(&*new)).unwrap());
        let owned = Set::of(Json::from(&*set));
        let changes = diff(&old, &new, &owned);
        assert!(!changes.is_empty(), "seed {seed}: nothing found from {before} to {after}");
        for change in &changes {
            assert!(owned.is_touched_by(&change.path), "seed {seed}: {} is owned", change.path);
            let first = path.first().cloned().unwrap_or_default();
            let begins = matches!(change.path.segments().first(), Some(Segment::Field(name)) if *name == first);
            assert!(path.is_empty() || begins, "seed {seed}: {} is not below {first}", change.path);
        }
        assert!(diff(&old, &old, &owned).is_empty() && diff(&new, &new, &owned).is_empty(), "seed {seed}");
    }
}

#[test]
fn a_change_outside_of_the_set_is_never_found_inside() {
    for seed in 1..rounds() {
        let random = &mut Random::of(seed);
        let (mut before, set) = object(random);
        before["spec"]["free"] = value(random, 3).0;
        before["other"] = value(random, 3).0;
        let mut after = before.clone();
        after["spec"]["free"] = json!("changed");
        after["other"] = json!("changed");
        let (old, new, set) = (raw(&before), raw(&after), raw(&set));
        let (old, new) = (Object::read(Json::from(&*old)).unwrap(), Object::read(Json::from(&*new)).unwrap());
        let owned = Set::of(Json::from(&*set));
        let changes = diff(&old, &new, &owned);
        assert!(!changes.is_empty(), "seed {seed}");
        for change in changes {
            assert!(!owned.is_touched_by(&change.path), "seed {seed}: {} is free", change.path);
        }
    }
}

#[test]
fn a_set_holds_each_of_its_paths_and_shares_them_with_itself() {
    for seed in 1..rounds() {
        let (_, set) = object(&mut Random::of(seed));
        let set = raw(&set);
        let owned = Set::of(Json::from(&*set));
        let paths = owned.paths();
        assert!(paths.iter().all(|path| owned.is_touched_by(path)), "seed {seed}");
        assert!(owned.shares_beyond(&owned, None), "seed {seed}");
        assert!(!owned.shares_beyond(&owned, Some(&owned)), "seed {seed}");
        assert!(!owned.is_touched_by(&Path::of_fields(&["nothing", "of", "it"])), "seed {seed}");
    }
}

/// Recorded reviews with bytes changed, cut and doubled: an error or a verdict, and never a panic.
#[test]
fn broken_reviews_are_judged_or_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/reviews");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let reviews: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
    let nothing = Listed::default();
    let mut judged = 0;
    for seed in 1..rounds() {
        let random = &mut Random::of(seed);
        let mut review = reviews[random.below(reviews.len() as u64) as usize].clone();
        for _ in 0..random.below(4) {
            let at = random.below(review.len() as u64) as usize;
            match random.below(4) {
                0 => review[at] = random.below(256) as u8,
                1 => review.truncate(at),
                2 => drop(review.splice(at..at, *b"{}")),
                _ => {
                    let to = (at + random.below(60) as usize).min(review.len());
                    let part = review[at..to].to_vec();
                    drop(review.splice(at..at, part));
                }
            }
            if review.is_empty() {
                break;
            }
        }
        let _ = Request::head(&review);
        if let Ok(request) = Request::parse(&review) {
            nothing.judge(&request, &policy);
            judged += 1;
        }
    }
    assert!(judged > rounds() / 10, "only {judged} could be judged");
}
