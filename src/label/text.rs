//! The text of a label. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admission::Rules;
use crate::bytes;
use crate::timestamp;

/// PostgreSQL can't read a compressed or moved-out label during login, so it must stay small
/// (docs/design.md, "What we know of a role is a security label on it").
pub const MAX_BYTES: usize = 1_500;
/// Of this a purpose takes no more.
pub const MAX_PURPOSE_BYTES: usize = 200;
const MAX_ERROR_CHARACTERS: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A NOLOGIN role that holds grants.
    Scope,
    /// A LOGIN role, member of scopes, with a deadline.
    Credential,
    /// A LOGIN role that acts only through tokens.
    Authenticator,
    /// A NOLOGIN role between a role and a person's own login: a membership with a deadline.
    Temporary,
    /// A NOLOGIN role that holds several others for the tokens that give these together.
    Composite,
    /// A login that is not ours: the label holds rules for it, and nothing else about it is ours.
    Guarded,
}

impl Kind {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Credential => "credential",
            Self::Authenticator => "authenticator",
            Self::Temporary => "temporary membership",
            Self::Composite => "composite role",
            Self::Guarded => "guarded login",
        }
    }
}

/// What a temporary membership joins, by OID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temporary {
    pub role: u32,
    pub to: u32,
    /// Since when nobody can take the role through it any more: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// Whose token a login was issued for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    pub sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<String>,
}

impl Token {
    /// Does a label have room for it, beside rules for the login?
    pub fn fits(&self) -> bool {
        const MAX_TOKEN_BYTES: usize = 400;
        serde_json::to_string(self).is_ok_and(|text| text.len() <= MAX_TOKEN_BYTES)
    }
}

/// What a scope is for, by what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It reads, and no more.
    Read,
    /// It may change or execute something.
    Write,
    /// It may create objects.
    Create,
}

/// The databases that have a part of a scope, by OID and by what the scope is for there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    read: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    write: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    create: Vec<u32>,
    /// There are others, for which the label has no room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl Parts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn all(&self) -> impl Iterator<Item = u32> {
        self.lists().into_iter().flat_map(|(_, list)| list).copied()
    }

    /// What the scope is for in a database that has a part.
    pub fn access_in(&self, database: u32) -> Option<Access> {
        let found = self
            .lists()
            .into_iter()
            .find(|(_, list)| list.contains(&database));
        found.map(|(access, _)| access)
    }

    /// The most that it is for in any of them.
    pub fn most(&self) -> Option<Access> {
        let lists = self.lists().into_iter().rev();
        let found = lists.filter(|(_, list)| !list.is_empty());
        found.map(|(access, _)| access).next()
    }

    pub fn set(&mut self, database: u32, access: Access) {
        if self.access_in(database) == Some(access) {
            return;
        }
        self.retain(|other| other != database);
        match access {
            Access::Read => self.read.push(database),
            Access::Write => self.write.push(database),
            Access::Create => self.create.push(database),
        }
    }

    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for list in [&mut self.read, &mut self.write, &mut self.create] {
            list.retain(|&database| keep(database));
        }
    }

    fn lists(&self) -> [(Access, &Vec<u32>); 3] {
        [
            (Access::Read, &self.read),
            (Access::Write, &self.write),
            (Access::Create, &self.create),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Active,
    /// Past its deadline or revoked; its sessions and grants are being ended.
    Ending,
    /// Can't be dropped (it owns objects); disabled until someone decides.
    Quarantined,
}

/// Names are for people; an OID tells whether a name still means the same role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Version of this format.
    pub v: u32,
    pub kind: Kind,
    pub state: State,
    /// When it ends, as the extension has decided: RFC 3339, UTC. Labels of earlier builds do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Of a scope: the most that it is for in any database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Of a scope: a call that issues a login has made it, and makes it again when it is needed; nobody has named it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_request: bool,
    /// The role that asked for this one.
    pub creator: String,
    pub creator_oid: u32,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// The database in which it was made, by its name of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_oid: Option<u32>,
    /// The cluster that all OIDs are of, and the role's own: a restore brings labels to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<u32>,
    /// Was it written here, for this role?
    #[serde(skip)]
    pub is_native: bool,
    /// Of a scope.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// From where, and how, it may log in.
    #[serde(default, skip_serializing_if = "Rules::is_empty")]
    pub login: Rules,
    /// When its password was last changed: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<String>,
    /// The login that has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// The login whose place it has taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Whoever issued it had the right to for a time: it ends no later, and its creator alone does not renew it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
    /// Of a login that was issued for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Of a login that came of a request in its database: the request's number. So have those that take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<i64>,
    /// Why it was revoked, or granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Temporary>,
    /// The reason why the last step of its end failed or must wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of an authenticator: the roles that its tokens may name; empty in labels of before there was
    /// such a list. Of a composite role: those that it holds, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Of an authenticator that has no password: the names of the issuers, in its database, whose tokens take the place of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// Of such a login: how many sessions one subject may have at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_limit: Option<u32>,
    /// Of a credential: the scopes that it was issued with, by name, with their OIDs; empty where they are too many for a label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scopes: BTreeMap<String, u32>,
    /// OIDs of databases that still hold grants to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<u32>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("The label is longer than {MAX_BYTES} bytes.")]
    TooLong,
    #[error("The label is not the JSON that scope_roles writes: {0}.")]
    Json(String),
    #[error("The label has format version {0}; this library knows version 1.")]
    Version(u32),
    #[error("The deadline in the label is not a time.")]
    Deadline,
}

