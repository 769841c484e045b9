//! The registered claims (RFC 7519 section 4.1): read once from a verified payload, judged against
//! a policy as often as the token is used.

use std::borrow::Cow;
use std::ffi::CString;
use std::fmt;
use std::ops::Range;

use base64_simd::URL_SAFE_NO_PAD;

use super::Refusal;
use super::json::{self, JsonError};
use super::numeric_date::{MICROSECONDS, is_in_another_unit, numeric_date};

/// What can be revoked has an entry in an index, which holds no more.
pub const MAX_ID_BYTES: usize = 1_024;

/// What a token must satisfy beyond its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `iss` must equal this, when given.
    pub issuer: Option<String>,
    /// `aud` must name one of these; when empty, `aud` is not looked at.
    pub audiences: Vec<String>,
    /// The algorithms that are accepted; when empty, all that the key allows.
    pub algorithms: Vec<super::Algorithm>,
    /// The types of tokens that are accepted; when empty, `typ` is not looked at.
    pub types: Vec<super::TokenType>,
    /// Tolerance for clocks that differ, in seconds, for `exp`, `nbf` and `iat`; negative means 0.
    pub leeway: i64,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
    /// The greatest age since `iat`, in seconds; `iat` is then required.
    pub max_age: Option<i64>,
}

/// The claims of a token whose signature was verified. All times are microseconds since the Unix
/// epoch, rounded down, and saturate at the ends of `i64`.
///
/// `Debug` shows the times alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    /// The payload's JSON text, as signed; UTF-8.
    pub payload: CString,
    /// `exp`, without leeway.
    pub expires_at: Option<i64>,
    /// `iat`.
    pub issued_at: Option<i64>,
    /// `nbf`.
    pub not_before: Option<i64>,
    /// Where in the payload these are, as JSON of the right type: a kept token is in few pieces.
    issuer: Option<Range<usize>>,
    subject: Option<Range<usize>>,
    token_id: Option<Range<usize>>,
    audience: Option<Range<usize>>,
    confirmation: Option<Range<usize>>,
    actor: Option<Range<usize>>,
    authorized_party: Option<Range<usize>>,
    client_id: Option<Range<usize>>,
}

impl Verified {
    /// Reads the claims of a payload, with the types of RFC 7519 section 4.1.
    pub(super) fn read(payload: String) -> Result<Self, Refusal> {
        let mut claims = Self {
            payload: CString::default(),
            expires_at: None,
            issued_at: None,
            not_before: None,
            issuer: None,
            subject: None,
            token_id: None,
            audience: None,
            confirmation: None,
            actor: None,
            authorized_party: None,
            client_id: None,
        };
        for member in read_object(&payload)? {
            let value = member.value;
            let place = || json::place(&payload, value);
            match member.name.as_ref() {
                "exp" => claims.expires_at = Some(date("exp", value)?),
                "iat" => claims.issued_at = Some(date("iat", value)?),
                "nbf" => claims.not_before = Some(date("nbf", value)?),
                "iss" => {
                    string("iss", value)?;
                    claims.issuer = Some(place());
                }
                "sub" => {
                    identifier("sub", value)?;
                    claims.subject = Some(place());
                }
                "jti" => {
                    identifier("jti", value)?;
                    claims.token_id = Some(place());
                }
                "aud" => {
                    audience(value)?;
                    claims.audience = Some(place());
                }
                "cnf" => claims.confirmation = Some(place()),
                "act" => claims.actor = Some(place()),
                "azp" => claims.authorized_party = Some(place()),
                "client_id" => claims.client_id = Some(place()),
                _ => {}
            }
        }
        // Strict JSON has no NUL.
        claims.payload = CString::new(payload).map_err(|_| NUL)?;
        Ok(claims)
    }

    /// The payload's JSON text, as signed.
    pub fn payload(&self) -> &str {
        self.payload.to_str().unwrap_or_default()
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<Cow<'_, str>> {
        self.text(&self.issuer)
    }

