//! A cold start: everything was down, the guard's own Pods too.

use std::collections::BTreeMap;

use gitward_test_cluster::{Node, eventually};
use serde_json::Value;

use crate::install::pods;
use crate::shop::{SHOP, Shop};
use crate::{PATIENCE, SYSTEM};

/// Nothing locks itself out: the node, the guard and what git declares come back by themselves, and the guard refuses again.
pub(crate) fn cold_start(shop: &Shop<'_>) {
    let before = restarts(shop.node);
    shop.node.crash();
    shop.node.boot();
    // From the first moment on: refused by name, or because no guard answers, but never let through.
    shop.refuses();
    eventually("every Pod was started again, and is ready", PATIENCE, || {
        let now = restarts(shop.node);
        let came_back = |(pod, (count, ready)): (&String, &(u64, bool))| *ready && *count > before[pod].0;
        if now.len() == before.len() && now.iter().all(came_back) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    shop.served();
    shop.refuses();
}

/// How often the container of each Pod of gitward and of the shop was started again, and whether it is ready.
fn restarts(node: &Node) -> BTreeMap<String, (u64, bool)> {
    let all = [pods(node, SYSTEM, "app.kubernetes.io/part-of=gitward"), pods(node, SHOP, "app=web")].concat();
    let state = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        (
            pod["metadata"]["name"].to_string(),
            (status["restartCount"].as_u64().unwrap_or_default(), status["ready"] == true),
        )
    };
    all.iter().map(state).collect()
}
