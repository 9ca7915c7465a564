//! Until when certificates are valid, for Prometheus.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    certificate: &'static str,
}

/// The gauge `gitward_certificate_expiry_timestamp_seconds`. Clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Expiry(Family<Of, Gauge>);

impl Expiry {
    /// Registers it.
    pub fn new(registry: &mut Registry) -> Expiry {
        let expiry = Expiry::default();
        let help = "When a certificate expires, in seconds since 1970: the authority's, and the guard's";
        let name = "gitward_certificate_expiry_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, expiry.0.clone());
        expiry
    }

    /// Of what the API server trusts; `None` where that is nothing.
    pub fn authority(&self, until: Option<Timestamp>) {
        self.set("authority", until);
    }

    /// Of what the guard shows, or is to show.
    pub fn guard(&self, until: Option<Timestamp>) {
        self.set("guard", until);
    }

    /// Nothing is told of a certificate that is not there.
    fn set(&self, certificate: &'static str, until: Option<Timestamp>) {
        match until {
            Some(until) => drop(self.0.get_or_create(&Of { certificate }).set(until.as_second())),
            None => drop(self.0.remove(&Of { certificate })),
        }
    }
}
