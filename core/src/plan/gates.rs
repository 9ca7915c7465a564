//! The order of a run: gates, each of which is passed when all that it holds is healthy; within a gate, stages by kind.

use std::collections::{BTreeMap, HashMap, VecDeque};

use thiserror::Error;

use super::{ObjectKey, Phase, Sequence, rank};

/// Objects that have to be healthy before the next gate begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Which part of the run.
    pub phase: Phase,
    /// Which wave of it.
    pub wave: i64,
    /// Indices of the declared objects: those of one stage may be applied side by side, and a stage begins when the one
    /// before it is through.
    pub stages: Vec<Vec<usize>>,
}

/// Why an object has no place in the order.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// It depends on what is not there.
    #[error("it depends on {0}, which this GitSync does not declare")]
    NotDeclared(String),
    /// It depends on what comes after it.
    #[error("it depends on {0}, which comes in a later wave")]
    Later(String),
    /// It depends on itself.
    #[error("it depends on itself, through {0}")]
    Circle(String),
}

type Level = (Phase, i64, usize);

/// Orders the declared objects. What has no place is left out and named.
pub fn gates(declared: &[(ObjectKey, Sequence)]) -> (Vec<Gate>, Vec<(usize, OrderError)>) {
    let mut places = Places::new(declared);
    places.follow();
    let mut by_level: BTreeMap<Level, Vec<usize>> = BTreeMap::new();
    for (index, level) in places.levels.iter().enumerate() {
        if let Some(level) = level {
            by_level.entry(*level).or_default().push(index);
        }
    }
    let gates = by_level.into_iter().map(|((phase, wave, _), mut indices)| {
        indices.sort_by_key(|&i| rank(&declared[i].0));
        let stages = indices.chunk_by(|&a, &b| rank(&declared[a].0) == rank(&declared[b].0)).map(<[usize]>::to_vec);
        Gate { phase, wave, stages: stages.collect() }
    });
    (gates.collect(), places.errors)
}

/// The level of each object, found out from what it depends on (Kahn's algorithm: a chain may be long).
struct Places<'a> {
    declared: &'a [(ObjectKey, Sequence)],
    levels: Vec<Option<Level>>,
    /// How many dependencies of each are without a level so far.
    open: Vec<usize>,
    dependants: Vec<Vec<usize>>,
    errors: Vec<(usize, OrderError)>,
}

impl<'a> Places<'a> {
    fn new(declared: &'a [(ObjectKey, Sequence)]) -> Places<'a> {
        let index: HashMap<&ObjectKey, usize> = declared.iter().enumerate().map(|(i, (key, _))| (key, i)).collect();
        let mut places = Places {
            declared,
            levels: vec![None; declared.len()],
            open: vec![0; declared.len()],
            dependants: vec![Vec::new(); declared.len()],
            errors: Vec::new(),
        };
        for (i, (_, sequence)) in declared.iter().enumerate() {
            let place = (sequence.phase, sequence.wave);
            for wanted in &sequence.after {
                let error = match index.get(wanted) {
                    None => OrderError::NotDeclared(wanted.in_words()),
                    Some(&on) if (declared[on].1.phase, declared[on].1.wave) > place => {
                        OrderError::Later(wanted.in_words())
                    }
                    Some(&on) => {
                        places.open[i] += 1;
                        places.dependants[on].push(i);
                        continue;
                    }
                };
                places.errors.push((i, error));
                // Never reached: it has no place.
                places.open[i] += 1;
            }
        }
        places
    }

    fn follow(&mut self) {
        let base = |sequence: &Sequence| (sequence.phase, sequence.wave, 0);
        let mut least: Vec<Level> = self.declared.iter().map(|(_, sequence)| base(sequence)).collect();
        let mut next: VecDeque<usize> = (0..self.declared.len()).filter(|&i| self.open[i] == 0).collect();
        while let Some(i) = next.pop_front() {
            let (phase, wave, depth) = least[i];
            self.levels[i] = Some(least[i]);
            for &dependant in &self.dependants[i] {
                let (its_phase, its_wave, its_depth) = least[dependant];
                if (its_phase, its_wave) == (phase, wave) {
                    least[dependant].2 = its_depth.max(depth + 1);
                }
                self.open[dependant] -= 1;
                if self.open[dependant] == 0 {
                    next.push_back(dependant);
                }
            }
        }
        for (i, (_, sequence)) in self.declared.iter().enumerate() {
            if self.levels[i].is_none() && !self.errors.iter().any(|(at, _)| *at == i) {
                let through = sequence.after.first().map(ObjectKey::in_words).unwrap_or_default();
                self.errors.push((i, OrderError::Circle(through)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, wave: i64, after: &[&str]) -> (ObjectKey, Sequence) {
        let after = after.iter().map(|id| id.parse().unwrap()).collect();
        (id.parse().unwrap(), Sequence { wave, after, ..Sequence::default() })
    }

    fn stages(declared: &[(ObjectKey, Sequence)]) -> Vec<Vec<Vec<usize>>> {
        gates(declared).0.into_iter().map(|gate| gate.stages).collect()
    }

    #[test]
    fn without_a_word_there_is_one_gate_with_stages_by_kind() {
        let declared = [
            item("apps/Deployment:s/a", 0, &[]),
            item("/ConfigMap:s/a", 0, &[]),
            item("/Namespace:/s", 0, &[]),
            item("apps/StatefulSet:s/a", 0, &[]),
        ];
        assert_eq!(stages(&declared), [vec![vec![2], vec![1], vec![0, 3]]]);
    }

    #[test]
    fn waves_come_one_after_the_other_and_hooks_around_them() {
        let mut declared =
            vec![item("/ConfigMap:s/b", 1, &[]), item("/ConfigMap:s/a", -1, &[]), item("batch/Job:s/x", 9, &[])];
        declared[2].1.phase = Phase::Before;
        assert_eq!(stages(&declared), [vec![vec![2]], vec![vec![1]], vec![vec![0]]]);
    }

    #[test]
    fn what_depends_on_others_waits_for_them() {
        let declared = [
            item("apps/Deployment:s/c", 0, &["apps/Deployment:s/b"]),
            item("apps/Deployment:s/b", 0, &["apps/Deployment:s/a"]),
            item("apps/Deployment:s/a", 0, &[]),
            item("apps/Deployment:s/late", 1, &["apps/Deployment:s/c"]),
        ];
        assert_eq!(stages(&declared), [vec![vec![2]], vec![vec![1]], vec![vec![0]], vec![vec![3]]]);
    }

    #[test]
    fn what_has_no_place_is_named_and_the_rest_goes_on() {
        let declared = [
            item("/ConfigMap:s/a", 0, &["/ConfigMap:s/b"]),
            item("/ConfigMap:s/b", 0, &["/ConfigMap:s/a"]),
            item("/ConfigMap:s/c", 0, &["/ConfigMap:s/nowhere"]),
            item("/ConfigMap:s/d", 0, &["/ConfigMap:s/e"]),
            item("/ConfigMap:s/e", 1, &[]),
        ];
        let (gates, errors) = gates(&declared);
        assert_eq!(gates.len(), 1);
        let mut texts: Vec<_> = errors.iter().map(|(i, error)| format!("{i} {error}")).collect();
        texts.sort();
        assert_eq!(
            texts,
            [
                "0 it depends on itself, through ConfigMap s/b",
                "1 it depends on itself, through ConfigMap s/a",
                "2 it depends on ConfigMap s/nowhere, which this GitSync does not declare",
                "3 it depends on ConfigMap s/e, which comes in a later wave",
            ]
        );
    }
}
