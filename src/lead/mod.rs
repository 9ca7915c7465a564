//! Which reconciler leads: of all that run, the one that holds a Lease writes, and nobody else does.
//!
//! The protocol is that of client-go's `leaderelection`: each write names the resourceVersion that it has seen, so that the API
//! server lets one of two pass; and how long a Lease was not renewed is measured by one's own steady clock, so that the
//! clocks of the nodes need not agree. What is new is the [`Fence`]: whoever cannot renew in time does not write any more,
//! however late it notices that.
//!
//! Imports nothing of gitward's but [`crate::kubernetes`].

mod fence;

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::kubernetes::{chain, is_status};
pub use fence::Fence;

/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a write that is under way is waited for before the Lease is given back.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Which Lease, and who we are.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// gitward's own namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Our name, which no other process has: that of the Pod.
    pub identity: String,
    /// For how long others wait after they have seen the last renewal. Two thirds of it after our last renewal we stop to write.
    pub duration: Duration,
}

/// Why we lead no longer.
#[derive(Debug, Error)]
pub enum Lost {
    /// The API server did not take the renewal in time.
    #[error("the Lease {name} could not be renewed in time ({last}): another reconciler may lead now")]
    NotRenewed {
        /// The Lease.
        name: String,
        /// What failed last.
        last: String,
    },
    /// Somebody else holds it.
    #[error("the Lease {name} is held by {holder} now")]
    Taken {
        /// The Lease.
        name: String,
        /// Who.
        holder: String,
    },
}

/// A candidate, and then the leader.
pub struct Lead {
    api: Api<Lease>,
    config: LeaseConfig,
    fence: Fence,
    leads: Gauge,
    /// As we wrote it last.
    lease: Lease,
}

impl Lead {
    /// A candidate. `fence` opens while it leads; its own `client` must not be behind that.
    pub fn new(client: Client, config: LeaseConfig, fence: Fence, registry: &mut Registry) -> Lead {
        let leads = Gauge::default();
        registry.register("gitward_leader", "Whether this reconciler leads (1) or stands by (0)", leads.clone());
        let api = Api::namespaced(client, &config.namespace);
        Lead { api, config, fence, leads, lease: Lease::default() }
    }

