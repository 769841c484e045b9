//! What a login may be made with besides its scopes and its deadline. Pure but for the label.
#![forbid(unsafe_code)]

use super::deadline::Interval;
use crate::admission::Rules;
use crate::admission::hours::Window;
use crate::admission::network::Network;
use crate::label::Metadata;

/// Leaves room in a label for everything else; about 30 networks.
const MAX_RULES_BYTES: usize = 600;
/// More never fit; a list is not read before that is known.
const MAX_ELEMENTS: usize = 1_000;
const MICROS_PER_MILLISECOND: i64 = 1_000;
/// PostgreSQL's limit for identifiers (NAMEDATALEN - 1).
const MAX_NAME_BYTES: usize = 63;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub rules: Rules,
    pub connection_limit: Option<i32>,
    /// Milliseconds.
    pub statement_timeout: Option<i32>,
    /// Milliseconds.
    pub idle_in_transaction_session_timeout: Option<i32>,
    pub search_path: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    #[error("an element of {0} is null")]
    NullElement(&'static str),
    #[error("the options let nobody log in")]
    NoWayIn,
    #[error("{0} is not a valid network")]
    Network(String),
    #[error("\"{0}\" are not valid hours")]
    Hours(String),
    #[error("time zone \"{0}\" does not exist")]
    TimeZone(String),
    #[error("hours need a time zone")]
    NoTimeZone,
    #[error("connection_limit must be at least 1")]
    ConnectionLimit,
    #[error("{option} is out of range")]
    Duration { option: &'static str },
    #[error("search_path has an element that is no schema's name")]
    SchemaName,
    #[error("{option} has too many elements")]
    TooMany {
        option: &'static str,
        count: usize,
        max: usize,
    },
    #[error("the rules of the login are too long")]
    TooLong { bytes: usize, max: usize },
}

/// A label that is too long could not be read.
pub fn require_room(metadata: &Metadata) -> Result<(), BadOption> {
    let bytes = serde_json::to_string(&metadata.login).map_or(0, |text| text.len());
    match metadata.excess() {
        0 => Ok(()),
        excess => Err(BadOption::TooLong {
            bytes,
            max: bytes.saturating_sub(excess),
        }),
    }
}

/// The options as SQL passes them; NULL leaves each at its default.
#[derive(Debug, Default)]
pub struct Given {
    /// The texts of `cidr` values.
    pub allowed_ips: Option<Vec<Option<String>>>,
    pub allow_local: Option<bool>,
    pub require_tls: Option<bool>,
    pub connection_limit: Option<i32>,
    pub statement_timeout: Option<Interval>,
    pub idle_in_transaction_session_timeout: Option<Interval>,
    pub search_path: Option<Vec<Option<String>>>,
}

impl Given {
    pub fn check(self) -> Result<Options, BadOption> {
        let rules = Rules {
            ips: self.allowed_ips.map(networks).transpose()?,
            local: self.allow_local,
            tls: self.require_tls.unwrap_or(false),
            ..Rules::default()
        };
        check_rules(&rules)?;
        if self.connection_limit.is_some_and(|limit| limit < 1) {
            return Err(BadOption::ConnectionLimit);
        }
        Ok(Options {
            rules,
            connection_limit: self.connection_limit,
            statement_timeout: milliseconds("statement_timeout", self.statement_timeout)?,
            idle_in_transaction_session_timeout: milliseconds(
                "idle_in_transaction_session_timeout",
                self.idle_in_transaction_session_timeout,
            )?,
            search_path: self.search_path.map(schemas).transpose()?,
        })
    }
}

/// Rules that let somebody in, and that fit into a label.
pub fn check_rules(rules: &Rules) -> Result<(), BadOption> {
    if rules.admits_nobody() {
        return Err(BadOption::NoWayIn);
    }
    if rules.zone.is_none() && !rules.hours.is_empty() {
        return Err(BadOption::NoTimeZone);
    }
    let bytes = serde_json::to_string(&rules).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_RULES_BYTES {
        return Err(BadOption::TooLong {
            bytes,
            max: MAX_RULES_BYTES,
        });
    }
    Ok(())
}

fn few<T>(option: &'static str, list: &[T]) -> Result<(), BadOption> {
    if list.len() > MAX_ELEMENTS {
        return Err(BadOption::TooMany {
            option,
            count: list.len(),
            max: MAX_ELEMENTS,
        });
    }
    Ok(())
}

/// Hours from their texts, each once.
pub fn hours(texts: Vec<Option<String>>) -> Result<Vec<Window>, BadOption> {
    few("allowed_hours", &texts)?;
    let mut hours: Vec<Window> = Vec::with_capacity(texts.len());
    for text in texts {
        let text = text.ok_or(BadOption::NullElement("allowed_hours"))?;
        let window = text.parse().map_err(|_| BadOption::Hours(text))?;
        if !hours.contains(&window) {
            hours.push(window);
        }
    }
    Ok(hours)
}

/// Networks from the texts of `cidr` values, each once.
pub fn networks(texts: Vec<Option<String>>) -> Result<Vec<Network>, BadOption> {
    few("allowed_ips", &texts)?;
    let mut networks: Vec<Network> = Vec::with_capacity(texts.len());
    for text in texts {
        let text = text.ok_or(BadOption::NullElement("allowed_ips"))?;
        let network = text.parse().map_err(|_| BadOption::Network(text))?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn schemas(names: Vec<Option<String>>) -> Result<Vec<String>, BadOption> {
    few("search_path", &names)?;
    names
        .into_iter()
        .map(|name| {
            let name = name.ok_or(BadOption::NullElement("search_path"))?;
            if name.is_empty() || name.len() > MAX_NAME_BYTES {
                Err(BadOption::SchemaName)
            } else {
                Ok(name)
            }
        })
        .collect()
}

/// PostgreSQL's timeouts are in milliseconds; 0 stands for none. Parts of one count as a whole.
fn milliseconds(
    option: &'static str,
    interval: Option<Interval>,
) -> Result<Option<i32>, BadOption> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let Some(interval) = interval else {
        return Ok(None);
    };
    let micros = i64::from(interval.days)
        .checked_mul(MICROS_PER_DAY)
        .and_then(|micros| micros.checked_add(interval.micros))
        .filter(|&micros| interval.months == 0 && micros >= 0);
    micros
        .map(|micros| {
            micros / MICROS_PER_MILLISECOND + i64::from(micros % MICROS_PER_MILLISECOND > 0)
        })
        .and_then(|milliseconds| i32::try_from(milliseconds).ok())
        .map(Some)
        .ok_or(BadOption::Duration { option })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(months: i32, days: i32, micros: i64) -> Option<Interval> {
        Some(Interval {
            months,
            days,
            micros,
        })
    }

    #[test]
    fn options_left_out_change_nothing() {
        let options = Given::default().check();
        assert_eq!(options, Ok(Options::default()));
        assert!(options.is_ok_and(|options| options.rules.is_empty()));
    }

    #[test]
    fn options_read_durations_to_the_millisecond() {
        let read = |given| milliseconds("statement_timeout", given);
        assert_eq!(read(interval(0, 0, 0)), Ok(Some(0)));
        assert_eq!(read(interval(0, 0, 1)), Ok(Some(1)));
        assert_eq!(read(interval(0, 0, 1_500_000)), Ok(Some(1_500)));
        assert_eq!(read(interval(0, 1, -1_000)), Ok(Some(86_399_999)));
        for wrong in [
            interval(0, 0, -1),
            interval(0, -1, 0),
            interval(1, 0, 0),
            interval(0, 25, 0),
            interval(0, i32::MAX, i64::MAX),
            interval(i32::MAX, i32::MAX, i64::MAX),
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let none = || Some(vec![]);
        let contradiction = Given {
            allowed_ips: none(),
            ..Given::default()
        };
        assert_eq!(contradiction.check(), Err(BadOption::NoWayIn));
        let sockets_only = Given {
            allowed_ips: none(),
            allow_local: Some(true),
            ..Given::default()
        };
        assert!(sockets_only.check().is_ok());
    }

    #[test]
    fn options_keep_their_rules_short() {
        let many = |count: u8| Given {
            allowed_ips: Some((0..count).map(|n| Some(format!("10.0.{n}.0/24"))).collect()),
            ..Given::default()
        };
        assert!(many(30).check().is_ok());
        assert!(matches!(many(60).check(), Err(BadOption::TooLong { .. })));
        let same = Given {
            allowed_ips: Some(vec![Some("10.0.0.0/8".to_owned()); 1_001]),
            ..Given::default()
        };
        assert!(matches!(same.check(), Err(BadOption::TooMany { .. })));
    }
}
