//! Entries for tests.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::entry::Entry;
use crate::api::{BlockedChangeSpec, BlockedObject};

pub(super) fn entry(caller: &str, name: &str, decision: &str) -> Entry {
    let at = Time(Timestamp::UNIX_EPOCH);
    let object =
        BlockedObject { group: String::new(), kind: "ConfigMap".into(), namespace: "shop".into(), name: name.into() };
    let spec = BlockedChangeSpec {
        user: caller.into(),
        credential: String::new(),
        verb: "update".into(),
        object,
        summary: String::new(),
        reason: "PinnedFieldChanged".into(),
        decision: decision.into(),
        fields: Vec::new(),
        field_summary: String::new(),
        git_sync: String::new(),
        origin: String::new(),
        count: 1,
        first_time: at.clone(),
        last_time: at,
    };
    Entry { name: name.into(), caller: caller.into(), spec, once: false }
}