/// The deadline that holds: the earlier of the recorded one and VALID UNTIL. Whoever may ALTER ROLE can
/// shorten a life by hand, not prolong it. Without VALID UNTIL a credential has been tampered with, and
/// has no deadline that anyone could rely on.
pub fn earlier(kind: Kind, recorded: Option<i64>, valid_until: Option<i64>) -> Option<i64> {
    match (recorded, valid_until) {
        (Some(recorded), Some(valid_until)) => Some(recorded.min(valid_until)),
        (Some(recorded), None) if matches!(kind, Kind::Authenticator | Kind::Composite) => {
            Some(recorded)
        }
        (_, valid_until) => valid_until,
    }
}

impl Metadata {
    /// Does a token take the place of its password?
    pub fn logs_in_by_token(&self) -> bool {
        self.kind == Kind::Authenticator && !self.issuers.is_empty()
    }

    pub fn parse(label: &str) -> Result<Self, Invalid> {
        if label.len() > MAX_BYTES {
            return Err(Invalid::TooLong);
        }
        let metadata: Metadata =
            serde_json::from_str(label).map_err(|error| Invalid::Json(error.to_string()))?;
        if metadata.v != 1 {
            return Err(Invalid::Version(metadata.v));
        }
        let is_time = |text: &String| timestamp::parse(text).is_some();
        if !metadata.valid_until.as_ref().is_none_or(is_time) {
            return Err(Invalid::Deadline);
        }
        Ok(metadata)
    }

    /// When it ends, in Unix microseconds, given the role's VALID UNTIL.
    pub fn deadline(&self, valid_until: Option<i64>) -> Option<i64> {
        let recorded = self.valid_until.as_deref();
        let recorded = recorded.map(|text| timestamp::parse(text).unwrap_or(i64::MIN));
        earlier(self.kind, recorded, valid_until)
    }

    /// The same with another deadline.
    #[must_use]
    pub fn until(&self, deadline: Option<i64>) -> Self {
        Self {
            valid_until: deadline
                .filter(|&deadline| deadline != i64::MAX)
                .map(timestamp::rfc3339),
            ..self.clone()
        }
    }

    /// Can all of it be kept?
    pub fn fits(&self) -> bool {
        serde_json::to_string(self).is_ok_and(|text| text.len() <= MAX_BYTES)
    }

    /// How many bytes too long it would be when its end has come, without what can be given up.
    pub fn excess(&self) -> usize {
        const MAX_MORE: usize = 100;
        (self.to_text().len() + MAX_MORE).saturating_sub(MAX_BYTES)
    }

    /// Always at most [`MAX_BYTES`] for a purpose within its own limit: the error is cut.
    pub fn to_text(&self) -> String {
        let mut metadata = self.clone();
        metadata.error = metadata
            .error
            .map(|error| cut(&error, MAX_ERROR_CHARACTERS));
        // All databases read the label: what is for people is UTF-8 throughout.
        for text in [
            &mut metadata.purpose,
            &mut metadata.reason,
            &mut metadata.error,
        ] {
            *text = text.take().map(|text| bytes::shown(&text).into_owned());
        }
        loop {
            let text = serde_json::to_string(&metadata).unwrap_or_default();
            if text.len() <= MAX_BYTES || !shrink(&mut metadata) {
                return text;
            }
        }
    }
}