    /// `sub`.
    pub fn subject(&self) -> Option<Cow<'_, str>> {
        self.text(&self.subject)
    }

    /// `jti`.
    pub fn token_id(&self) -> Option<Cow<'_, str>> {
        self.text(&self.token_id)
    }

    /// `azp`, if it is a string.
    pub fn authorized_party(&self) -> Option<Cow<'_, str>> {
        self.text(&self.authorized_party)
    }

    /// `client_id`, if it is a string.
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.text(&self.client_id)
    }

    /// Who acts for the subject (`act`, RFC 8693 section 4.1), by their `sub`: the current actor first, whom it acts for last.
    pub fn actors(&self) -> Vec<String> {
        let chain = chain(self.json(&self.actor));
        let names = chain.filter_map(|actor| json::find(actor, "sub").and_then(json::string));
        names.map(Cow::into_owned).collect()
    }

    /// What `cnf` (RFC 7800) binds the token to.
    ///
    /// # Errors
    /// `claim_type`: it is no object, or its `x5t#S256` (RFC 8705 section 3.1) no digest.
    pub fn confirmation(&self) -> Result<Confirmation, Refusal> {
        let Some(cnf) = self.json(&self.confirmation) else {
            return Ok(Confirmation::None);
        };
        if !cnf.starts_with('{') {
            return Err(CNF);
        }
        let Some(digest) = json::find(cnf, "x5t#S256") else {
            return Ok(Confirmation::Other);
        };
        let digest = json::string(digest).ok_or(CNF)?;
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(digest.as_bytes()).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Confirmation::Certificate)
            .ok_or(CNF)
    }

    /// Does `aud`, whichever form it has, name one of these?
    fn is_meant_for(&self, audiences: &[String]) -> bool {
        let named = |value| {
            json::string(value)
                .is_some_and(|name| audiences.iter().any(|audience| *audience == name))
        };
        self.json(&self.audience)
            .is_some_and(|aud| named(aud) || json::elements(aud).any(named))
    }

    fn text(&self, place: &Option<Range<usize>>) -> Option<Cow<'_, str>> {
        json::string(self.json(place)?)
    }

    fn json(&self, place: &Option<Range<usize>>) -> Option<&str> {
        self.payload().get(place.clone()?)
    }

    /// Judges the claims at `now`, in microseconds since the Unix epoch. To be called at every use
    /// of a token that is kept: it is what makes a kept token expire.
    ///
    /// # Errors
    /// The first rule of RFC 7519 section 4.1 or of the policy that the claims break.
    pub fn check(&self, policy: &Policy, now: i64) -> Result<(), Refusal> {
        let leeway = policy.leeway.max(0).saturating_mul(MICROSECONDS);
        match self.expires_at {
            Some(exp) if now >= exp.saturating_add(leeway) => return Err(Refusal::Expired),
            None if policy.require_exp => return Err(Refusal::MissingExp),
            _ => {}
        }
        if self
            .not_before
            .is_some_and(|nbf| now < nbf.saturating_sub(leeway))
        {
            return Err(Refusal::NotYetValid);
        }
        if self
            .issued_at
            .is_some_and(|iat| now < iat.saturating_sub(leeway))
        {
            return Err(Refusal::IssuedInFuture);
        }
        if let Some(age) = policy.max_age {
            let iat = self.issued_at.ok_or(Refusal::MissingIat)?;
            let limit = age.saturating_mul(MICROSECONDS).saturating_add(leeway);
            if now >= iat.saturating_add(limit) {
                return Err(Refusal::TooOld);
            }
        }
        if policy.issuer.is_some() && self.issuer().as_deref() != policy.issuer.as_deref() {
            return Err(Refusal::Issuer);
        }
        if !policy.audiences.is_empty() && !self.is_meant_for(&policy.audiences) {
            return Err(Refusal::Audience);
        }
        Ok(())
    }
}

const CNF: Refusal = Refusal::ClaimType {
    claim: "cnf",
    expected: "an object, and its x5t#S256 a SHA-256 digest in base64url",
};

/// What a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    None,
    /// The certificate with this SHA-256.
    Certificate([u8; 32]),
    /// Something else.
    Other,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("expires_at", &self.expires_at)
            .field("issued_at", &self.issued_at)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}

