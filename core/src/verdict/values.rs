//! Values in messages and records: as they are shown to people.

use super::RefusedField;
use crate::fields::Change;
use crate::fields::shown::{HIDDEN, show};
use crate::json::Json;

pub(super) use crate::fields::shown::hides_values;

pub(super) fn refused(change: &Change<'_>, secret: bool) -> RefusedField {
    let show = |value: Json<'_>| if secret { HIDDEN.to_owned() } else { show(value) };
    RefusedField { path: change.path.clone(), before: change.before.map(show), after: change.after.map(show) }
}