/// Gives up what matters least; false when nothing is left to give up.
fn shrink(metadata: &mut Metadata) -> bool {
    if metadata
        .error
        .as_ref()
        .is_some_and(|error| !error.is_empty())
    {
        metadata.error = Some(String::new());
    } else if metadata.waits_for.len() > 1 {
        // The worker finds the others again after this one.
        metadata.waits_for.truncate(1);
    } else if metadata.purpose.is_some() {
        metadata.purpose = None;
    } else if metadata.reason.is_some() {
        metadata.reason = None;
    } else {
        return false;
    }
    true
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Metadata {
        Metadata {
            v: 1,
            kind: Kind::Credential,
            state: State::Active,
            valid_until: None,
            access: None,
            on_request: false,
            creator: "alice".into(),
            creator_oid: 16_384,
            created_at: "2026-11-21T08:49:54Z".into(),
            database: Some("app".into()),
            database_oid: Some(16_400),
            system: Some(7_300_000_000_000_000_001),
            oid: Some(16_401),
            is_native: false,
            parts: Parts::default(),
            purpose: None,
            login: Rules::default(),
            rotated_at: None,
            successor: None,
            replaces: None,
            token: None,
            request: None,
            bound: false,
            reason: None,
            temporary: None,
            error: None,
            roles: vec![],
            issuers: vec![],
            subject_limit: None,
            scopes: BTreeMap::new(),
            waits_for: vec![],
        }
    }

    #[test]
    fn label_text_survives_a_round_trip() {
        let metadata = Metadata {
            purpose: Some("quarterly \"report\"\n".into()),
            roles: vec!["a \"b\"".into()],
            scopes: BTreeMap::from([("s \"t\"".into(), 16_390)]),
            waits_for: vec![5, 16_385],
            ..credential()
        };
        assert_eq!(Metadata::parse(&metadata.to_text()), Ok(metadata));
    }

    #[test]
    fn label_keeps_what_a_scope_is_for_in_each_database() {
        let mut parts = Parts::default();
        assert_eq!(parts.most(), None);
        parts.set(5, Access::Write);
        parts.set(6, Access::Create);
        parts.set(5, Access::Read);
        assert_eq!(parts.access_in(5), Some(Access::Read));
        assert_eq!(parts.access_in(6), Some(Access::Create));
        assert_eq!(parts.access_in(7), None);
        assert_eq!(parts.most(), Some(Access::Create));
        parts.retain(|database| database != 6);
        assert_eq!(parts.most(), Some(Access::Read));
        let metadata = Metadata {
            parts,
            ..credential()
        };
        assert_eq!(Metadata::parse(&metadata.to_text()), Ok(metadata));
    }

    #[test]
    fn label_deadline_can_be_shortened_by_hand_but_not_prolonged() {
        let recorded = credential().until(Some(1_700_000_000_123_456));
        for (by_hand, holds) in [
            (Some(i64::MAX), Some(1_700_000_000_123_456)),
            (Some(1_700_000_000_123_457), Some(1_700_000_000_123_456)),
            (Some(1_600_000_000_000_000), Some(1_600_000_000_000_000)),
            (None, None),
        ] {
            assert_eq!(recorded.deadline(by_hand), holds, "{by_hand:?}");
        }
        // Labels of earlier builds: VALID UNTIL alone.
        assert_eq!(credential().deadline(Some(5)), Some(5));
        let authenticator = Metadata {
            kind: Kind::Authenticator,
            ..recorded
        };
        assert_eq!(authenticator.deadline(None), Some(1_700_000_000_123_456));
        let odd = Metadata {
            valid_until: Some("tomorrow".into()),
            ..credential()
        };
        assert_eq!(Metadata::parse(&odd.to_text()), Err(Invalid::Deadline));
    }

    #[test]
    fn label_text_stays_readable_at_login_whatever_it_holds() {
        let metadata = Metadata {
            error: Some("\u{1}".repeat(5_000)),
            purpose: Some("\u{1}".repeat(200)),
            waits_for: (0..1_000).collect(),
            ..credential()
        };
        let text = metadata.to_text();
        assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
        assert_eq!(
            Metadata::parse(&text).map(|metadata| metadata.kind),
            Ok(Kind::Credential)
        );
    }

    #[test]
    fn label_text_of_others_is_refused() {
        for text in [
            "",
            "{}",
            "null",
            "[]",
            "{\"kind\":\"credential\"}",
            "not json",
        ] {
            assert!(
                matches!(Metadata::parse(text), Err(Invalid::Json(_))),
                "{text}"
            );
        }
        let future = credential().to_text().replace("\"v\":1", "\"v\":2");
        assert_eq!(Metadata::parse(&future), Err(Invalid::Version(2)));
        let unknown = credential()
            .to_text()
            .replace("\"v\":1", "\"v\":1,\"superuser\":true");
        assert!(matches!(Metadata::parse(&unknown), Err(Invalid::Json(_))));
        assert_eq!(
            Metadata::parse(&" ".repeat(MAX_BYTES + 1)),
            Err(Invalid::TooLong)
        );
    }
}
