//! gitward's own CustomResourceDefinitions, brought to what this version of the program needs. Helm makes them at the first
//! install and never looks at them again, so this is how they are upgraded.

use std::time::Duration;

use gitward_core::names;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use semver::Version;
use tracing::{info, warn};

use crate::api::{VERSION, crds};
use crate::kubernetes::{describe, has_all};

/// Not that of what git declares: where git declares the chart, both have their own fields.
const MANAGER: &str = "gitward-definitions";
const RETRY: Duration = Duration::from_secs(5);

/// The definitions of this version, and where they go.
pub struct Definitions(Api<CustomResourceDefinition>);

impl Definitions {
    /// Does nothing yet.
    pub fn new(client: Client) -> Definitions {
        Definitions(Api::all(client))
    }

    /// Brings those up to date that can be; whether all are.
    pub async fn upgrade(&self) -> bool {
        let mut all = true;
        for crd in crds() {
            if let Err(error) = ensure(&self.0, &crd).await {
                let (name, error) = (crd.name_any(), describe(&error));
                warn!(name, error, "a CustomResourceDefinition of gitward is not up to date; trying again");
                all = false;
            }
        }
        all
    }

    /// The same, until all are.
    pub(super) async fn finish(self) {
        while !self.upgrade().await {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn ensure(api: &Api<CustomResourceDefinition>, crd: &CustomResourceDefinition) -> kube::Result<()> {
    let (name, live) = (crd.name_any(), api.get_opt(&crd.name_any()).await?);
    let declared = serde_json::to_value(crd).map_err(kube::Error::SerdeError)?;
    if live.as_ref().is_some_and(|live| is_others(live, crd)) {
        info!(name, "left a CustomResourceDefinition as git or a later version of gitward made it");
        return Ok(());
    }
    if live.as_ref().is_some_and(|live| has_all(live, MANAGER, &declared)) {
        return Ok(());
    }
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&declared)).await?;
    info!(name, "brought a CustomResourceDefinition of gitward up to date");
    Ok(())
}

/// Whether a later version made it, before a rollback to this one, or git declares it.
fn is_others(live: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> bool {
    let version = |crd: &CustomResourceDefinition| Version::parse(crd.annotations().get(VERSION)?).ok();
    live.labels().contains_key(names::SYNC_NAME) || version(live) > version(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_of_a_later_version_and_those_of_git_are_left_alone() {
        let ours = crds().remove(0);
        let with = |version: &str| {
            let mut live = ours.clone();
            live.annotations_mut().insert(VERSION.to_owned(), version.to_owned());
            live
        };
        let mut first = ours.clone();
        first.annotations_mut().clear();
        for older in [&first, &with("0.0.9"), &ours, &with("what")] {
            assert!(!is_others(older, &ours), "{:?}", older.annotations());
        }
        assert!(is_others(&with("100.0.0"), &ours));
        let mut gits = ours.clone();
        gits.labels_mut().insert(names::SYNC_NAME.to_owned(), "gitward".to_owned());
        assert!(is_others(&gits, &ours));
    }
}
