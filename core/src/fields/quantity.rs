//! Quantities such as `500m` and `1Gi`: whether two of them are the same amount.
//!
//! Source of the form: `k8s.io/apimachinery/pkg/api/resource`. The API server stores its own way of writing an amount.

use serde_json::Value;

/// The finest amount that Kubernetes keeps is a billionth.
const FINEST: u32 = 9;

/// Whether both are quantities, and the same amount. What is no quantity, or too large to be reckoned exactly, is not the
/// same as anything.
pub(super) fn is_same_amount(a: &Value, b: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => billionths(text),
        Value::Number(number) => billionths(&number.to_string()),
        _ => None,
    };
    amount(a).zip(amount(b)).is_some_and(|(a, b)| a == b)
}

fn billionths(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (power, factor) = scale(suffix)?;
    let power = power + i32::try_from(FINEST).ok()? - i32::try_from(fraction.len()).ok()?;
    let amount = mantissa.checked_mul(factor)?;
    let tens = 10_i128.checked_pow(power.unsigned_abs())?;
    let amount = if power >= 0 {
        amount.checked_mul(tens)?
    } else {
        // Finer than Kubernetes keeps: it would be rounded.
        (amount % tens == 0).then_some(amount / tens)?
    };
    Some(sign * amount)
}

/// A suffix as a power of ten and a factor.
fn scale(suffix: &str) -> Option<(i32, i128)> {
    Some(match suffix {
        "" => (0, 1),
        "n" => (-9, 1),
        "u" => (-6, 1),
        "m" => (-3, 1),
        "k" => (3, 1),
        "M" => (6, 1),
        "G" => (9, 1),
        "T" => (12, 1),
        "P" => (15, 1),
        "E" => (18, 1),
        "Ki" => (0, 1 << 10),
        "Mi" => (0, 1 << 20),
        "Gi" => (0, 1 << 30),
        "Ti" => (0, 1 << 40),
        "Pi" => (0, 1 << 50),
        "Ei" => (0, 1 << 60),
        other => (other.strip_prefix(['e', 'E'])?.parse().ok().filter(|power| (-30..=30).contains(power))?, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_amounts_are_the_same_however_they_are_written() {
        for (a, b) in [
            (json!("0.5"), json!("500m")),
            (json!(0.5), json!("500m")),
            (json!(1), json!("1")),
            (json!("1024Mi"), json!("1Gi")),
            (json!("1e3"), json!("1k")),
            (json!("+.10"), json!("100m")),
            (json!("-2"), json!("-2000m")),
        ] {
            assert!(is_same_amount(&a, &b), "{a} {b}");
        }
        for (a, b) in [
            (json!("1G"), json!("1Gi")),
            (json!("web"), json!("web")),
            (json!(""), json!("0")),
            (json!("1.0.0"), json!("1")),
            (json!("99999999999999999999Ei"), json!("99999999999999999999Ei")),
            (json!("1e99999999999"), json!(true)),
        ] {
            assert!(!is_same_amount(&a, &b), "{a} {b}");
        }
    }
}
