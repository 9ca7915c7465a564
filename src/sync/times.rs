//! When a GitSync is looked at, from its spec and from what happened. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::GitSync;

/// The shortest interval at which git is asked.
pub(super) const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The interval where none can be read.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// How long the GitSync stays suspended; `None` where it is not.
pub(super) fn suspended(sync: &GitSync, now: Timestamp) -> Option<Duration> {
    if !sync.spec.suspend {
        return None;
    }
    match &sync.spec.suspend_until {
        None => Some(Duration::from_secs(3600)),
        Some(until) => Duration::try_from(until.0.duration_since(now)).ok().filter(|left| !left.is_zero()),
    }
}

/// 1 s, 2 s, 4 s … 5 min.
pub(super) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.saturating_sub(1).min(9)).min(Duration::from_secs(300))
}

/// A tenth more or less, so that hundreds of GitSyncs do not ask at the same moment.
pub(super) fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Nobody means more, and a sum of more can overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A duration as the CRD allows it.
fn duration(text: &str) -> Option<Duration> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed.and_then(|duration| Duration::try_from(duration).ok()).map(|duration| duration.min(LONGEST))
}

/// The interval of a GitSync.
pub(super) fn interval(sync: &GitSync) -> Duration {
    duration(&sync.spec.source.interval).map_or(DEFAULT_INTERVAL, |d| d.max(SHORTEST_INTERVAL))
}

/// How long objects may take to become healthy.
pub(super) fn timeout(sync: &GitSync) -> Duration {
    duration(&sync.spec.timeout).unwrap_or(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sync(spec: serde_json::Value) -> GitSync {
        let mut whole = json!({"source": {"url": "https://example.com/a"}});
        json_patch::merge(&mut whole, &spec);
        GitSync::new("a", serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn waits_grow_to_five_minutes() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 100].map(|n| backoff(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
        (0..100).for_each(|_| assert!((900..=1100).contains(&jitter(Duration::from_secs(1)).as_millis())));
    }

    #[test]
    fn an_interval_is_read_as_people_write_it() {
        let read = |text: &str| interval(&sync(json!({"source": {"interval": text}}))).as_secs();
        assert_eq!([read("30s"), read("1h30m"), read("0s")], [30, 5400, 1]);
        assert_eq!([read("9223372036854775807s"), read("99999999999999999999h")], [LONGEST.as_secs(), 60]);
    }

    #[test]
    fn a_suspension_ends_at_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let until = sync(json!({"suspend": true, "suspendUntil": "1970-01-01T00:01:00Z"}));
        assert_eq!(suspended(&until, at(50)), Some(Duration::from_secs(10)));
        assert_eq!(suspended(&until, at(60)), None);
        assert!(suspended(&sync(json!({"suspend": true})), at(0)).is_some());
        assert_eq!(suspended(&sync(json!({})), at(0)), None);
    }
}
