//! Guards are replaced one by one, and one of two is lost, while people write: by the protocols of both ways in which the API
//! server calls a guard. (By a Service it speaks HTTP/1.1, and HTTP/2 to a URL of its own machine; 0.0.0.0 is a way to that
//! machine that it does not take for its own.)

use gitward_test_cluster::{Balancer, Replica};

use crate::load::Load;
use crate::support::World;

/// Two guards behind one address.
pub(crate) struct Two {
    pub(crate) world: World,
    balancer: Balancer,
    guards: Vec<Replica>,
}

impl Two {
    pub(crate) fn start(host: &str) -> Two {
        let balancer = Balancer::start();
        let url = format!("webhook.url=https://{host}:{}", balancer.port());
        let mut world = World::start_with(&[&url, "guard.drainSeconds=2"]);
        let guards = vec![world.gitward.replica("guard-1"), world.gitward.replica("guard-2")];
        world.gitward.stop_guard();
        let two = Two { world, balancer, guards };
        two.balance();
        two
    }

    fn balance(&self) {
        self.balancer.balance(&self.guards.iter().map(Replica::endpoint).collect::<Vec<_>>());
    }

    /// As a Deployment does it with `maxSurge: 1` and `maxUnavailable: 0`: the next is ready before the one before ends.
    pub(crate) fn replace_first(&mut self, name: &str) {
        let next = self.world.gitward.replica(name);
        self.guards.push(next);
        self.balance();
        // It says by itself that it is no longer ready; connections to it stay.
        let log = self.guards.remove(0).terminate();
        self.balance();
        assert!(log.contains("\"message\":\"shutting down\""), "it ended in order: {log}");
    }
}

fn reviews(metrics: &str) -> u64 {
    let count = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    count("gitward_reviews_allowed_total").unwrap_or(0) + count("gitward_reviews_denied_total").unwrap_or(0)
}

fn no_request_fails_while_guards_are_replaced(host: &str) {
    let mut two = Two::start(host);
    let load = Load::start(&two.world, "rolling");
    load.wait(200);
    for name in ["guard-3", "guard-4", "guard-5", "guard-6"] {
        two.replace_first(name);
        load.wait(200);
    }
    let (allowed, refused, wrong) = load.stop();
    println!("{host}: {allowed} allowed, {refused} refused, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), allowed + refused);
    let last: u64 = two.guards.iter().map(|guard| reviews(&guard.metrics())).sum();
    assert!(last > 0, "the last guards have answered");
}

#[test]
fn no_request_fails_while_guards_are_replaced_behind_a_service() {
    no_request_fails_while_guards_are_replaced("0.0.0.0");
}

#[test]
fn no_request_fails_while_guards_are_replaced_over_http2() {
    no_request_fails_while_guards_are_replaced("127.0.0.1");
}

#[test]
fn a_guard_that_is_lost_takes_only_what_it_was_answering_with_it() {
    let mut two = Two::start("0.0.0.0");
    let load = Load::start(&two.world, "lost");
    load.wait(200);
    two.guards.remove(0).kill();
    // Until the balancer has looked, new connections go to the dead one as well.
    two.balance();
    load.wait(50);
    let lost = load.wrong();
    println!("of one guard's end: {} requests; {lost:#?}", lost.len());
    load.wait(500);
    assert_eq!(load.wrong(), lost, "afterwards none fails");
    let (_, _, wrong) = load.stop();
    assert!(wrong.iter().all(|wrong| wrong.contains("failed calling webhook")), "{wrong:#?}");
}
