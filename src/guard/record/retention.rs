//! Which records are kept: so many of a caller and so many in all, by worth and by how well they cover time. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Namespace and name of a record.
pub(super) type Key = (String, String);

/// How many records there may be, of one caller and in the whole cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) per_caller: usize,
    pub(super) total: usize,
}

/// What decides about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Hash of the caller.
    pub(super) caller: String,
    /// See [`super::worth`].
    pub(super) worth: u32,
    /// The last try, in milliseconds since 1970.
    pub(super) last: i64,
}

/// The records that there are, as far as this guard knows.
#[derive(Debug, Default)]
pub(super) struct Retention {
    records: HashMap<Key, Kept>,
    callers: HashMap<String, usize>,
}

impl Retention {
    /// Whether a record is there.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// What is known of a record.
    pub(super) fn get(&self, key: &Key) -> Option<&Kept> {
        self.records.get(key)
    }

    /// A record is there, or has changed.
    pub(super) fn insert(&mut self, key: Key, kept: Kept) {
        self.remove(&key);
        *self.callers.entry(kept.caller.clone()).or_default() += 1;
        self.records.insert(key, kept);
    }

    /// A record is gone.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(kept) = self.records.remove(key) else { return };
        if let Some(count) = self.callers.get_mut(&kept.caller) {
            *count -= 1;
            if *count == 0 {
                self.callers.remove(&kept.caller);
            }
        }
    }

    /// The record that has to go where there are too many; it may be the one that was inserted last.
    pub(super) fn excess(&self, limits: Limits) -> Option<Key> {
        let (most, count) = self.callers.iter().max_by_key(|(name, count)| (**count, Reverse(*name)))?;
        if *count <= limits.per_caller && self.records.len() <= limits.total {
            return None;
        }
        // Where every caller has a single record, none has more than its share, and all are compared.
        if *count > 1 { self.least_of(most) } else { self.least_of_all() }
    }

    /// A caller's least worthy record, of equally worthy ones the most [crowded](spread).
    fn least_of(&self, caller: &str) -> Option<Key> {
        let own = || self.records.iter().filter(|(_, kept)| kept.caller == caller);
        let worth = own().map(|(_, kept)| kept.worth).min()?;
        let least = spread(own().filter(|(_, kept)| kept.worth == worth));
        least
            .into_iter()
            .min_by_key(|(gap, key, kept)| (*gap, Reverse((kept.last, *key))))
            .map(|(_, key, _)| key.clone())
    }

    /// The most crowded record of all callers; worth makes up for the crowd, but only so far: a burst of invented names gains
    /// nothing from trying what is worth much.
    fn least_of_all(&self) -> Option<Key> {
        let score = |gap: i64, kept: &Kept| kept.worth + gap.unsigned_abs().max(1).ilog2();
        let least = spread(self.records.iter());
        let least = least.into_iter().min_by_key(|(gap, key, kept)| (score(*gap, kept), Reverse((kept.last, *key))));
        least.map(|(_, key, _)| key.clone())
    }
}

/// Records with the time to the one before, in milliseconds: a burst is a crowd, of which the first stands alone.
fn spread<'a>(records: impl Iterator<Item = (&'a Key, &'a Kept)>) -> Vec<(i64, &'a Key, &'a Kept)> {
    let mut sorted: Vec<(&Key, &Kept)> = records.collect();
    sorted.sort_unstable_by_key(|(key, kept)| (kept.last, *key));
    let before = std::iter::once(i64::MIN).chain(sorted.iter().map(|(_, kept)| kept.last)).collect::<Vec<_>>();
    let gap = |(before, (key, kept)): (i64, (&'a Key, &'a Kept))| (kept.last.saturating_sub(before), key, kept);
    before.into_iter().zip(sorted).map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn add(records: &mut Retention, limits: Limits, name: &str, caller: &str, worth: u32, last: i64) -> Option<String> {
        records.insert(("shop".into(), name.into()), Kept { caller: caller.into(), worth, last });
        let gone = records.excess(limits)?;
        records.remove(&gone);
        Some(gone.1)
    }

    #[test]
    fn a_burst_of_one_caller_removes_none_of_its_earlier_records() {
        let (mut records, limits) = (Retention::default(), Limits { per_caller: 20, total: 1000 });
        (0..10).for_each(|n| drop(add(&mut records, limits, &format!("early-{n}"), "dev", 0, n * HOUR)));
        let gone: Vec<String> = (0..1000)
            .filter_map(|n| add(&mut records, limits, &format!("burst-{n:04}"), "dev", 0, 10 * HOUR + n))
            .collect();
        assert_eq!(gone.len(), 990);
        assert!(gone.iter().all(|name| name.starts_with("burst-")), "{gone:?}");
        assert!(records.contains(&("shop".into(), "burst-0000".into())), "when it began stays");
    }

    #[test]
    fn the_worthy_outlive_trivia() {
        let (mut records, limits) = (Retention::default(), Limits { per_caller: 3, total: 1000 });
        add(&mut records, limits, "exec", "dev", 12, 0);
        for n in 0..10 {
            let gone = add(&mut records, limits, &format!("trivial-{n}"), "dev", 0, n * HOUR);
            assert_ne!(gone.as_deref(), Some("exec"));
        }
        assert!(records.contains(&("shop".into(), "exec".into())));
        let gone = add(&mut records, limits, "grant", "dev", 6, 0).unwrap();
        assert!(gone.starts_with("trivial-"), "{gone}");
    }

    #[test]
    fn invented_names_are_bounded_and_crowd_nobody_out() {
        let (mut records, limits) = (Retention::default(), Limits { per_caller: 10, total: 50 });
        (0..5).for_each(|n| drop(add(&mut records, limits, &format!("real-{n}"), &format!("person-{n}"), 0, n * HOUR)));
        for n in 0..1500 {
            // Grants, which are worth more than what the others tried.
            add(&mut records, limits, &format!("fake-{n}"), &format!("invented-{n}"), 6, 6 * HOUR + n);
        }
        assert_eq!(records.records.len(), 50);
        assert!((0..5).all(|n| records.contains(&("shop".into(), format!("real-{n}")))));
    }

    #[test]
    fn in_a_full_cluster_the_caller_with_the_most_gives_way() {
        let (mut records, limits) = (Retention::default(), Limits { per_caller: 10, total: 10 });
        (0..9).for_each(|n| drop(add(&mut records, limits, &format!("flood-{n}"), "flood", 8, n)));
        add(&mut records, limits, "dev", "dev", 0, 0);
        let gone = add(&mut records, limits, "ops", "ops", 0, 0).unwrap();
        assert!(gone.starts_with("flood-"), "{gone}: worth is compared within one caller's records");
    }

    #[test]
    fn nothing_goes_where_there_is_room() {
        let (mut records, limits) = (Retention::default(), Limits { per_caller: 2, total: 4 });
        for (n, caller) in ["a", "a", "b", "b"].iter().enumerate() {
            assert_eq!(add(&mut records, limits, &n.to_string(), caller, 0, 0), None);
        }
        // A change of a record is no second one.
        assert_eq!(add(&mut records, limits, "1", "a", 3, 9), None);
    }
}
