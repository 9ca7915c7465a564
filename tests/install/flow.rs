//! The API server serves gitward before what it is asked about.

use gitward_test_cluster::eventually;

use crate::shop::{PATIENCE, SYSTEM, Shop};

/// How many requests the API server has served by a FlowSchema at a level.
fn served(shop: &Shop, schema: &str, level: &str) -> f64 {
    let metrics = shop.cluster.kubectl("admin", &["get", "--raw", "/metrics"]);
    let name = "apiserver_flowcontrol_dispatched_requests_total{";
    let (schema, level) = (format!("flow_schema=\"{schema}\""), format!("priority_level=\"{level}\""));
    let of = |line: &&str| line.starts_with(name) && line.contains(&schema) && line.contains(&level);
    metrics.ok().lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Looked at in an installed gitward; see [`crate::rendered`].
pub(crate) fn requests_of_gitward_come_first(shop: &Shop) {
    let count = |by| {
        eventually("the API server counts", PATIENCE, || match served(shop, by, "workload-high") {
            0.0 => Err("none yet".to_owned()),
            count => Ok(count),
        })
    };
    let before = count("gitward");
    // What the guard itself asks for, as its account.
    shop.cluster.kubectl("gitward-guard", &["get", "gitsyncs", "-A"]).ok();
    assert!(served(shop, "gitward", "workload-high") > before);
    shop.cluster.kubectl("gitward-reconciler", &["get", "leases", "any", "-n", SYSTEM, "--ignore-not-found"]).ok();
    assert!(served(shop, "gitward-leader-election", "leader-election") > 0.0);
}
