//! What guards say, and the label that keeps them. Pure.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// As labels of roles: PostgreSQL keeps them in the row only when they are short.
pub const MAX_BYTES: usize = 1_500;
/// Of a window: from a second to a year.
pub const MAX_WINDOW_SECONDS: i64 = 366 * 24 * 60 * 60;

/// Statements that a guard may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// CREATE, ALTER, DROP, GRANT, … of anything that is not temporary.
    Ddl,
    /// COPY … FROM or TO PROGRAM.
    CopyProgram,
    /// COPY … TO anything.
    CopyTo,
    Listen,
    /// LOCK, and the functions that take advisory locks.
    Lock,
    Do,
    /// Whatever makes a temporary object.
    Temp,
    /// The functions for large objects.
    LargeObjects,
    /// SET, and `set_config()`.
    Set,
}

pub const CLASSES: [Class; 9] = [
    Class::Ddl,
    Class::CopyProgram,
    Class::CopyTo,
    Class::Listen,
    Class::Lock,
    Class::Do,
    Class::Temp,
    Class::LargeObjects,
    Class::Set,
];

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddl => "ddl",
            Self::CopyProgram => "copy_program",
            Self::CopyTo => "copy_to",
            Self::Listen => "listen",
            Self::Lock => "lock",
            Self::Do => "do",
            Self::Temp => "temp",
            Self::LargeObjects => "large_objects",
            Self::Set => "set",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        CLASSES.into_iter().find(|class| class.name() == name)
    }
}

/// What happens to what a rule forbids.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It goes on, and is reported.
    Alert,
    /// It is refused, and reported.
    #[default]
    Block,
}

pub const ACTIONS: [Action; 2] = [Action::Alert, Action::Block];

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Block => "block",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "alert" => Some(Self::Alert),
            "block" => Some(Self::Block),
            _ => None,
        }
    }
}

/// So many rows in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub rows: u64,
    pub seconds: i64,
}

/// One guard of one role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Class>,
    /// A superuser has set it, so that superusers alone may change it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dba: bool,
}

impl Rule {
    pub fn says_nothing(&self) -> bool {
        self.max_rows.is_none() && self.window.is_none() && self.forbid.is_empty()
    }

    /// Does it guard as the other does, whoever has set either?
    pub fn is_like(&self, other: &Self) -> bool {
        let covers =
            |one: &Self, other: &Self| other.forbid.iter().all(|class| one.forbid.contains(class));
        self.max_rows == other.max_rows
            && self.window == other.window
            && covers(self, other)
            && covers(other, self)
    }
}

/// The label of the provider `scope_roles_guard` on a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guards {
    /// Version of this format.
    pub v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Rule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Rule>,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            v: 1,
            alert: None,
            block: None,
        }
    }
}

impl Guards {
    /// `Err` says why, in a sentence.
    pub fn parse(label: &str) -> Result<Self, String> {
        if label.len() > MAX_BYTES {
            return Err(format!("The label is longer than {MAX_BYTES} bytes."));
        }
        let guards: Self = serde_json::from_str(label).map_err(|error| {
            format!("The label is not the JSON that scope_roles writes: {error}.")
        })?;
        if guards.v != 1 {
            return Err(format!(
                "The label has format version {}; this library knows version 1.",
                guards.v
            ));
        }
        let windows = [&guards.alert, &guards.block];
        let is_possible =
            |window: Window| window.seconds > 0 && window.seconds <= MAX_WINDOW_SECONDS;
        if windows
            .into_iter()
            .flatten()
            .filter_map(|rule| rule.window)
            .all(is_possible)
        {
            Ok(guards)
        } else {
            Err("The label has a window that is not between 1 second and 366 days.".to_owned())
        }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn rule(&self, action: Action) -> Option<&Rule> {
        match action {
            Action::Alert => self.alert.as_ref(),
            Action::Block => self.block.as_ref(),
        }
    }

    pub fn rule_mut(&mut self, action: Action) -> &mut Option<Rule> {
        match action {
            Action::Alert => &mut self.alert,
            Action::Block => &mut self.block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_label_survives_a_round_trip() {
        let guards = Guards {
            alert: Some(Rule {
                forbid: CLASSES.to_vec(),
                ..Rule::default()
            }),
            block: Some(Rule {
                max_rows: Some(u64::MAX),
                window: Some(Window {
                    rows: u64::MAX,
                    seconds: MAX_WINDOW_SECONDS,
                }),
                forbid: CLASSES.to_vec(),
                dba: true,
            }),
            ..Guards::default()
        };
        let text = guards.to_text();
        assert!(text.len() < MAX_BYTES, "{} bytes", text.len());
        assert_eq!(Guards::parse(&text), Ok(guards));
        assert_eq!(Guards::parse("{\"v\":1}"), Ok(Guards::default()));
    }

    #[test]
    fn guard_labels_of_others_are_refused() {
        for text in [
            "",
            "{}",
            "null",
            "{\"v\":2}",
            "{\"v\":1,\"more\":1}",
            "{\"v\":1,\"block\":{\"forbid\":[\"select\"]}}",
            "{\"v\":1,\"block\":{\"max_rows\":-1}}",
            "{\"v\":1,\"block\":{\"window\":{\"rows\":1,\"seconds\":0}}}",
            "{\"v\":1,\"alert\":{\"window\":{\"rows\":1,\"seconds\":99999999999}}}",
        ] {
            assert!(Guards::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn guard_classes_are_known_by_name() {
        for class in CLASSES {
            assert_eq!(Class::of_name(class.name()), Some(class));
            assert_eq!(
                serde_json::to_string(&class).ok(),
                Some(format!("\"{}\"", class.name()))
            );
        }
        assert_eq!(Class::of_name("select"), None);
    }
}
