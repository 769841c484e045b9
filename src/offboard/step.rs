//! One thing of a leave, and what has become of it. Pure.
#![forbid(unsafe_code)]

use zeroize::Zeroizing;

/// One thing that a person has or has made.
pub struct Step {
    pub kind: &'static str,
    pub name: String,
    /// The SQL that does it, for this call or for whoever has to.
    pub action: String,
    pub does: Does,
    pub detail: Option<String>,
}

pub enum Does {
    /// The action runs, as the caller.
    Runs { still: Option<Still> },
    /// The same; it returns a login with a password.
    Rotates,
    /// It is shown, and somebody else's.
    Nothing,
}

/// Why there is something left to do; `None`: it is done, by whatever.
pub type Still = Box<dyn Fn() -> Option<String>>;

impl Step {
    pub fn runs(kind: &'static str, name: impl Into<String>, action: String) -> Self {
        Self {
            kind,
            name: name.into(),
            action,
            does: Does::Runs { still: None },
            detail: None,
        }
    }

    /// It is done when this says so, and not before.
    #[must_use]
    pub fn until(self, still: impl Fn() -> Option<String> + 'static) -> Self {
        Self {
            does: Does::Runs {
                still: Some(Box::new(still)),
            },
            ..self
        }
    }

    pub fn rotates(name: impl Into<String>, action: String) -> Self {
        Self {
            kind: "password",
            name: name.into(),
            action,
            does: Does::Rotates,
            detail: None,
        }
    }

    pub fn shown(
        kind: &'static str,
        name: impl Into<String>,
        action: String,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            action,
            does: Does::Nothing,
            detail: Some(detail.into()),
        }
    }

    #[must_use]
    pub fn with(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }
}

/// A row of the result.
pub struct Row {
    pub step: Step,
    pub done: bool,
    pub detail: Option<String>,
    pub new: Option<NewLogin>,
    /// Somebody else's lock was in the way.
    pub is_locked: bool,
}

pub struct NewLogin {
    pub role: String,
    pub password: Zeroizing<String>,
    pub uri: Zeroizing<String>,
}

/// An interval as SQL has it, in the words that people use.
pub fn interval(months: i32, days: i32, micros: i64) -> String {
    const UNITS: [(i64, &str); 4] = [
        (3_600_000_000, "hours"),
        (60_000_000, "minutes"),
        (1_000_000, "seconds"),
        (1, "microseconds"),
    ];
    let mut parts = Vec::new();
    if months != 0 {
        parts.push(format!("{months} months"));
    }
    if days != 0 {
        parts.push(format!("{days} days"));
    }
    let unit = UNITS.iter().find(|(size, _)| micros % size == 0);
    if let Some((size, unit)) = unit
        && (micros != 0 || parts.is_empty())
    {
        parts.push(format!("{} {unit}", micros / size));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offboard_intervals_read_as_people_write_them() {
        for (parts, text) in [
            ((0, 0, 3_600_000_000), "1 hours"),
            ((0, 0, 5_400_000_000), "90 minutes"),
            ((1, 2, 0), "1 months 2 days"),
            ((0, 0, 0), "0 hours"),
            ((0, 1, -1_500_000), "1 days -1500000 microseconds"),
        ] {
            assert_eq!(interval(parts.0, parts.1, parts.2), text);
        }
    }
}
