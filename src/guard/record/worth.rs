//! How much a record is worth when there is no room for all of them. Pure.

use super::entry::DISABLE;
use crate::api::BlockedChangeSpec;

/// What let somebody into a Pod.
const ACCESSES: [&str; 5] = ["exec", "attach", "portforward", "proxy", "ephemeralcontainers"];
/// What would have given somebody rights, or taken the guard's away.
const GRANTS: [&str; 4] = ["GitwardProtected", "ForgedPin", "OwnershipChanged", "HolderChanged"];

/// The worth of a record: the kind of the change, whether it went through, and how often it was tried, by powers of two. A
/// change of a field that was refused once is worth nothing, so that everything else outlives it.
pub(super) fn worth(spec: &BlockedChangeSpec) -> u32 {
    let sub_resource = spec.verb.split_once(' ').map(|(_, sub_resource)| sub_resource).unwrap_or_default();
    let kind = if spec.verb == DISABLE {
        16
    } else if ACCESSES.contains(&sub_resource) {
        8
    } else if GRANTS.contains(&&*spec.reason)
        || spec.object.group == "rbac.authorization.k8s.io"
        || sub_resource == "token"
    {
        6
    } else if spec.verb.starts_with("delete") || sub_resource == "eviction" {
        2
    } else {
        0
    };
    let went_through = if spec.decision == "deny" { 0 } else { 4 };
    kind + went_through + spec.count.max(1).ilog2()
}
