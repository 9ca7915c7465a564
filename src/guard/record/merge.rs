//! Two counts of one change as one: the sum, the first and the last values. Pure.

use crate::api::{BlockedChangeSpec, BlockedField};

/// Stands for a value that is not there.
const NONE: &str = "(none)";

/// Both as one. They may overlap in time, where two guards count the same change; the order of the arguments decides nothing
/// unless all times are equal.
pub(super) fn merge(a: &BlockedChangeSpec, b: &BlockedChangeSpec) -> BlockedChangeSpec {
    let (first, _) = if b.first_time.0 < a.first_time.0 { (b, a) } else { (a, b) };
    let (last, _) = if a.last_time.0 > b.last_time.0 { (a, b) } else { (b, a) };
    let fields = last.fields.iter().map(|field| {
        let earlier = first.fields.iter().find(|earlier| earlier.path == field.path);
        earlier.map_or_else(|| field.clone(), |earlier| with_first(field, earlier))
    });
    BlockedChangeSpec {
        count: a.count.saturating_add(b.count),
        first_time: first.first_time.clone(),
        fields: fields.collect(),
        ..last.clone()
    }
}

/// The last values of `field`, and the first ones of `earlier` where they are others.
fn with_first(field: &BlockedField, earlier: &BlockedField) -> BlockedField {
    let first = |first: &Option<String>, value: &Option<String>, last: &Option<String>| {
        let first = first.clone().unwrap_or_else(|| or_none(value));
        Some(first).filter(|first| *first != or_none(last))
    };
    BlockedField {
        first_before: first(&earlier.first_before, &earlier.before, &field.before),
        first_after: first(&earlier.first_after, &earlier.after, &field.after),
        ..field.clone()
    }
}

fn or_none(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| NONE.to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::sample::entry;
    use super::*;

    fn spec(second: i64, after: Option<&str>) -> BlockedChangeSpec {
        let at = Time(Timestamp::from_second(second).unwrap());
        let field = BlockedField {
            path: "/spec/image".into(),
            before: Some("web:1".into()),
            after: after.map(str::to_owned),
            first_before: None,
            first_after: None,
        };
        BlockedChangeSpec {
            fields: vec![field],
            first_time: at.clone(),
            last_time: at,
            ..entry("dev", "web", "deny").spec
        }
    }

    fn values(spec: &BlockedChangeSpec) -> (Option<&str>, Option<&str>, Option<&str>) {
        let field = &spec.fields[0];
        (field.first_after.as_deref(), field.after.as_deref(), field.first_before.as_deref())
    }

    #[test]
    fn the_first_and_the_last_value_stay_in_any_order() {
        let tries = [spec(1, Some("evil:1")), spec(2, Some("evil:2")), spec(3, Some("evil:3"))];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]] {
            let [a, b, c] = order.map(|at| &tries[at]);
            let sum = merge(&merge(a, b), c);
            assert_eq!(values(&sum), (Some("evil:1"), Some("evil:3"), None), "{order:?}");
            assert_eq!(sum.count, 3);
            assert_eq!((sum.first_time.0.as_second(), sum.last_time.0.as_second()), (1, 3));
        }
    }

    #[test]
    fn equal_values_are_said_once_and_a_removal_is_said() {
        assert_eq!(values(&merge(&spec(1, Some("a")), &spec(2, Some("a")))), (None, Some("a"), None));
        let removed_first = merge(&spec(1, None), &spec(2, Some("b")));
        assert_eq!(values(&removed_first), (Some("(none)"), Some("b"), None));
        assert_eq!(values(&merge(&removed_first, &spec(3, None))), (None, None, None), "first and last are a removal");
    }
}
