//! Who holds how much of the memory for bodies, and who gives it up when others wait. Pure: time is given.
//!
//! The beginning of every body is counted as it arrives. A body that goes on behind that takes a place, which has room for the
//! largest one: so no number of half bodies can wait for one another. When nothing is free, whoever has sent nothing for a while
//! gives way, the one first that holds the most for the longest time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::MAX_BODY;

/// The beginning of a body, which is counted as it arrives. Most reviews are smaller.
pub(super) const BEGINNING: usize = 256 << 10;
/// Whose body has come in part, and who has sent nothing for so long, gives way when others wait.
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// The same for a body in a place: it takes some time, and a busy machine is not its sender's fault.
const QUIET_IN_PLACE: Duration = Duration::from_secs(1);
/// Least memory for beginnings.
const LEAST: usize = 4 << 20;
/// What a body in a place has to send in a second, on average, when others wait for the place. Slower than any API server.
const RATE: f64 = (256 << 10) as f64;
/// From when on that is asked.
const SETTLED: Duration = Duration::from_secs(2);

/// What a body needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// So many more bytes of its beginning.
    Bytes(usize),
    /// A place for the rest of a large body.
    Place,
}

/// The memory for bodies.
#[derive(Debug)]
pub(super) struct Ledger {
    free_bytes: usize,
    free_places: usize,
    bodies: HashMap<u64, Body>,
    next: u64,
}

#[derive(Debug)]
struct Body {
    bytes: usize,
    place: Option<Place>,
    /// When bytes of it last came.
    last: Instant,
    complete: bool,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    received: usize,
}

impl Ledger {
    /// Of so many bytes; at least for one of the largest bodies and some small ones.
    pub(super) fn new(bytes: usize) -> Ledger {
        let bytes = bytes.max(MAX_BODY + LEAST);
        let places = ((bytes - LEAST) / MAX_BODY).div_ceil(2).max(1);
        Ledger { free_bytes: bytes - places * MAX_BODY, free_places: places, bodies: HashMap::new(), next: 0 }
    }

    /// How many bytes there are of all bodies.
    pub(super) fn held(&self) -> usize {
        self.bodies.values().map(|body| body.bytes + body.place.as_ref().map_or(0, |place| place.received)).sum()
    }

    /// A body begins.
    pub(super) fn open(&mut self, now: Instant) -> u64 {
        self.next += 1;
        self.bodies.insert(self.next, Body { bytes: 0, place: None, last: now, complete: false });
        self.next
    }

    /// Whether the body got what it needs. `None` where it has ended, because it gave way.
    pub(super) fn take(&mut self, id: u64, need: Need, now: Instant) -> Option<bool> {
        let body = self.bodies.get_mut(&id)?;
        let free = match need {
            Need::Bytes(bytes) => bytes <= self.free_bytes,
            Need::Place => body.place.is_some() || self.free_places > 0,
        };
        if free {
            body.last = now;
            match need {
                Need::Bytes(bytes) => {
                    body.bytes += bytes;
                    self.free_bytes -= bytes;
                }
                Need::Place if body.place.is_none() => {
                    body.place = Some(Place { since: now, received: 0 });
                    self.free_places -= 1;
                }
                Need::Place => {}
            }
        }
        Some(free)
    }

    /// So many bytes came for a body that has a place.
    pub(super) fn received(&mut self, id: u64, bytes: usize, now: Instant) {
        if let Some(body) = self.bodies.get_mut(&id) {
            body.last = now;
            body.place.iter_mut().for_each(|place| place.received += bytes);
        }
    }

    /// All of the body is there: it no longer gives way.
    pub(super) fn complete(&mut self, id: u64) {
        if let Some(body) = self.bodies.get_mut(&id) {
            body.complete = true;
        }
    }

    /// Who gives way for another body's need: the one that holds the most for the longest time without sending.
    pub(super) fn gives_way(&self, to: u64, need: Need, now: Instant) -> Option<u64> {
        let holds = |body: &Body| match need {
            Need::Bytes(_) => body.bytes,
            Need::Place => body.place.as_ref().map_or(0, |_| MAX_BODY),
        };
        let others = self.bodies.iter().filter(|(id, body)| **id != to && !body.complete && body.is_slow(now));
        let rent = |body: &Body| holds(body) as f64 * now.saturating_duration_since(body.last).as_secs_f64();
        others
            .filter(|(_, body)| holds(body) > 0)
            .max_by(|(_, a), (_, b)| rent(a).total_cmp(&rent(b)))
            .map(|(id, _)| *id)
    }

