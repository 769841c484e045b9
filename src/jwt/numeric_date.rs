//! NumericDate (RFC 7519 section 2): seconds since the Unix epoch, as any JSON number.

pub const MICROSECONDS: i64 = 1_000_000;

/// Would it be a date from 2001 to 2096 in milliseconds, microseconds or nanoseconds? In seconds that is the year 33,658 at the
/// earliest: some libraries count so by mistake, and nobody means it.
pub fn is_in_another_unit(value: &str) -> bool {
    // As [`numeric_date`], which most values leave at once.
    value.len() > 12
        && value.parse().is_ok_and(|date: f64| {
            [1e12, 1e15, 1e18]
                .iter()
                .any(|unit| (*unit..4.0 * unit).contains(&date))
        })
}

/// In microseconds: rounded down, saturating, and exact for
/// every JSON number, whatever its digits and exponent. `None` when the JSON text is not a number.
pub fn numeric_date(value: &str) -> Option<i64> {
    // The usual form. It is JSON already, so all digits is a number, without leading zeros.
    if value.len() <= 12 && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.bytes().fold(0, |seconds, digit| {
            seconds * 10 + i64::from(digit.wrapping_sub(b'0'))
        });
        return Some(seconds * MICROSECONDS);
    }
    let (negative, magnitude) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    if !magnitude.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (decimal, exponent) = magnitude
        .split_once(['e', 'E'])
        .map_or((magnitude, 0), |(decimal, exponent)| {
            (decimal, saturating_exponent(exponent))
        });
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let leading_zeros = whole
        .bytes()
        .chain(fraction.bytes())
        .take_while(|digit| *digit == b'0')
        .count();
    let mut digits = whole.bytes().chain(fraction.bytes()).skip(leading_zeros);

    // The number of digits left of the point once the value counts microseconds.
    let places = count(whole)
        .saturating_sub(i64::try_from(leading_zeros).unwrap_or(i64::MAX))
        .saturating_add(exponent)
        .saturating_add(6);
    let mut micros: i128 = 0;
    if leading_zeros < whole.len() + fraction.len() {
        // i64 has 19 digits, i128 more than twice as many.
        for _ in 0..places.clamp(0, 20) {
            let digit = digits.next().unwrap_or(b'0').wrapping_sub(b'0');
            micros = micros * 10 + i128::from(digit);
        }
        if places > 20 {
            micros = i128::MAX;
        }
    }
    let rest = digits.any(|digit| digit != b'0');
    let signed = match (negative, rest) {
        (false, _) => micros,
        (true, false) => -micros,
        (true, true) => -micros.saturating_add(1),
    };
    Some(saturate(signed))
}

fn saturating_exponent(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // Only a number too long for i64 fails here; a quarter of the range leaves room for additions.
    let limit = i64::MAX / 4;
    let magnitude = digits.parse::<i64>().unwrap_or(limit).min(limit);
    if negative { -magnitude } else { magnitude }
}

fn count(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numeric_dates_are_exact() {
        let seconds = |s: i64| Some(s * MICROSECONDS);
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e7", Some(0)),
            ("1", seconds(1)),
            ("-1", seconds(-1)),
            ("1300819380", seconds(1_300_819_380)),
            ("1300819380.5", Some(1_300_819_380_500_000)),
            ("1.3008193805e9", Some(1_300_819_380_500_000)),
            ("13008193805e-1", Some(1_300_819_380_500_000)),
            ("0.00000130081938e15", seconds(1_300_819_380)),
            ("1E3", seconds(1000)),
            ("1E+3", seconds(1000)),
            ("1e00000000000000000000000000003", seconds(1000)),
            ("0.000001", Some(1)),
            ("0.0000009", Some(0)),
            ("0.0000019", Some(1)),
            ("-0.0000001", Some(-1)),
            ("-0.000001", Some(-1)),
            ("-1.0000001", Some(-1_000_001)),
            ("1e-400", Some(0)),
            ("-1e-400", Some(-1)),
            ("0e400", Some(0)),
            ("0e99999999999999999999999", Some(0)),
            ("1e400", Some(i64::MAX)),
            ("-1e400", Some(i64::MIN)),
            ("1e99999999999999999999999", Some(i64::MAX)),
            ("-1e99999999999999999999999", Some(i64::MIN)),
            ("1e-99999999999999999999999", Some(0)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("9223372036854.775808", Some(i64::MAX)),
            ("9223372036854.775806", Some(i64::MAX - 1)),
            ("-9223372036854.775808", Some(i64::MIN)),
            ("-9223372036854.775809", Some(i64::MIN)),
            ("18446744073709551616", Some(i64::MAX)),
            (
                "99999999999999999999999999999999999999999999",
                Some(i64::MAX),
            ),
            (
                "0.00000000000000000000000000000000000000000001e50",
                seconds(1_000_000),
            ),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            ("{}", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(numeric_date(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn numeric_date_equals_integer_arithmetic(
            whole in -9_000_000_000_000_i64..9_000_000_000_000,
            micros in 0..1_000_000_i64,
            shift in 0_usize..12,
        ) {
            let expected = if whole < 0 {
                whole * MICROSECONDS - micros
            } else {
                whole * MICROSECONDS + micros
            };
            let plain = format!("{whole}.{micros:06}");
            prop_assert_eq!(numeric_date(&plain), Some(expected));
            let zeros = "0".repeat(shift);
            let scaled = format!("{whole}{micros:06}{zeros}E-{}", 6 + shift);
            prop_assert_eq!(numeric_date(&scaled), Some(expected));
        }

        #[test]
        fn numeric_date_never_panics(text in "-?[0-9.eE+-]{0,40}") {
            let _any = numeric_date(&text);
        }
    }
}
