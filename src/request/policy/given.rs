//! A policy as people write it, for `scope.create_request_policy()` and in specs: roles by name, durations as PostgreSQL reads intervals. Pure.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    pub role: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub n: usize,
}

/// When nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auto {
    pub max_duration: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_of: Option<String>,
}

/// What is left out is as the function has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub targets: Vec<String>,
    pub requesters: Vec<String>,
    pub approvals: Vec<Approval>,
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub require: String,
    #[serde(default = "a_shift", skip_serializing_if = "is_a_shift")]
    pub max_duration: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_duration: Option<String>,
    #[serde(default = "a_day", skip_serializing_if = "is_a_day")]
    pub pending_for: String,
    /// `None`, null: none is asked for.
    #[serde(default = "some_text", skip_serializing_if = "is_some_text")]
    pub reason_pattern: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub ticket_required: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<Auto>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<String>,
    #[serde(default = "membership", skip_serializing_if = "is_membership")]
    pub kind: String,
}

impl Given {
    /// One that says nothing: every attribute as it is when it is not given.
    pub fn of_nothing() -> Self {
        Self {
            kind: membership(),
            targets: Vec::new(),
            requesters: Vec::new(),
            approvals: Vec::new(),
            require: all(),
            max_duration: a_shift(),
            default_duration: None,
            pending_for: a_day(),
            reason_pattern: some_text(),
            ticket_required: false,
            hours: Vec::new(),
            time_zone: None,
            auto_approve: None,
            break_glass: Vec::new(),
        }
    }

    /// Each role that it names, with the place of the name.
    pub fn roles(&self) -> impl Iterator<Item = (String, &String)> {
        let lists = [
            ("targets", &self.targets),
            ("requesters", &self.requesters),
            ("break_glass", &self.break_glass),
        ];
        let listed = lists.into_iter().flat_map(|(key, list)| {
            let places = list.iter().enumerate();
            places.map(move |(index, role)| (format!("{key}/{index}"), role))
        });
        let approvals = self.approvals.iter().enumerate();
        let approvals =
            approvals.map(|(index, one)| (format!("approvals/{index}/role"), &one.role));
        let member_of = self.auto_approve.iter().flat_map(|auto| &auto.member_of);
        let member_of = member_of.map(|role| ("auto_approve/member_of".to_owned(), role));
        listed.chain(approvals).chain(member_of)
    }
}

/// `7200` is `2 hours`.
pub fn interval(seconds: i64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let fits = |&(unit, _): &(i64, &str)| seconds != 0 && seconds % unit == 0;
    let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

fn all() -> String {
    "all".into()
}

fn is_all(text: &str) -> bool {
    text == "all"
}

fn membership() -> String {
    "membership".into()
}

fn is_membership(text: &str) -> bool {
    text == "membership"
}

fn a_shift() -> String {
    "8 hours".into()
}

fn is_a_shift(text: &str) -> bool {
    text == "8 hours"
}

fn a_day() -> String {
    "1 day".into()
}

fn is_a_day(text: &str) -> bool {
    text == "1 day"
}

fn some_text() -> Option<String> {
    Some("\\S".into())
}

fn is_some_text(pattern: &Option<String>) -> bool {
    pattern.as_deref() == Some("\\S")
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn request_policies_are_written_short() {
        let short = r#"{"targets":["a"],"requesters":["b"],"approvals":[{"role":"c"}]}"#;
        let given: Given = serde_json::from_str(short).unwrap();
        assert_eq!(given.reason_pattern.as_deref(), Some("\\S"));
        assert_eq!(serde_json::to_string(&given).unwrap(), short);
        let whole = r#"{"targets":["a"],"requesters":["b"],"approvals":[{"role":"c","n":2}],"require":"any","max_duration":"2 hours","default_duration":"1 hour","pending_for":"1 hour","reason_pattern":null,"ticket_required":true,"hours":["daily 08:00-18:00"],"time_zone":"UTC","auto_approve":{"max_duration":"1 hour","addresses":["10.0.0.0/8"],"hours":["daily 08:00-18:00"],"time_zone":"UTC","member_of":"d"},"break_glass":["e"],"kind":"credential"}"#;
        let given: Given = serde_json::from_str(whole).unwrap();
        assert_eq!(serde_json::to_string(&given).unwrap(), whole);
        let roles: Vec<(String, String)> =
            given.roles().map(|(at, role)| (at, role.clone())).collect();
        let roles: Vec<String> = roles
            .into_iter()
            .map(|(at, role)| format!("{at} {role}"))
            .collect();
        assert_eq!(
            roles,
            [
                "targets/0 a",
                "requesters/0 b",
                "break_glass/0 e",
                "approvals/0/role c",
                "auto_approve/member_of d"
            ]
        );
    }

    #[test]
    fn request_durations_are_written_in_the_largest_unit_that_fits() {
        for (seconds, text) in [
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (5_400, "90 minutes"),
            (7_200, "2 hours"),
            (86_400, "1 day"),
            (90_061, "90061 seconds"),
        ] {
            assert_eq!(interval(seconds), text);
        }
    }
}
