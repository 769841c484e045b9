//! How long an answer holds by its headers (RFC 9111, section 4.2).

use crate::timestamp;

const MICROS: i64 = 1_000_000;

/// In seconds; `None` when the headers say nothing that can be read.
pub fn lifetime(
    cache_control: Option<&str>,
    expires: Option<&str>,
    date: Option<&str>,
    age: Option<&str>,
) -> Option<i64> {
    let lived = age.and_then(seconds).unwrap_or(0);
    let lifetime = match cache_control.map(of_cache_control) {
        Some(Some(lifetime)) => lifetime,
        _ => match (expires, date.and_then(http_date)) {
            (None, _) | (_, None) => return None,
            // A date that can't be read, above all 0, has passed.
            (Some(expires), Some(date)) => {
                http_date(expires).map_or(0, |expires| (expires - date) / MICROS)
            }
        },
    };
    Some(lifetime.saturating_sub(lived).max(0))
}

/// `None`: it says nothing of it.
fn of_cache_control(text: &str) -> Option<i64> {
    let mut found = None;
    for directive in text.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" | "no-store" => return Some(0),
            "max-age" => {
                let value = value.trim().trim_matches('"');
                // Of two, the shorter.
                let value = seconds(value).unwrap_or(0);
                found = Some(found.map_or(value, |before: i64| before.min(value)));
            }
            _ => {}
        }
    }
    found
}

/// A number too large for us is as good as the largest.
fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(i64::MAX))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in Unix microseconds.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.trim().split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if zone != "GMT" || parts.next().is_some() {
        return None;
    }
    timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwks_lifetimes_are_read_from_headers() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (cache_control, expires, age, expected) in [
            (Some("max-age=600"), None, None, Some(600)),
            (
                Some("public, MAX-AGE=\"600\" , must-revalidate"),
                None,
                None,
                Some(600),
            ),
            (Some("max-age=600, max-age=60"), None, None, Some(60)),
            (Some("max-age=600"), None, Some("100"), Some(500)),
            (Some("max-age=600"), None, Some("1000"), Some(0)),
            (Some("max-age=600"), None, Some("-5"), Some(600)),
            (Some("max-age=600, no-cache"), None, None, Some(0)),
            (
                Some("no-store"),
                Some("Sun, 06 Nov 1994 09:49:37 GMT"),
                None,
                Some(0),
            ),
            (
                Some("max-age=99999999999999999999"),
                None,
                None,
                Some(i64::MAX),
            ),
            (Some("max-age=-1"), None, None, Some(0)),
            (Some("max-age"), None, None, Some(0)),
            (Some("s-maxage=5"), None, None, None),
            (
                Some("public"),
                Some("Sun, 06 Nov 1994 09:49:37 GMT"),
                None,
                Some(3_600),
            ),
            (None, Some("Sun, 06 Nov 1994 08:00:00 GMT"), None, Some(0)),
            (None, Some("0"), None, Some(0)),
            (None, None, Some("5"), None),
        ] {
            assert_eq!(
                lifetime(cache_control, expires, date, age),
                expected,
                "{cache_control:?} {expires:?} {age:?}"
            );
        }
        let expires = Some("Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(lifetime(None, expires, None, None), None);
        for wrong in [
            "",
            "x",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 99 Xxx 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }
}
