//! What a manager owned, declares no longer, and nobody else owns, taken out of an object.
//!
//! Source of the rule: `structured-merge-diff` (`merge/update.go`, `prune`): a named field goes with everything in it
//! where nothing in it is owned any more; an item of a list only where the manager owned the item itself.

use serde_json::Value;

use super::Segment;
use super::tree::{Tree, is_written};

/// Removes from `value` what is in `old` and not in `keep`.
pub(super) fn prune(value: &mut Value, old: &Tree, keep: Option<&Tree>) {
    for (segment, was) in &old.below {
        let kept = keep.and_then(|keep| keep.child(segment));
        match segment {
            Segment::Field(name) => {
                let Some(map) = value.as_object_mut() else { continue };
                let Some(field) = map.get_mut(name) else { continue };
                let emptied = kept.is_some() && {
                    let was_empty = is_empty(field);
                    prune(field, was, kept);
                    is_empty(field) && !was_empty && !kept.is_some_and(|kept| kept.is_member)
                };
                if kept.is_none() || emptied {
                    map.remove(name);
                }
            }
            Segment::Item(keys) => {
                let Some(items) = value.as_array_mut() else { continue };
                let Some(index) = items.iter().position(|item| is_named(item, keys)) else { continue };
                if kept.is_none() && was.is_member {
                    items.remove(index);
                } else {
                    prune(&mut items[index], was, kept);
                }
            }
            Segment::Member(member) => {
                if kept.is_none()
                    && let Some(items) = value.as_array_mut()
                {
                    items.retain(|item| !is_written(item, member));
                }
            }
            // Kubernetes owns no positions.
            Segment::Index(_) => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn is_named(item: &Value, keys: &[(String, String)]) -> bool {
    keys.iter().all(|(key, value)| item.get(key).is_some_and(|is| is_written(is, value)))
}
