//! The rights of the guard to look custom resources up: they own Pods, and have scales. Which there are changes with the
//! CustomResourceDefinitions, so no chart can know them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::kubernetes::{describe, has_all};

/// Not that of what git declares: where git declares the chart, the rules are ours all the same.
const MANAGER: &str = "gitward-lookups";
/// The ClusterRole of the chart that has no rules of its own.
const ROLE: &str = "gitward-guard-lookups";

/// Keeps the role as the definitions say, for as long as it is polled.
pub(super) async fn keep_role(client: Client) {
    let (definitions, writer) = store();
    let all = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(client.clone());
    let watch = watcher(all, watcher::Config::default()).default_backoff();
    let mut events = pin!(reflector(writer, watch));
    let mut applied = None;
    while let Some(event) = events.next().await {
        if let Err(error) = event {
            warn!(%error, "CustomResourceDefinitions cannot be watched; trying again");
        }
        if definitions.wait_until_ready().now_or_never().is_none() {
            continue;
        }
        let rules = rules(definitions.state().iter().map(|definition| definition.name_any()));
        if applied.as_ref() == Some(&rules) {
            continue;
        }
        match apply(&client, &rules).await {
            Ok(()) => {
                info!(groups = rules.len(), "the guard may look up the cluster's custom resources");
                applied = Some(rules);
            }
            Err(error) => {
                warn!(error = describe(&error), role = ROLE, "the guard may not look up new custom resources")
            }
        }
    }
}

/// A right to get, and nothing else, per API group. The name of a definition is `<plural>.<group>`.
fn rules(names: impl Iterator<Item = String>) -> Vec<PolicyRule> {
    let mut by_group: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        if let Some((plural, group)) = name.split_once('.') {
            by_group.entry(group.to_owned()).or_default().insert(plural.to_owned());
        }
    }
    let rule = |(group, resources): (String, BTreeSet<String>)| PolicyRule {
        api_groups: Some(vec![group]),
        resources: Some(resources.into_iter().collect()),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    };
    by_group.into_iter().map(rule).collect()
}

async fn apply(client: &Client, rules: &[PolicyRule]) -> Result<(), kube::Error> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": ROLE}, "rules": rules,
    });
    if roles.get_opt(ROLE).await?.is_some_and(|live| has_all(&live, MANAGER, &role)) {
        return Ok(());
    }
    roles.patch(ROLE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&role)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_gets_one_rule_with_its_resources() {
        let names = ["widgets.example.com", "rollouts.argoproj.io", "gadgets.example.com"].map(str::to_owned);
        let rules = rules(names.into_iter());
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[1].api_groups, Some(vec!["example.com".to_owned()]));
        assert_eq!(rules[1].resources, Some(vec!["gadgets".to_owned(), "widgets".to_owned()]));
        assert!(rules.iter().all(|rule| rule.verbs == ["get"]));
    }
}
