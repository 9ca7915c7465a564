//! What the guard counts of its own work.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use gitward_core::verdict::{Decision, Found};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The guard's metrics. Clones count together.
#[derive(Clone)]
pub(super) struct Metrics {
    allowed: Counter,
    warned: Counter,
    denied: Counter,
    unanswered: Family<StatusLabel, Counter>,
    seconds: Histogram,
    in_flight: Gauge,
    bytes: Gauge,
    lookups: Family<ResultLabel, Counter>,
    lookup_seconds: Histogram,
    lookup_bytes: Counter,
    lookup_rounds: Histogram,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            allowed: Counter::default(),
            warned: Counter::default(),
            denied: Counter::default(),
            unanswered: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_1, 2.5, 13)),
            in_flight: Gauge::default(),
            bytes: Gauge::default(),
            lookups: Family::default(),
            lookup_seconds: Histogram::new(exponential_buckets(0.000_5, 2.5, 11)),
            lookup_bytes: Counter::default(),
            lookup_rounds: Histogram::new([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]),
        };
        registry.register("gitward_reviews_allowed", "Reviews that were allowed", metrics.allowed.clone());
        registry.register("gitward_reviews_warned", "Reviews that were allowed with a warning", metrics.warned.clone());
        registry.register("gitward_reviews_denied", "Reviews that were denied", metrics.denied.clone());
        let unanswered = "Calls without a verdict, by HTTP status: bad input, or too much of it";
        registry.register("gitward_reviews_unanswered", unanswered, metrics.unanswered.clone());
        let seconds = "From a review's headers to its answer, in seconds";
        registry.register("gitward_review_duration_seconds", seconds, metrics.seconds.clone());
        registry.register("gitward_reviews_in_flight", "Reviews that are being answered", metrics.in_flight.clone());
        let bytes = "What the bodies of the reviews in flight held when the last one was read";
        registry.register("gitward_review_bytes_in_flight", bytes, metrics.bytes.clone());
        metrics.register_lookups(registry);
        metrics
    }

    fn register_lookups(&self, registry: &mut Registry) {
        let lookups = "Look-ups of live objects, by what they came to";
        registry.register("gitward_lookups", lookups, self.lookups.clone());
        let seconds = "From a look-up's beginning to its result, in seconds";
        registry.register("gitward_lookup_duration_seconds", seconds, self.lookup_seconds.clone());
        let bytes = "Bytes of the API server's answers to look-ups";
        registry.register("gitward_lookup_bytes", bytes, self.lookup_bytes.clone());
        let rounds = "Rounds of look-ups that a review took, of those that took any";
        registry.register("gitward_lookup_rounds", rounds, self.lookup_rounds.clone());
    }

    /// A look-up is over.
    pub(super) fn looked_up(&self, found: &Found, time: Duration) {
        let result = match found {
            Found::Objects(_) => "found",
            Found::Absent => "absent",
            Found::Failed(_) => "failed",
        };
        self.lookups.get_or_create(&ResultLabel { result }).inc();
        self.lookup_seconds.observe(time.as_secs_f64());
    }

    /// So many bytes of an answer to a look-up came.
    pub(super) fn lookup_bytes(&self, bytes: usize) {
        self.lookup_bytes.inc_by(bytes as u64);
    }

    /// A review took so many rounds of look-ups.
    pub(super) fn lookup_rounds(&self, rounds: u32) {
        if rounds > 0 {
            self.lookup_rounds.observe(f64::from(rounds));
        }
    }

    /// A request has begun.
    pub(super) fn begin(&self) -> Begun<'_> {
        self.in_flight.inc();
        Begun { metrics: self, at: Instant::now() }
    }

    /// The bodies in flight hold so many bytes.
    pub(super) fn bytes(&self, held: usize) {
        self.bytes.set(i64::try_from(held).unwrap_or(i64::MAX));
    }
}

/// A request in flight.
pub(super) struct Begun<'a> {
    metrics: &'a Metrics,
    at: Instant,
}

impl Begun<'_> {
    pub(super) fn decided(&self, decision: Decision) {
        match decision {
            Decision::Allow => self.metrics.allowed.inc(),
            Decision::Warn => self.metrics.warned.inc(),
            Decision::Deny => self.metrics.denied.inc(),
        };
        self.metrics.seconds.observe(self.at.elapsed().as_secs_f64());
    }

    pub(super) fn unanswered(&self, status: StatusCode) {
        self.metrics.unanswered.get_or_create(&StatusLabel { status: status.as_u16() }).inc();
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}
