//! Properties of the plan: carried out, it makes of whatever is there what is declared; a second one has nothing to prune; what
//! comes first is first. The cluster is a map here: what an apply does to an object is tried beside (`preview`).

use std::collections::{BTreeMap, BTreeSet};

use gitward_core::plan::{ObjectKey, Phase, Plan, PlanError, Sequence, plan, rank};

use super::{Random, rounds};

type Declared = Vec<(ObjectKey, Sequence)>;

fn key(random: &mut Random) -> ObjectKey {
    let kinds = ["/Namespace:/", "/ConfigMap:s/", "apps/Deployment:s/", "batch/Job:s/", "example.com/Widget:s/"];
    let kind = kinds[usize::try_from(random.below(5)).unwrap()];
    format!("{kind}n{}", random.below(8)).parse().unwrap()
}

fn declared(random: &mut Random) -> Declared {
    let keys: BTreeSet<ObjectKey> = (0..random.below(12)).map(|_| key(random)).collect();
    let keys: Vec<ObjectKey> = keys.into_iter().collect();
    let sequence = |random: &mut Random| Sequence {
        phase: [Phase::Before, Phase::Main, Phase::Main, Phase::After][usize::try_from(random.below(4)).unwrap()],
        wave: i64::try_from(random.below(3)).unwrap() - 1,
        after: (0..random.below(2)).map(|_| if random.below(8) == 0 { key(random) } else { keys[0].clone() }).collect(),
        hook: None,
    };
    keys.iter().map(|key| (key.clone(), sequence(random))).collect()
}

/// Applies and prunes as the plan says; the value of an object is whose it is.
fn carry_out(plan: &Plan, declared: &Declared, cluster: &mut BTreeMap<ObjectKey, &'static str>) {
    for index in plan.gates.iter().flat_map(|gate| gate.stages.iter().flatten()) {
        cluster.insert(declared[*index].0.clone(), "git");
    }
    for key in &plan.prune {
        cluster.remove(key);
    }
}

#[test]
fn a_plan_makes_of_what_is_there_what_is_declared_and_the_next_one_has_nothing_to_do() {
    for seed in 0..rounds() {
        let mut random = Random::of(seed);
        let declared = declared(&mut random);
        let inventory: BTreeSet<ObjectKey> = (0..random.below(12)).map(|_| key(&mut random)).collect();
        let strangers: BTreeSet<ObjectKey> = (0..random.below(5)).map(|_| key(&mut random)).collect();
        let strangers: Vec<ObjectKey> = strangers
            .into_iter()
            .filter(|key| !inventory.contains(key) && !declared.iter().any(|(d, _)| d == key))
            .collect();
        let mut cluster: BTreeMap<ObjectKey, &str> = inventory.iter().map(|key| (key.clone(), "old")).collect();
        cluster.extend(strangers.iter().map(|key| (key.clone(), "stranger")));
        let wanted: BTreeSet<&ObjectKey> = declared.iter().map(|(key, _)| key).collect();
        let percent = if random.below(2) == 0 { 99 } else { 100 };
        let plan = match plan(&declared, &inventory, percent) {
            Ok(plan) => plan,
            Err(PlanError::WouldPruneEverything { count }) => {
                assert!(count > 0 && inventory.iter().all(|key| !wanted.contains(key)), "seed {seed}");
                assert!(percent < 100 || declared.is_empty(), "seed {seed}");
                continue;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        carry_out(&plan, &declared, &mut cluster);
        let refused: BTreeSet<usize> = plan.refused.iter().map(|(index, _)| *index).collect();
        for (index, (key, _)) in declared.iter().enumerate() {
            let is = cluster.get(key).copied();
            let expected = if refused.contains(&index) { is.filter(|whose| *whose == "old") } else { Some("git") };
            assert_eq!(is, expected, "seed {seed}: {key}");
        }
        assert!(inventory.iter().all(|key| wanted.contains(key) || !cluster.contains_key(key)), "seed {seed}");
        assert!(strangers.iter().all(|key| cluster[key] == "stranger"), "seed {seed}");
        let second = planned_again(&declared);
        assert_eq!((second.prune, second.gates), (Vec::new(), plan.gates.clone()), "seed {seed}");
        check_order(&plan, &declared, seed);
    }
}

/// The plan over what the first one has left in the inventory.
fn planned_again(declared: &Declared) -> Plan {
    plan(declared, &declared.iter().map(|(key, _)| key.clone()).collect(), 0).unwrap()
}

fn check_order(plan: &Plan, declared: &Declared, seed: u64) {
    let mut gate_of: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for (number, gate) in plan.gates.iter().enumerate() {
        let mut ranks = Vec::new();
        for index in gate.stages.iter().flatten() {
            let (key, sequence) = &declared[*index];
            assert_eq!((sequence.phase, sequence.wave), (gate.phase, gate.wave), "seed {seed}");
            assert_eq!(gate_of.insert(key, number), None, "seed {seed}: {key} is applied twice");
            ranks.push(rank(key));
        }
        assert!(ranks.is_sorted() && !ranks.is_empty(), "seed {seed}");
    }
    let places: Vec<_> = plan.gates.iter().map(|gate| (gate.phase, gate.wave)).collect();
    assert!(places.is_sorted(), "seed {seed}");
    for (key, sequence) in declared {
        for after in &sequence.after {
            if let Some(mine) = gate_of.get(key) {
                assert!(gate_of[after] < *mine, "seed {seed}: {key} comes before {after}");
            }
        }
    }
    assert_eq!(gate_of.len() + plan.refused.len(), declared.len(), "seed {seed}: nothing is forgotten");
}
