//! What the launcher must know of each of 100,000 labels, without parsing them. Pure.
#![forbid(unsafe_code)]

use super::text::{Kind, Metadata, State};
use crate::timestamp;

/// Just enough to tell when a role must be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    pub kind: Kind,
    pub is_active: bool,
    /// The recorded deadline, in Unix microseconds.
    pub recorded: Option<i64>,
}

/// The same as parsing the label, but quick for those of active roles that this extension wrote.
/// `None` for a label that can't be read.
pub fn glance(label: &str) -> Option<Glance> {
    // Labels of other forms (a restore) are parsed.
    let quick = label.strip_prefix("{\"v\":1,\"kind\":\"").and_then(|rest| {
        KINDS.into_iter().find_map(|kind| {
            let rest = rest.strip_prefix(kind_name(kind))?;
            let rest = rest.strip_prefix("\",\"state\":\"active\",")?;
            Some((kind, recorded_first(rest)?))
        })
    });
    if let Some((kind, recorded)) = quick {
        return Some(Glance {
            kind,
            is_active: true,
            recorded,
        });
    }
    let metadata = Metadata::parse(label).ok()?;
    Some(Glance {
        kind: metadata.kind,
        is_active: metadata.state == State::Active,
        recorded: metadata.valid_until.as_deref().and_then(timestamp::parse),
    })
}

/// The deadline, where it is what comes next or is nowhere; `None` where it must be looked for.
fn recorded_first(rest: &str) -> Option<Option<i64>> {
    match rest.strip_prefix("\"valid_until\":\"") {
        Some(rest) => {
            let (text, _) = rest.split_once('"')?;
            timestamp::parse(text).map(Some)
        }
        None if rest.contains("valid_until") => None,
        None => Some(None),
    }
}

const KINDS: [Kind; 6] = [
    Kind::Credential,
    Kind::Scope,
    Kind::Authenticator,
    Kind::Temporary,
    Kind::Composite,
    Kind::Guarded,
];

/// As the label has it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Scope => "scope",
        Kind::Credential => "credential",
        Kind::Authenticator => "authenticator",
        Kind::Temporary => "temporary",
        Kind::Composite => "composite",
        Kind::Guarded => "guarded",
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn label(kind: Kind, state: State, purpose: Option<&str>) -> Metadata {
        let text = r#"{"v":1,"kind":"scope","state":"active","creator":"alice","creator_oid":16384,
                       "created_at":"2026-11-21T08:49:54Z","database":"app"}"#;
        Metadata {
            kind,
            state,
            purpose: purpose.map(str::to_owned),
            ..Metadata::parse(text).expect("a label")
        }
    }

    #[test]
    fn label_glance_sees_what_parsing_sees() {
        for kind in KINDS {
            for state in [State::Active, State::Ending, State::Quarantined] {
                for purpose in [None, Some("x\",\"state\":\"active\",\"y")] {
                    let text = label(kind, state, purpose).to_text();
                    let expected = Glance {
                        kind,
                        is_active: state == State::Active,
                        recorded: None,
                    };
                    assert_eq!(glance(&text), Some(expected), "{text}");
                    let text = label(kind, state, purpose)
                        .until(Some(1_700_000_000_000_001))
                        .to_text();
                    let expected = Glance {
                        recorded: Some(1_700_000_000_000_001),
                        ..expected
                    };
                    assert_eq!(glance(&text), Some(expected), "{text}");
                }
            }
        }
    }

    #[test]
    fn label_glance_takes_the_quick_way_for_labels_of_ours() {
        for kind in KINDS {
            let text = label(kind, State::Active, None).to_text();
            let written = text.strip_prefix("{\"v\":1,\"kind\":\"");
            let quick = format!("{}\",\"state\":\"active\",", kind_name(kind));
            assert!(
                written.is_some_and(|rest| rest.starts_with(&quick)),
                "{text}"
            );
        }
    }

    #[test]
    fn label_glance_reads_labels_in_other_forms() {
        let text = label(Kind::Credential, State::Active, None)
            .to_text()
            .replace(":", " : ");
        assert_eq!(
            glance(&text.replace("08 : 49 : 54", "08:49:54")),
            Some(Glance {
                kind: Kind::Credential,
                is_active: true,
                recorded: None,
            })
        );
        assert_eq!(glance("not json"), None);
        assert_eq!(
            glance("{\"v\":1,\"kind\":\"other\",\"state\":\"active\",}"),
            None
        );
    }
}