/// An actor, and those whom it acts for.
fn chain(actor: Option<&str>) -> impl Iterator<Item = &str> {
    fn object(value: &&str) -> bool {
        value.starts_with('{')
    }
    std::iter::successors(actor.filter(object), |&actor| {
        json::find(actor, "act").filter(object)
    })
}

/// The `sub` of the innermost actor of a payload that was verified; `None` without one.
pub fn innermost_actor(payload: &str) -> Option<String> {
    let innermost = chain(json::find(payload, "act")).last()?;
    json::string(json::find(innermost, "sub")?).map(Cow::into_owned)
}

/// The `iss` of a payload that nobody has verified yet.
pub(super) fn issuer(payload: &str) -> Result<Option<String>, Refusal> {
    read_object(payload)?
        .iter()
        .find(|member| member.name == "iss")
        .map(|member| string("iss", member.value).map(Cow::into_owned))
        .transpose()
}

fn read_object(payload: &str) -> Result<Vec<json::Member<'_>>, Refusal> {
    // As in the header.
    if payload.starts_with(|first: char| first.is_ascii_whitespace()) {
        return Err(Refusal::Malformed("the payload begins with white space"));
    }
    json::object(payload).map_err(|error| match error {
        JsonError::Syntax => Refusal::Malformed("the payload is not JSON"),
        JsonError::NotObject => Refusal::Malformed("the payload is not a JSON object"),
        JsonError::Duplicate => Refusal::DuplicateClaim,
        JsonError::Nul => NUL,
        JsonError::TooDeep => Refusal::Malformed("the payload is nested deeper than 32 levels"),
    })
}

const NUL: Refusal = Refusal::Malformed("the payload contains a NUL character");

fn string<'a>(claim: &'static str, value: &'a str) -> Result<Cow<'a, str>, Refusal> {
    json::string(value).ok_or(Refusal::ClaimType {
        claim,
        expected: "a string",
    })
}

/// A string that is short enough to be revoked.
fn identifier(claim: &'static str, value: &str) -> Result<(), Refusal> {
    if string(claim, value)?.len() > MAX_ID_BYTES {
        return Err(Refusal::ClaimLength(claim));
    }
    Ok(())
}

fn date(claim: &'static str, value: &str) -> Result<i64, Refusal> {
    if is_in_another_unit(value) {
        return Err(Refusal::DateUnit(claim));
    }
    numeric_date(value).ok_or(Refusal::ClaimType {
        claim,
        expected: "a number",
    })
}

