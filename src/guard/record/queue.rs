//! Entries that wait to be written: one lane per caller, served in turns, each bounded. Pure.
//!
//! A caller that is refused thousands of times fills its own lane only: another one's entry is written after at most one entry of
//! every caller before it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::entry::Entry;
use super::worth::worth;

/// How many entries may wait, of one caller and of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) per_caller: usize,
    pub(super) total: usize,
}

/// Entries by caller. Equal ones are counted together while they wait.
#[derive(Debug)]
pub(super) struct FairQueue {
    lanes: HashMap<String, Lane>,
    /// Callers with waiting entries of whom none is being written, next first.
    turns: VecDeque<String>,
    len: usize,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeMap<u64, Entry>,
    by_name: HashMap<String, u64>,
    next: u64,
    /// Whether an entry of this caller is being written. Two at a time would only conflict.
    busy: bool,
}

impl FairQueue {
    pub(super) fn new(bounds: Bounds) -> FairQueue {
        FairQueue { lanes: HashMap::new(), turns: VecDeque::new(), len: 0, bounds }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits and nothing is being written.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Adds an entry. Returns the one that has to go where there is no room: the least worthy of the caller, or of the caller
    /// with the most entries.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Entry> {
        let caller = entry.caller.clone();
        let lane = self.lanes.entry(caller.clone()).or_default();
        if lane.waiting.is_empty() && !lane.busy {
            self.turns.push_back(caller.clone());
        }
        if !lane.add(entry) {
            return None;
        }
        self.len += 1;
        let crowded = if lane.waiting.len() > self.bounds.per_caller {
            caller
        } else if self.len > self.bounds.total {
            // The newcomer where all have one: it is not the one to crowd others out.
            let most = self.lanes.iter().max_by_key(|(name, lane)| (lane.waiting.len(), **name == caller));
            most.map(|(name, _)| name.clone()).unwrap_or(caller)
        } else {
            return None;
        };
        self.remove_least(&crowded)
    }

    /// The next entry. Its caller has no other turn before [`FairQueue::done`].
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let caller = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&caller)?;
        let (_, entry) = lane.waiting.pop_first()?;
        lane.by_name.remove(&entry.name);
        lane.busy = true;
        self.len -= 1;
        Some(entry)
    }

    /// The entry of this caller is written, or given up.
    pub(super) fn done(&mut self, caller: &str) {
        let Some(lane) = self.lanes.get_mut(caller) else { return };
        lane.busy = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(caller);
        } else {
            self.turns.push_back(caller.to_owned());
        }
    }

    fn remove_least(&mut self, caller: &str) -> Option<Entry> {
        let lane = self.lanes.get_mut(caller)?;
        let entry = lane.remove_least()?;
        self.len -= 1;
        if lane.waiting.is_empty() && !lane.busy {
            self.lanes.remove(caller);
            self.turns.retain(|name| name != caller);
        }
        Some(entry)
    }
}

impl Lane {
    /// Whether it is another entry, and not counted into one that waits.
    fn add(&mut self, entry: Entry) -> bool {
        let waiting = self.by_name.get(&entry.name).and_then(|at| self.waiting.get_mut(at));
        if let Some(waiting) = waiting {
            waiting.absorb(entry);
            return false;
        }
        self.by_name.insert(entry.name.clone(), self.next);
        self.waiting.insert(self.next, entry);
        self.next += 1;
        true
    }

    /// Removes the least worthy entry, of equal ones the newest.
    fn remove_least(&mut self) -> Option<Entry> {
        let least = self.waiting.iter().rev().min_by_key(|(_, entry)| worth(&entry.spec));
        let at = least.map(|(at, _)| *at)?;
        let entry = self.waiting.remove(&at)?;
        self.by_name.remove(&entry.name);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::entry;
    use super::*;

    fn queue(per_caller: usize, total: usize) -> FairQueue {
        FairQueue::new(Bounds { per_caller, total })
    }

    /// The names in the order in which they are written.
    fn drain(queue: &mut FairQueue) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(entry) = queue.pop() {
            queue.done(&entry.caller);
            names.push(entry.name);
        }
        assert!(queue.is_idle() && queue.len() == 0);
        names
    }

    #[test]
    fn one_refusal_is_written_at_once_beside_ten_thousand_of_another_caller() {
        let mut queue = queue(500, 4000);
        let dropped = (0..10_000).filter_map(|n| queue.push(entry("flood", &format!("flood-{n}"), "deny"))).count();
        assert_eq!(dropped, 9_500, "the rest is dropped, and the caller of push knows");
        assert!(queue.push(entry("dev", "one", "deny")).is_none());
        let order = drain(&mut queue);
        assert_eq!(order.iter().position(|name| name == "one"), Some(1));
        assert_eq!(order[0], "flood-0", "a caller's own entries keep their order");
        assert_eq!(order.len(), 501);
    }

    #[test]
    fn equal_entries_are_counted_together_and_none_is_lost() {
        let mut queue = queue(2, 2);
        assert!((0..3000).all(|_| queue.push(entry("dev", "same", "deny")).is_none()));
        assert_eq!((queue.len(), queue.pop().unwrap().spec.count), (1, 3000));
    }

    #[test]
    fn the_worthy_stay_where_a_lane_is_full() {
        let mut queue = queue(2, 10);
        queue.push(entry("dev", "trivial", "deny"));
        queue.push(entry("dev", "access", "allow"));
        let dropped = queue.push(entry("dev", "another-access", "allow")).unwrap();
        assert_eq!(dropped.name, "trivial");
        assert_eq!(drain(&mut queue), ["access", "another-access"]);
    }

    #[test]
    fn when_all_is_full_the_one_with_the_most_gives_way() {
        let mut queue = queue(10, 4);
        (0..3).for_each(|n| drop(queue.push(entry("flood", &format!("flood-{n}"), "deny"))));
        queue.push(entry("dev", "dev", "deny"));
        assert_eq!(queue.push(entry("ops", "ops", "deny")).unwrap().name, "flood-2");
        assert_eq!(queue.len(), 4);
        let mut names = FairQueue::new(Bounds { per_caller: 10, total: 2 });
        ["a", "b"].iter().for_each(|caller| drop(names.push(entry(caller, caller, "deny"))));
        assert_eq!(names.push(entry("c", "c", "deny")).unwrap().name, "c", "invented names crowd nobody out");
        assert_eq!(drain(&mut names), ["a", "b"]);
    }

    #[test]
    fn a_caller_has_one_entry_written_at_a_time() {
        let mut queue = queue(10, 10);
        ["a", "b"].iter().for_each(|name| drop(queue.push(entry("dev", name, "deny"))));
        queue.push(entry("ops", "c", "deny"));
        let [a, c] = [queue.pop().unwrap(), queue.pop().unwrap()];
        assert_eq!((a.name.as_str(), c.name.as_str()), ("a", "c"));
        assert!(queue.pop().is_none(), "dev's next waits for the first");
        queue.push(entry("dev", "a", "deny"));
        queue.done("dev");
        assert_eq!(queue.pop().unwrap().name, "b");
        assert!(!queue.is_idle());
    }
}