    /// A body is done with, or gave way: what it held is free.
    pub(super) fn close(&mut self, id: u64) {
        let Some(body) = self.bodies.remove(&id) else { return };
        self.free_bytes += body.bytes;
        self.free_places += usize::from(body.place.is_some());
    }
}

impl Body {
    fn is_slow(&self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.last);
        let Some(place) = &self.place else { return quiet > QUIET };
        let time = now.saturating_duration_since(place.since);
        quiet > QUIET_IN_PLACE || (time > SETTLED && (place.received as f64) < RATE * time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// 64 MiB: two places and 24 MiB for beginnings.
    fn ledger() -> (Ledger, Instant) {
        (Ledger::new(64 * MIB), Instant::now())
    }

    #[test]
    fn bytes_count_as_they_come_and_are_free_again() {
        let (mut ledger, now) = ledger();
        assert_eq!((ledger.free_places, ledger.free_bytes), (2, 24 * MIB));
        let body = ledger.open(now);
        assert_eq!(ledger.held(), 0, "an announcement holds nothing");
        assert_eq!(ledger.take(body, Need::Bytes(5000), now), Some(true));
        assert_eq!(ledger.take(body, Need::Place, now), Some(true));
        ledger.received(body, MIB, now);
        assert_eq!(ledger.held(), 5000 + MIB);
        ledger.close(body);
        assert_eq!((ledger.held(), ledger.free_places, ledger.free_bytes), (0, 2, 24 * MIB));
        assert_eq!(ledger.take(body, Need::Bytes(1), now), None, "it has ended");
    }

    #[test]
    fn the_least_memory_holds_the_largest_body() {
        let ledger = Ledger::new(0);
        assert_eq!((ledger.free_places, ledger.free_bytes), (1, LEAST));
    }

    #[test]
    fn silent_half_bodies_give_way_the_largest_first() {
        let (mut ledger, now) = ledger();
        let half: Vec<u64> = (0..96).map(|_| ledger.open(now)).collect();
        for (n, id) in half.iter().enumerate() {
            assert_eq!(ledger.take(*id, Need::Bytes(BEGINNING - n), now), Some(true));
        }
        let good = ledger.open(now);
        let need = Need::Bytes(12 << 10);
        assert_eq!(ledger.take(good, need, now), Some(false));
        assert_eq!(ledger.gives_way(good, need, now), None, "who is still sending does not give way");
        let later = now + 2 * QUIET;
        assert_eq!(ledger.gives_way(good, need, later), Some(half[0]));
        ledger.close(half[0]);
        assert_eq!(ledger.take(good, need, later), Some(true));
        ledger.complete(good);
        let another = ledger.open(later);
        assert_ne!(ledger.gives_way(another, Need::Bytes(MIB), later + 100 * QUIET), Some(good), "it is being judged");
    }

    #[test]
    fn a_place_is_for_who_sends() {
        let (mut ledger, now) = ledger();
        let [silent, fast, trickling, waiting] = [0; 4].map(|_| ledger.open(now));
        assert_eq!(ledger.take(silent, Need::Place, now), Some(true));
        assert_eq!(ledger.take(fast, Need::Place, now), Some(true));
        assert_eq!(ledger.take(waiting, Need::Place, now), Some(false));
        assert_eq!(ledger.gives_way(waiting, Need::Place, now + 2 * QUIET), None, "not at once");
        let later = now + 2 * QUIET_IN_PLACE;
        ledger.received(fast, 10 * MIB, later);
        assert_eq!(ledger.gives_way(waiting, Need::Place, later), Some(silent));
        ledger.close(silent);
        assert_eq!(ledger.take(trickling, Need::Place, later), Some(true));
        let end = later + 2 * SETTLED;
        ledger.received(fast, MIB, end);
        ledger.received(trickling, 10, end);
        assert_eq!(ledger.gives_way(waiting, Need::Place, end), Some(trickling), "a byte now and then is not enough");
    }

    #[test]
    fn large_bodies_never_wait_for_one_another() {
        let (mut ledger, now) = ledger();
        let bodies: Vec<u64> = (0..8).map(|_| ledger.open(now)).collect();
        bodies.iter().for_each(|id| assert_eq!(ledger.take(*id, Need::Bytes(BEGINNING), now), Some(true)));
        let placed = bodies.iter().filter(|id| ledger.take(**id, Need::Place, now) == Some(true)).count();
        assert_eq!(placed, 2, "two go on to their end, however large they are, and the others wait for their places");
    }
}
