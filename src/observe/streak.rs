//! How often an object was healed lately, and how long to wait before it is healed again: a fight with another controller is
//! reported, not fought.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitward_core::plan::ObjectKey;

/// An object that drifts again within this time after it was healed is being fought over, or cannot be healed.
const QUIET: Duration = Duration::from_secs(60);
/// The first heals come at once; a fight is slowed down after this many.
const PATIENCE: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// More streaks than this are looked through for old ones.
const MANY: usize = 1000;

struct Streak {
    since: Instant,
    heals: u32,
    /// Why it cannot be healed, or who changes it again and again.
    trouble: Option<String>,
}

/// The streaks of all objects.
#[derive(Default)]
pub(super) struct Streaks(Mutex<HashMap<ObjectKey, Streak>>);

impl Streaks {
    /// Counts a heal, and says how long to wait before it: nothing for the first times, then longer and longer.
    pub(super) fn count(&self, key: &ObjectKey) -> Duration {
        let (mut streaks, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if streaks.len() > MANY {
            streaks.retain(|_, streak| !streak.is_over(now));
        }
        let streak = streaks.entry(key.clone()).or_insert(Streak { since: now, heals: 0, trouble: None });
        if streak.is_over(now) {
            *streak = Streak { since: now, heals: 0, trouble: None };
        }
        streak.heals += 1;
        match streak.heals.checked_sub(PATIENCE) {
            None | Some(0) => Duration::ZERO,
            Some(over) => {
                streak.since = now;
                LONGEST_WAIT.min(Duration::from_millis(250) * 2_u32.saturating_pow(over))
            }
        }
    }

    /// There was nothing to heal: somebody else had done it.
    pub(super) fn take_back(&self, key: &ObjectKey) {
        if let Some(streak) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            streak.heals = streak.heals.saturating_sub(1);
        }
    }

    /// Whether the object is healed so often that somebody must be working against it.
    pub(super) fn is_fight(&self, key: &ObjectKey) -> bool {
        let streaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streaks.get(key).is_some_and(|streak| streak.heals >= PATIENCE)
    }

    /// Says what the trouble with an object is; `None` where there is none any more.
    pub(super) fn tell(&self, key: &ObjectKey, trouble: Option<String>) {
        if let Some(streak) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            streak.trouble = trouble;
        }
    }

    /// What the trouble with an object is at this moment.
    pub(super) fn trouble(&self, key: &ObjectKey) -> Option<String> {
        let streaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streaks.get(key).filter(|streak| !streak.is_over(Instant::now())).and_then(|streak| streak.trouble.clone())
    }
}

impl Streak {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) > QUIET * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_heals_come_at_once_and_a_fight_is_slowed_down() {
        let (streaks, key) = (Streaks::default(), "/ConfigMap:a/b".parse().unwrap());
        let waits: Vec<u128> = (0..8).map(|_| streaks.count(&key).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 500, 1000, 2000]);
        assert!(streaks.is_fight(&key));
        streaks.tell(&key, Some("x changes it".into()));
        assert_eq!(streaks.trouble(&key).as_deref(), Some("x changes it"));
        (0..20).for_each(|_| assert!(streaks.count(&key) <= LONGEST_WAIT));
    }
}
