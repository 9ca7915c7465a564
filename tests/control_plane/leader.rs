//! Of two reconcilers one leads: the other takes over when that one ends, is lost or paused, and nothing is ever written by one
//! that does not lead.

use std::time::Instant;

use gitward_test_cluster::{ControlPlane, Fault, Proxy, Standby, eventually};
use serde_json::json;

use crate::support::{PATIENCE, World, config_map, sync};

const NS: &str = "led";

/// What each of them writes is seen by a proxy of its own.
struct Pair {
    world: World,
    first: Proxy,
    second: Proxy,
}

impl Pair {
    fn start() -> Pair {
        let mut world = World::start_with(&["reconciler.replicas=2", "reconciler.leaseSeconds=12"]);
        let pid_file = world.gitward.reconciler().unwrap().pid_file().to_owned();
        let proxy = || Proxy::start(world.cluster, &world.gitward.reconciler_token(), &pid_file);
        let (first, second) = (proxy(), proxy());
        world.gitward.set_reconciler_env("KUBECONFIG", first.kubeconfig());
        world.gitward.start_reconciler();
        Pair { world, first, second }
    }

    fn standby(&self, name: &str) -> Standby {
        self.world.gitward.standby(name, self.second.kubeconfig())
    }

    fn drift(&self, color: &str) {
        let patch = json!({"data": {"color": color}}).to_string();
        let edit = ["patch", "configmap/settings", "-n", NS, "-p", &patch, "--field-manager=kubectl-edit"];
        self.world.cluster.kubectl(ControlPlane::FORGER, &edit).ok();
    }

    fn wait_healed(&self) {
        eventually("the drift is healed", PATIENCE, || {
            match self.world.field("configmap/settings", NS, "/data/color") {
                color if color == "green" => Ok(()),
                color => Err(color.to_string()),
            }
        });
    }

    fn holder(&self) -> String {
        let holder = self.world.field("lease/gitward-reconciler", "gitward-system", "/spec/holderIdentity");
        holder.as_str().unwrap_or_default().to_owned()
    }
}

fn wait_leads(standby: &Standby) {
    eventually("the other leads", PATIENCE, || match standby.metrics() {
        metrics if metrics.contains("gitward_leader 1") => Ok(()),
        metrics => Err(metrics),
    });
}

#[test]
fn one_reconciler_leads_and_another_takes_over_when_it_ends_is_paused_or_is_cut_off() {
    let mut pair = Pair::start();
    pair.world.namespace(NS);
    let repo = pair.world.git.repo(NS);
    repo.write("settings.yaml", &config_map(NS, "settings", "green"));
    let commit = repo.push("Something");
    let mut second = pair.standby("second");
    pair.world.apply("admin", &sync(NS, &repo.file_url(), json!({})));
    pair.world.wait_applied(NS, &commit);
    who_stands_by_writes_nothing(&pair, &second);
    who_was_paused_writes_nothing_when_it_wakes(&mut pair, &second);
    let third = pair.standby("third");
    who_ends_gives_the_lease_back(&pair, &mut second, &third);
    let fourth = pair.world.gitward.standby("fourth", pair.first.kubeconfig());
    who_cannot_renew_ends(&pair, third, &fourth);
}

fn who_stands_by_writes_nothing(pair: &Pair, second: &Standby) {
    pair.drift("red");
    pair.wait_healed();
    assert!(second.metrics().contains("gitward_leader 0"));
    assert_eq!(pair.second.writes(), Vec::<String>::new());
    assert!(!pair.first.writes().is_empty());
}

/// The hardest case: it does not know how long it slept.
fn who_was_paused_writes_nothing_when_it_wakes(pair: &mut Pair, second: &Standby) {
    let begun = Instant::now();
    let first = pair.world.gitward.reconciler().unwrap();
    first.signal("STOP");
    wait_leads(second);
    eprintln!("the leader was paused: another leads after {:?}, with a Lease of 12 s", begun.elapsed());
    assert_eq!(pair.holder(), "second");
    pair.drift("blue");
    pair.wait_healed();
    assert!(!pair.second.writes().is_empty());
    // All that has changed waits to be seen by the one that wakes.
    pair.first.pass();
    pair.drift("red");
    let first = pair.world.gitward.reconciler().unwrap();
    first.signal("CONT");
    eventually("it ends", PATIENCE, || if first.runs() { Err("it runs".to_owned()) } else { Ok(()) });
    let log = first.log();
    assert!(log.contains("another reconciler may lead now") || log.contains("is held by second now"), "{log}");
    assert_eq!(pair.first.writes(), Vec::<String>::new(), "{log}");
    pair.wait_healed();
}

fn who_ends_gives_the_lease_back(pair: &Pair, second: &mut Standby, third: &Standby) {
    let begun = Instant::now();
    second.process().signal("TERM");
    wait_leads(third);
    eprintln!("the leader was stopped: another leads after {:?}, with a Lease of 12 s", begun.elapsed());
    eventually("it has ended", PATIENCE, || if second.process().runs() { Err("it runs".to_owned()) } else { Ok(()) });
    assert!(second.process().log().contains("gave the Lease back"), "{}", second.process().log());
    assert_eq!(pair.holder(), "third");
    pair.drift("blue");
    pair.wait_healed();
}

/// Also where it lives, and its requests only take too long.
fn who_cannot_renew_ends(pair: &Pair, mut third: Standby, fourth: &Standby) {
    let begun = Instant::now();
    pair.second.set(|_| Fault::Hang);
    wait_leads(fourth);
    eprintln!("the leader was cut off: another leads after {:?}, with a Lease of 12 s", begun.elapsed());
    eventually("it ends", PATIENCE, || if third.process().runs() { Err("it runs".to_owned()) } else { Ok(()) });
    let log = third.process().log();
    assert!(log.contains("could not be renewed in time"), "{log}");
    pair.drift("red");
    pair.wait_healed();
}