/// A string or an array of strings.
fn audience(value: &str) -> Result<(), Refusal> {
    let is_list =
        || value.starts_with('[') && json::elements(value).all(|name| json::string(name).is_some());
    if json::string(value).is_some() || is_list() {
        return Ok(());
    }
    Err(Refusal::ClaimType {
        claim: "aud",
        expected: "a string or an array of strings",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000 * MICROSECONDS;

    fn claims(payload: &str) -> Result<Verified, Refusal> {
        Verified::read(payload.to_owned())
    }

    fn judge(payload: &str, policy: &Policy) -> Result<(), Refusal> {
        claims(payload)?.check(policy, NOW)
    }

    #[test]
    fn times_are_judged_with_leeway() {
        let policy = Policy {
            leeway: 30,
            ..Policy::default()
        };
        for (payload, expected) in [
            (r#"{"exp":1001}"#, Ok(())),
            (r#"{"exp":970.000001}"#, Ok(())),
            (r#"{"exp":970}"#, Err(Refusal::Expired)),
            (r#"{"exp":-1}"#, Err(Refusal::Expired)),
            (r#"{"exp":1e400}"#, Ok(())),
            (r#"{"exp":253402300799}"#, Ok(())),
            (r#"{"exp":99999999999999}"#, Ok(())),
            (r#"{"exp":9223372036854775807}"#, Ok(())),
            (r#"{"exp":-1e400}"#, Err(Refusal::Expired)),
            (r#"{"exp":1e-400}"#, Err(Refusal::Expired)),
            (r#"{"nbf":1030}"#, Ok(())),
            (r#"{"nbf":1030.000001}"#, Err(Refusal::NotYetValid)),
            (r#"{"nbf":1e400}"#, Err(Refusal::NotYetValid)),
            (r#"{"nbf":-1e400}"#, Ok(())),
            (r#"{"iat":1030}"#, Ok(())),
            (r#"{"iat":1030.000001}"#, Err(Refusal::IssuedInFuture)),
            (r#"{"iat":1e400}"#, Err(Refusal::IssuedInFuture)),
            (r#"{}"#, Ok(())),
        ] {
            assert_eq!(judge(payload, &policy), expected, "{payload}");
        }
        let strict = Policy::default();
        assert_eq!(judge(r#"{"exp":1000}"#, &strict), Err(Refusal::Expired));
        assert_eq!(judge(r#"{"exp":1000.000001}"#, &strict), Ok(()));
        assert_eq!(judge(r#"{"nbf":1000}"#, &strict), Ok(()));
        let negative = Policy {
            leeway: -1_000_000,
            ..Policy::default()
        };
        assert_eq!(judge(r#"{"exp":1001,"nbf":999}"#, &negative), Ok(()));
    }

    #[test]
    fn exp_and_age_can_be_required() {
        let policy = Policy {
            require_exp: true,
            max_age: Some(60),
            leeway: 1,
            ..Policy::default()
        };
        for (payload, expected) in [
            (r#"{"exp":2000,"iat":1000}"#, Ok(())),
            (r#"{"exp":2000,"iat":939.000001}"#, Ok(())),
            (r#"{"exp":2000,"iat":939}"#, Err(Refusal::TooOld)),
            (r#"{"exp":2000,"iat":-1e400}"#, Err(Refusal::TooOld)),
            (r#"{"exp":2000}"#, Err(Refusal::MissingIat)),
            (r#"{"iat":1000}"#, Err(Refusal::MissingExp)),
        ] {
            assert_eq!(judge(payload, &policy), expected, "{payload}");
        }
    }

    #[test]
    fn extreme_policies_do_not_overflow() {
        for number in [i64::MIN, -1, 0, 1, i64::MAX] {
            let policy = Policy {
                leeway: number,
                max_age: Some(number),
                ..Policy::default()
            };
            for now in [i64::MIN, 0, i64::MAX] {
                for date in ["1e400", "-1e400", "0"] {
                    let payload = format!(r#"{{"exp":{date},"nbf":{date},"iat":{date}}}"#);
                    let _any = claims(&payload).unwrap().check(&policy, now);
                }
            }
        }
    }

    #[test]
    fn audience_and_issuer() {
        let policy = Policy {
            issuer: Some("joe".into()),
            audiences: vec!["db".into(), "api".into()],
            ..Policy::default()
        };
        for (payload, expected) in [
            (r#"{"iss":"joe","aud":"db"}"#, Ok(())),
            (r#"{"iss":"joe","aud":["x","api"]}"#, Ok(())),
            (r#"{"iss":"joe","aud":["\u0064b"]}"#, Ok(())),
            (r#"{"iss":"joe","aud":"DB"}"#, Err(Refusal::Audience)),
            (r#"{"iss":"joe","aud":"db "}"#, Err(Refusal::Audience)),
            (r#"{"iss":"joe","aud":["x"]}"#, Err(Refusal::Audience)),
            (r#"{"iss":"joe","aud":[]}"#, Err(Refusal::Audience)),
            (r#"{"iss":"joe"}"#, Err(Refusal::Audience)),
            (r#"{"aud":"db"}"#, Err(Refusal::Issuer)),
            (r#"{"iss":"joe/","aud":"db"}"#, Err(Refusal::Issuer)),
            (r#"{"iss":"","aud":"db"}"#, Err(Refusal::Issuer)),
        ] {
            assert_eq!(judge(payload, &policy), expected, "{payload}");
        }
        assert_eq!(
            judge(r#"{"iss":"x","aud":"y"}"#, &Policy::default()),
            Ok(())
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        for (claim, values) in [
            ("exp", &[r#""1""#, "null", "true", "[]", "{}", "\"\""][..]),
            ("nbf", &[r#""1""#, "null", "false", "[1]", "{}"]),
            ("iat", &[r#""1""#, "null", "true", "[]", "{}"]),
            ("iss", &["1", "null", "true", "[]", r#"["joe"]"#, "{}"]),
            ("sub", &["1", "null", "true", "[]", "{}"]),
            ("jti", &["1", "null", "true", "[]", "{}"]),
            (
                "aud",
                &[
                    "1",
                    "null",
                    "true",
                    "{}",
                    "[1]",
                    r#"["a",null]"#,
                    r#"[["a"]]"#,
                ],
            ),
        ] {
            for value in values {
                let payload = format!(r#"{{"{claim}":{value}}}"#);
                let refusal = claims(&payload).unwrap_err();
                assert_eq!(refusal.reason(), "claim_type", "{payload}");
                assert!(refusal.to_string().contains(claim), "{payload}");
            }
        }
    }

    #[test]
    fn payloads_must_be_strict_objects() {
        let deep = |levels: usize| {
            format!(
                r#"{{"a":{}{}}}"#,
                "[".repeat(levels - 1),
                "]".repeat(levels - 1)
            )
        };
        assert!(claims(&deep(32)).is_ok());
        for (payload, reason) in [
            (deep(33), "malformed"),
            (deep(30_000), "malformed"),
            ("[]".into(), "malformed"),
            ("\"x\"".into(), "malformed"),
            ("null".into(), "malformed"),
            ("".into(), "malformed"),
            ("{".into(), "malformed"),
            ("{}{}".into(), "malformed"),
            ("{} x".into(), "malformed"),
            ("\u{feff}{}".into(), "malformed"),
            (r#"{"a":1,}"#.into(), "malformed"),
            (r#" {"a":1}"#.into(), "malformed"),
            (r#"{a:1}"#.into(), "malformed"),
            (r#"{'a':1}"#.into(), "malformed"),
            (r#"{"a":01}"#.into(), "malformed"),
            (r#"{"a":1.}"#.into(), "malformed"),
            (r#"{"a":.5}"#.into(), "malformed"),
            (r#"{"a":+1}"#.into(), "malformed"),
            (r#"{"a":NaN}"#.into(), "malformed"),
            (r#"{"a":"\ud800"}"#.into(), "malformed"),
            (r#"{"a":"\udc00\ud800"}"#.into(), "malformed"),
            (r#"{"a":"\u0000"}"#.into(), "malformed"),
            (r#"{"a":["x",{"\u0000":1}]}"#.into(), "malformed"),
            ("{\"a\":\"\0\"}".into(), "malformed"),
            ("{\"a\":\"\n\"}".into(), "malformed"),
            (r#"{"a":"\x"}"#.into(), "malformed"),
            (r#"{"exp":1,"exp":1}"#.into(), "duplicate_claim"),
            (r#"{"exp":1,"\u0065xp":2}"#.into(), "duplicate_claim"),
            (r#"{"a":{"b":1,"c":2,"b":3}}"#.into(), "duplicate_claim"),
            (r#"{"a":[[{"b":1,"b":1}]]}"#.into(), "duplicate_claim"),
            (r#"{"":1,"":2}"#.into(), "duplicate_claim"),
        ] {
            assert_eq!(claims(&payload).unwrap_err().reason(), reason);
        }
        let pair = claims(r#"{ "sub" : "\ud83d\ude00\"\\\/" } "#).unwrap();
        assert_eq!(pair.subject().as_deref(), Some("😀\"\\/"));
        assert!(claims(r#"{"a":{"b":1},"c":{"b":1},"A":1}"#).is_ok());
    }

    #[test]
    fn debug_does_not_show_the_claims() {
        let debug = format!("{:?}", claims(r#"{"sub":"alice","exp":1}"#).unwrap());
        assert!(
            !debug.contains("alice") && debug.contains("1000000"),
            "{debug}"
        );
    }

    proptest! {
        #[test]
        fn payloads_never_panic(text in any::<String>(), now in any::<i64>()) {
            if let Ok(claims) = claims(&text) {
                let _any = claims.check(&Policy::default(), now);
            }
        }

        #[test]
        fn nearly_json_never_panics(text in r#"[{}\[\]",:0-9a-eu\\ .-]{0,60}"#) {
            // What we accept, the library accepts, with the same meaning.
            if claims(&text).is_ok() {
                let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(json::tree(text.trim()), Some(theirs));
            }
        }
    }
}