    /// Waits until we lead, however long that takes.
    pub async fn acquire(&mut self) {
        let mut events = pin!(watch_object(self.api.clone(), &self.config.name).default_backoff());
        let mut seen: Option<(Option<Lease>, Instant)> = None;
        loop {
            let patience = match &seen {
                None => Duration::MAX,
                Some((lease, since)) => match left(&self.config.identity, lease.as_ref(), since.elapsed()) {
                    Some(left) => left,
                    None if self.take(lease.clone()).await => return,
                    None => RETRY,
                },
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(lease)) => {
                        let version = |lease: &Option<Lease>| lease.as_ref()?.metadata.resource_version.clone();
                        if seen.as_ref().is_none_or(|(last, _)| version(last) != version(&lease)) {
                            seen = Some((lease, Instant::now()));
                        }
                    }
                    Some(Err(error)) => debug!(error = chain(&error), "the Lease cannot be watched; trying again"),
                    None => sleep(RETRY).await,
                },
                () = sleep(patience) => {}
            }
        }
    }

    /// Renews the Lease for as long as it is polled; ends when it is lost. Nothing is written from then on.
    pub async fn keep(&mut self) -> Lost {
        let mut last = "no answer".to_owned();
        loop {
            sleep(self.config.duration / 5).await;
            let end = self.fence.until();
            while let Err(error) = self.renew(end).await {
                match error {
                    Renewal::Taken(holder) => return self.lose(Lost::Taken { name: self.config.name.clone(), holder }),
                    Renewal::Late => return self.lose(Lost::NotRenewed { name: self.config.name.clone(), last }),
                    Renewal::Failed(error) => last = chain(&error),
                }
                warn!(lease = self.config.name, error = last, "the Lease is not renewed; trying again");
                sleep(RETRY).await;
            }
        }
    }

    /// Gives the Lease back, so that another reconciler need not wait for its end. Nothing is written from then on. Where it
    /// fails, the others wait.
    pub async fn release(self) {
        self.fence.close();
        self.leads.set(0);
        if timeout(LAST_WRITES, self.fence.drained()).await.is_err() {
            return warn!("the last writes take too long: the Lease runs out by itself");
        }
        match timeout(LAST_WRITES, self.give_back()).await {
            Ok(Ok(())) => info!(lease = self.config.name, "gave the Lease back"),
            Ok(Err(error)) => warn!(lease = self.config.name, error = chain(&error), "the Lease runs out by itself"),
            Err(_) => warn!(lease = self.config.name, "the Lease runs out by itself"),
        }
    }

    async fn give_back(&self) -> kube::Result<()> {
        // A last renewal may have been under way.
        let mut lease = self.api.get(&self.config.name).await?;
        if holder(&lease) == Some(&self.config.identity) {
            let spec = lease.spec.get_or_insert_default();
            (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
            self.api.replace(&self.config.name, &as_manager(), &lease).await?;
        }
        Ok(())
    }

    fn lose(&self, lost: Lost) -> Lost {
        self.fence.close();
        self.leads.set(0);
        lost
    }

    /// Tries to take a Lease that nobody holds any more.
    async fn take(&mut self, before: Option<Lease>) -> bool {
        match self.write(before, Instant::now() + self.config.duration).await {
            Ok(()) => {
                self.leads.set(1);
                info!(lease = self.config.name, identity = self.config.identity, "leads");
                true
            }
            // Another was faster, which the watch tells.
            Err(Renewal::Failed(error)) if is_status(&error, 409) => false,
            Err(Renewal::Failed(error)) => {
                warn!(lease = self.config.name, error = chain(&error), "the Lease cannot be taken; trying again");
                false
            }
            Err(_) => false,
        }
    }

    /// Renews the Lease; where it is not as we left it, looks who holds it.
    async fn renew(&mut self, end: Instant) -> Result<(), Renewal> {
        match self.write(Some(self.lease.clone()), end).await {
            Err(Renewal::Failed(error)) if is_status(&error, 409) || is_status(&error, 404) => {}
            other => return other,
        }
        let now = in_time(end, self.api.get_opt(&self.config.name)).await?;
        match now.as_ref().and_then(holder) {
            Some(holder) if holder != self.config.identity => Err(Renewal::Taken(holder.to_owned())),
            _ => self.write(now, end).await,
        }
    }

    /// Writes that we hold the Lease, where it still is as it was seen, and may write ourselves for two thirds of its life.
    async fn write(&mut self, before: Option<Lease>, end: Instant) -> Result<(), Renewal> {
        let begun = Instant::now();
        let lease = self.held(before.clone());
        self.lease = match before {
            Some(_) => in_time(end, self.api.replace(&self.config.name, &as_manager(), &lease)).await?,
            None => in_time(end, self.api.create(&as_manager(), &lease)).await?,
        };
        self.fence.open_until(begun + self.config.duration * 2 / 3);
        Ok(())
    }

    /// A Lease with us as its holder.
    fn held(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let is_ours = holder(&lease) == Some(&self.config.identity);
        let old = lease.spec.take().unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or_default();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            acquire_time: old.acquire_time.filter(|_| is_ours).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_ours { transitions } else { transitions.saturating_add(1) }),
            ..old
        });
        lease
    }
}

/// Told apart from what git declares in `managedFields`.
fn as_manager() -> PostParams {
    PostParams { field_manager: Some("gitward-lease".to_owned()), ..PostParams::default() }
}

/// Why a renewal failed.
enum Renewal {
    Failed(kube::Error),
    Taken(String),
    /// It took too long.
    Late,
}

async fn in_time<T>(end: Instant, request: impl Future<Output = kube::Result<T>>) -> Result<T, Renewal> {
    timeout_at(end, request).await.map_err(|_| Renewal::Late)?.map_err(Renewal::Failed)
}

/// Who holds a Lease; one that was given back is held by nobody.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// How long a Lease that was seen and has been as it is for `unchanged` is to be left to its holder; `None` where it is free. One
/// that is ours is free: it was taken by us before a restart.
fn left(identity: &str, lease: Option<&Lease>, unchanged: Duration) -> Option<Duration> {
    let lease = lease?;
    holder(lease).filter(|holder| *holder != identity)?;
    let seconds = lease.spec.as_ref()?.lease_duration_seconds.unwrap_or_default();
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    life.checked_sub(unchanged).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, seconds: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            // Long ago, or far away: the clock of its writer does not count.
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_lease_is_left_to_its_holder_until_it_was_not_renewed_for_its_life() {
        assert_eq!(left("a", Some(&lease("b", 15)), seconds(0)), Some(seconds(15)));
        assert_eq!(left("a", Some(&lease("b", 15)), seconds(14)), Some(seconds(1)));
        assert_eq!(left("a", Some(&lease("b", 15)), seconds(15)), None);
        assert_eq!(left("a", Some(&lease("b", 15)), seconds(99)), None);
    }

    #[test]
    fn a_lease_that_is_missing_given_back_or_ours_is_free() {
        assert_eq!(left("a", None, seconds(0)), None);
        assert_eq!(left("a", Some(&lease("", 1)), seconds(0)), None);
        assert_eq!(left("a", Some(&lease("a", 15)), seconds(0)), None);
        assert_eq!(left("a", Some(&Lease::default()), seconds(0)), None);
    }
}
