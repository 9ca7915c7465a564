//! What has to be done so that the cluster is what git declares: which objects to apply, in which order, which to prune,
//! and which fields to leave to others.

mod gates;
mod key;
mod left;
mod order;
mod sequence;

use std::collections::BTreeSet;

use thiserror::Error;

pub use gates::{Gate, OrderError};
pub use key::{KeyError, ObjectKey};
pub use left::{Autoscaler, Ignore, autoscaler, left_to_others};
pub use order::rank;
pub use sequence::{Hook, Phase, Sequence, SequenceError, sequence};

/// Fewer objects than this are pruned without asking, unless they are all that there is.
const FEW: usize = 20;

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to apply, in order. The next gate begins when all that the one before holds is healthy.
    pub gates: Vec<Gate>,
    /// Declared objects that have no place in the order, and why.
    pub refused: Vec<(usize, OrderError)>,
    /// What the inventory holds and git no longer declares, in the order in which it is to be deleted.
    pub prune: Vec<ObjectKey>,
}

/// Why there is no plan.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not one of the objects that were applied before is declared any more: far more often a wrong path or branch
    /// than a wish.
    #[error(
        "every one of the {count} objects in the inventory would be pruned; if that is what you want, set \
         spec.maxPrunePercent: 100, or delete the GitSync with deletionPolicy: Delete"
    )]
    WouldPruneEverything {
        /// How many objects the inventory holds.
        count: usize,
    },
    /// More than the GitSync allows.
    #[error(
        "{count} of the {of} objects in the inventory would be pruned, more than spec.maxPrunePercent: {percent} allows; \
         raise it if that is what you want"
    )]
    WouldPruneTooMuch {
        /// How many.
        count: usize,
        /// How many objects the inventory holds.
        of: usize,
        /// The largest share, in percent.
        percent: u8,
    },
}

/// Plans from what git declares and what was applied before. At most `percent` of the inventory is pruned at once, where
/// that is more than a few.
///
/// # Errors
/// Where carrying it out would remove everything, or too much.
pub fn plan(
    declared: &[(ObjectKey, Sequence)],
    inventory: &BTreeSet<ObjectKey>,
    percent: u8,
) -> Result<Plan, PlanError> {
    let wanted: BTreeSet<&ObjectKey> = declared.iter().map(|(key, _)| key).collect();
    let mut prune: Vec<ObjectKey> = inventory.iter().filter(|key| !wanted.contains(key)).cloned().collect();
    let (count, of) = (prune.len(), inventory.len());
    if count > 0 && count == of && (percent < 100 || declared.is_empty()) {
        return Err(PlanError::WouldPruneEverything { count });
    }
    if count > FEW && count * 100 > of * usize::from(percent) {
        return Err(PlanError::WouldPruneTooMuch { count, of, percent });
    }
    prune.sort_by_key(|key| std::cmp::Reverse(rank(key)));
    let (gates, refused) = gates::gates(declared);
    Ok(Plan { gates, refused, prune })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(texts: &[&str]) -> Vec<(ObjectKey, Sequence)> {
        texts.iter().map(|t| (t.parse().unwrap(), Sequence::default())).collect()
    }

    fn inventory(texts: &[&str]) -> BTreeSet<ObjectKey> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn what_others_need_goes_last() {
        let stored = inventory(&["/Namespace:/s", "/Namespace:/old", "apps/Deployment:old/a"]);
        let plan = plan(&declared(&["apps/Deployment:s/a", "/Namespace:/s"]), &stored, 50).unwrap();
        let pruned: Vec<String> = plan.prune.iter().map(ToString::to_string).collect();
        assert_eq!(pruned, ["apps/Deployment:old/a", "/Namespace:/old"]);
    }

    #[test]
    fn a_plan_that_would_prune_everything_is_refused() {
        let stored = inventory(&["/ConfigMap:s/a", "/ConfigMap:s/b"]);
        assert_eq!(plan(&[], &stored, 100), Err(PlanError::WouldPruneEverything { count: 2 }));
        assert_eq!(plan(&[], &BTreeSet::new(), 100), Ok(Plan::default()));
    }

    #[test]
    fn a_plan_that_would_prune_more_than_its_share_is_refused() {
        let names: Vec<String> = (0..30).map(|n| format!("/ConfigMap:s/{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let few = declared(&names[..5]);
        let expected = PlanError::WouldPruneTooMuch { count: 25, of: 30, percent: 50 };
        assert_eq!(plan(&few, &inventory(&names), 50), Err(expected));
        assert_eq!(plan(&few, &inventory(&names), 90).unwrap().prune.len(), 25);
        assert_eq!(plan(&few, &inventory(&names[..20]), 50).unwrap().prune.len(), 15, "a few need no leave");
    }

    #[test]
    fn what_was_applied_needs_no_pruning() {
        let both = ["/ConfigMap:s/a"];
        assert_eq!(plan(&declared(&both), &inventory(&both), 50).unwrap().prune, []);
    }
}
