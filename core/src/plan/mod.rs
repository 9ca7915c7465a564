//! What has to be done so that the cluster is what git declares: which objects to apply, in which order, and which
//! to prune.

mod order;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use order::rank;

use crate::names;

/// Identifies an object in a cluster, in whichever version it is served. Its text is the object's pinned-id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// API group; empty for the core API.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&names::pinned_id(&self.group, &self.kind, &self.namespace, &self.name))
    }
}

/// The text is no pinned-id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not of the form <group>/<Kind>:<namespace>/<name>")]
pub struct KeyError(String);

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<ObjectKey, KeyError> {
        let split = || {
            let (kind, name) = text.split_once(':')?;
            let ((group, kind), (namespace, name)) = kind.split_once('/').zip(name.split_once('/'))?;
            (!kind.is_empty() && !name.is_empty()).then(|| ObjectKey {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        };
        split().ok_or_else(|| KeyError(text.to_owned()))
    }
}

impl ObjectKey {
    /// What people call the object: `Deployment shop/web`.
    pub fn in_words(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Indices of the declared objects, in stages: those of one stage may be applied side by side, and a stage
    /// begins when the one before it is through.
    pub stages: Vec<Vec<usize>>,
    /// What the inventory holds and git no longer declares, in the order in which it is to be deleted.
    pub prune: Vec<ObjectKey>,
}

/// Why there is no plan.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not one of the objects that were applied before is declared any more: far more often a wrong path or branch
    /// than a wish.
    #[error(
        "every one of the {count} objects in the inventory would be pruned; if that is what you want, delete the \
         GitSync with deletionPolicy: Delete instead"
    )]
    WouldPruneEverything {
        /// How many objects the inventory holds.
        count: usize,
    },
}

/// Plans from what git declares and what was applied before.
///
/// # Errors
/// Where carrying it out would remove everything.
pub fn plan(declared: &[ObjectKey], inventory: &BTreeSet<ObjectKey>) -> Result<Plan, PlanError> {
    let wanted: BTreeSet<&ObjectKey> = declared.iter().collect();
    let mut prune: Vec<ObjectKey> = inventory.iter().filter(|key| !wanted.contains(key)).cloned().collect();
    if !prune.is_empty() && prune.len() == inventory.len() {
        return Err(PlanError::WouldPruneEverything { count: prune.len() });
    }
    prune.sort_by_key(|key| std::cmp::Reverse(rank(key)));
    let mut by_rank: Vec<usize> = (0..declared.len()).collect();
    by_rank.sort_by_key(|&i| rank(&declared[i]));
    let stages = by_rank.chunk_by(|&a, &b| rank(&declared[a]) == rank(&declared[b])).map(<[usize]>::to_vec).collect();
    Ok(Plan { stages, prune })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> Vec<ObjectKey> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_pinned_id_reads_back() {
        for text in ["apps/Deployment:shop/web", "/Namespace:/shop", "rbac.authorization.k8s.io/ClusterRole:/a:b"] {
            assert_eq!(text.parse::<ObjectKey>().unwrap().to_string(), text);
        }
        for text in ["", "Deployment", "apps/Deployment:shop", "apps/:shop/web", "apps/Deployment:shop/"] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_others_need_comes_first_and_goes_last() {
        let declared = keys(&["apps/Deployment:s/a", "/ConfigMap:s/a", "/Namespace:/s", "apps/StatefulSet:s/a"]);
        let inventory = keys(&["/Namespace:/s", "/Namespace:/old", "apps/Deployment:old/a"]).into_iter().collect();
        let plan = plan(&declared, &inventory).unwrap();
        assert_eq!(plan.stages, [vec![2], vec![1], vec![0, 3]]);
        assert_eq!(plan.prune, keys(&["apps/Deployment:old/a", "/Namespace:/old"]));
    }

    #[test]
    fn a_plan_that_would_prune_everything_is_refused() {
        let inventory = keys(&["/ConfigMap:s/a", "/ConfigMap:s/b"]).into_iter().collect();
        assert_eq!(plan(&[], &inventory), Err(PlanError::WouldPruneEverything { count: 2 }));
        assert_eq!(plan(&[], &BTreeSet::new()), Ok(Plan::default()));
    }

    #[test]
    fn what_was_applied_needs_no_pruning() {
        let declared = keys(&["/ConfigMap:s/a"]);
        assert_eq!(plan(&declared, &declared.iter().cloned().collect()).unwrap().prune, []);
    }
}
