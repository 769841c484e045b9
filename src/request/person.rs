//! Who asks and who decides: the token's subject where there is one, else the login; and whether two of them may be the same person.

mod same;

use serde::{Deserialize, Serialize};

use crate::pg::catalog;

pub use same::why_same;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub login: u32,
    /// What the login was called.
    pub name: String,
    /// As which role they have acted.
    pub role: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// By a token that names no subject: it may be anybody's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
    /// Whoever else is behind the session by the names of tokens: who acts for the subject, for whom the login was issued.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// The roles that have issued the login, the one that has issued that one, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued_by: Vec<u32>,
}

impl Person {
    /// Do both stand for one who asked? Then what one has asked for is the other's to take, to change and to withdraw.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.subject, &other.subject) {
            (Some(one), Some(other_one)) => one == other_one && self.issuer == other.issuer,
            (None, None) => !self.unnamed && !other.unnamed && self.login == other.login,
            _ => false,
        }
    }

    /// As people read it.
    pub fn shown(&self) -> &str {
        self.subject.as_deref().unwrap_or(&self.name)
    }
}

/// Why this one may be that one, if so.
pub fn may_be_the_same(one: &Person, other: &Person) -> Option<&'static str> {
    why_same(one, other, &|member, role| is_member(member, role))
}

/// By any chain of memberships; superusers are members of nothing by that alone.
fn is_member(member: u32, role: u32) -> bool {
    let mut seen = vec![member];
    let mut at = 0;
    while let Some(&next) = seen.get(at) {
        if next == role {
            return true;
        }
        at += 1;
        for found in catalog::memberships(next.into()) {
            let found = u32::from(found);
            if !seen.contains(&found) {
                seen.push(found);
            }
        }
    }
    false
}
