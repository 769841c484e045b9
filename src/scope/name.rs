//! Names of roles: readable, unique, at most 63 bytes, never in need of quotes. Pure.
#![forbid(unsafe_code)]

/// PostgreSQL's limit for identifiers (NAMEDATALEN - 1).
pub const MAX_BYTES: usize = 63;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("the role name is empty")]
    Empty,
    #[error("the role name has characters that would need quoting")]
    Character { position: usize },
    #[error("the role name is a length of time")]
    Duration,
    #[error("the role name is too long")]
    TooLong { bytes: usize },
    #[error("the role name is reserved")]
    Reserved,
    #[error("the role name is a word of SQL that would need quoting")]
    Keyword,
}

/// Checks a name that a caller has chosen.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    let plain = |(index, character): (usize, char)| match character {
        'a'..='z' | '_' => false,
        '0'..='9' => index == 0,
        _ => true,
    };
    if is_duration(name) {
        return Err(BadName::Duration);
    }
    if let Some(index) = name.chars().enumerate().position(plain) {
        return Err(BadName::Character {
            position: index + 1,
        });
    }
    if name.len() > MAX_BYTES {
        return Err(BadName::TooLong { bytes: name.len() });
    }
    if name.starts_with("pg_") || name == "public" || name == "none" {
        return Err(BadName::Reserved);
    }
    Ok(())
}

/// Was it meant as the next argument: `8 hours`, `90d`, `08:00:00`? No role name begins with a digit.
fn is_duration(name: &str) -> bool {
    const UNITS: [&str; 14] = [
        "", "sec", "second", "min", "minute", "h", "hour", "d", "day", "week", "mon", "month", "y",
        "year",
    ];
    let name = name.trim().to_ascii_lowercase();
    let rest = name.trim_start_matches(|c: char| c.is_ascii_digit());
    let unit = rest
        .split([' ', ':'])
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    rest.len() < name.len()
        && !rest.is_empty()
        && (rest.starts_with(':') || UNITS.contains(&unit.trim_end_matches('s')))
}

/// `table_ro_suffix`, the table's part cut to fit. `suffix` is of the alphabet of [`tag`].
pub fn compose(table: &str, verb: &str, suffix: &str) -> String {
    let tail = format!("_{verb}_{suffix}");
    let mut head: String = table
        .chars()
        .map(|character| match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9' | '_') => plain,
            _ => '_',
        })
        .collect();
    // `pg_` is reserved, and an identifier starts with a letter or an underscore.
    if head.starts_with("pg_") || head.starts_with(|first: char| first.is_ascii_digit()) {
        head.insert(0, '_');
    }
    head.truncate(MAX_BYTES.saturating_sub(tail.len()));
    head + &tail
}

/// Characters for a suffix, five bits each.
pub fn tag(bytes: &[u8]) -> String {
    bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
        .map(|&letter| char::from(letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_check_takes_plain_identifiers() {
        for name in ["a", "_", "report_reader", "r2", &"x".repeat(63)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn name_check_refuses_the_rest() {
        assert_eq!(check(""), Err(BadName::Empty));
        for (name, position) in [
            ("Report", 1),
            ("2r", 1),
            ("2d_users", 1),
            ("2024", 1),
            ("a b", 2),
            ("a\"b", 2),
            ("ab;", 3),
            ("caf\u{e9}", 4),
            ("a-b", 2),
            ("a\n", 2),
        ] {
            assert_eq!(check(name), Err(BadName::Character { position }), "{name}");
        }
        for name in [
            "8 hours",
            "90d",
            "1 day 2 hours",
            "08:00:00",
            "30 seconds",
            " 2 Weeks",
            "15min",
        ] {
            assert_eq!(check(name), Err(BadName::Duration), "{name}");
        }
        assert_eq!(check(&"x".repeat(64)), Err(BadName::TooLong { bytes: 64 }));
        for name in ["pg_reader", "pg_", "public", "none"] {
            assert_eq!(check(name), Err(BadName::Reserved), "{name}");
        }
    }

    #[test]
    fn name_composed_from_any_table_passes_its_own_check() {
        for table in [
            "orders",
            "",
            "Orders 2024; DROP",
            "pg_orders",
            "2024",
            "\u{1f600}\u{e9}\"",
            &"x".repeat(63),
            &"\u{e9}".repeat(31),
        ] {
            let name = compose(table, "ro", &tag(&[0, 31, 255, 7, 9, 26]));
            assert_eq!(check(&name), Ok(()), "{table} -> {name}");
            assert!(name.ends_with("_ro_a77hj2"), "{name}");
        }
    }
}
