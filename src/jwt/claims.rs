//! The registered claims (RFC 7519 section 4.1): read once from a verified payload, judged against
//! a policy as often as the token is used.

use std::borrow::Cow;
use std::fmt;

use base64_simd::URL_SAFE_NO_PAD;

use super::Refusal;
use super::flat::{self, Part, Place};
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

/// The claims of a payload, of whatever type, and where they are in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claims {
    payload: Box<str>,
    /// `None` where a name has escapes: they are then looked for as they come.
    places: Option<Vec<Place>>,
}

impl Claims {
    /// Reads the payload's JSON, strictly.
    pub(super) fn read(payload: String) -> Result<Self, Refusal> {
        let places = match flat::places(&payload) {
            None => places(&payload, &read_object(&payload)?),
            flat => flat,
        };
        Ok(Self {
            payload: payload.into_boxed_str(),
            places,
        })
    }

    /// The JSON text of a claim.
    fn get(&self, name: &str) -> Option<&str> {
        let Some(places) = &self.places else {
            return json::find(&self.payload, name);
        };
        // Most are told apart by their lengths.
        let is_as_long = |(start, end): Part| usize::from(end - start) == name.len();
        let place = (places.iter())
            .find(|place| is_as_long(place.name) && self.part(place.name) == name)?;
        Some(self.part(place.value))
    }

    /// Looks at each claim: its name, and its JSON text.
    fn each<'a>(
        &'a self,
        mut look: impl FnMut(&str, &'a str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match &self.places {
            Some(places) => places
                .iter()
                .try_for_each(|place| look(self.part(place.name), self.part(place.value))),
            None => {
                json::members(&self.payload).try_for_each(|member| look(&member.name, member.value))
            }
        }
    }

    #[inline]
    fn part(&self, (start, end): Part) -> &str {
        let range = usize::from(start)..usize::from(end);
        self.payload.get(range).unwrap_or_default()
    }

    /// `iss`, of a payload that nobody has verified yet.
    pub(super) fn issuer(&self) -> Result<Option<Cow<'_, str>>, Refusal> {
        self.get("iss")
            .map(|value| string("iss", value))
            .transpose()
    }
}

/// The claims of a token whose signature was verified. All times are microseconds since the Unix
/// epoch, rounded down, and saturate at the ends of `i64`.
///
/// `Debug` shows the times alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    claims: Claims,
    /// `exp`, without leeway.
    pub expires_at: Option<i64>,
    /// `iat`.
    pub issued_at: Option<i64>,
    /// `nbf`.
    pub not_before: Option<i64>,
}

impl Verified {
    /// Takes claims that have the types of RFC 7519 section 4.1.
    pub(super) fn of(claims: Claims) -> Result<Self, Refusal> {
        let [mut expires_at, mut issued_at, mut not_before] = [None; 3];
        claims.each(|name, value| {
            match name {
                "exp" => expires_at = Some(date("exp", value)?),
                "iat" => issued_at = Some(date("iat", value)?),
                "nbf" => not_before = Some(date("nbf", value)?),
                "iss" => drop(string("iss", value)?),
                "sub" => identifier("sub", value)?,
                "jti" => identifier("jti", value)?,
                "aud" => audience(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self {
            claims,
            expires_at,
            issued_at,
            not_before,
        })
    }

    /// The payload's JSON text, as signed. It has no NUL.
    pub fn payload(&self) -> &str {
        &self.claims.payload
    }

    /// The JSON text of a claim, by its name.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<Cow<'_, str>> {
        self.text("iss")
    }

    /// `sub`.
    pub fn subject(&self) -> Option<Cow<'_, str>> {
        self.text("sub")
    }

    /// `jti`.
    pub fn token_id(&self) -> Option<Cow<'_, str>> {
        self.text("jti")
    }

    /// `azp`, if it is a string.
    pub fn authorized_party(&self) -> Option<Cow<'_, str>> {
        self.text("azp")
    }

    /// `client_id`, if it is a string.
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.text("client_id")
    }

    /// Who acts for the subject (`act`, RFC 8693 section 4.1), by their `sub`: the current actor first, whom it acts for last.
    pub fn actors(&self) -> Vec<String> {
        let chain = chain(self.claim("act"));
        let names = chain.filter_map(|actor| json::find(actor, "sub").and_then(json::string));
        names.map(Cow::into_owned).collect()
    }

    /// What `cnf` (RFC 7800) binds the token to.
    ///
    /// # Errors
    /// `claim_type`: it is no object, or its `x5t#S256` (RFC 8705 section 3.1) no digest.
    pub fn confirmation(&self) -> Result<Confirmation, Refusal> {
        let Some(cnf) = self.claim("cnf") else {
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

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        json::string(self.claim(name)?)
    }

    /// Does `aud`, whichever form it has, name one of these?
    fn is_meant_for(&self, audiences: &[String]) -> bool {
        let named = |value| {
            json::string(value)
                .is_some_and(|name| audiences.iter().any(|audience| *audience == name))
        };
        self.claim("aud")
            .is_some_and(|aud| named(aud) || json::elements(aud).any(named))
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

/// Where the members of the payload are; `None` when one of them is not there as it is called.
fn places(payload: &str, members: &[json::Member<'_>]) -> Option<Vec<Place>> {
    let mut places = Vec::with_capacity(members.len());
    for member in members {
        let Cow::Borrowed(name) = member.name else {
            return None;
        };
        places.push(Place {
            name: part(payload, name)?,
            value: part(payload, member.value)?,
        });
    }
    Some(places)
}

fn part(text: &str, part: &str) -> Option<Part> {
    let place = json::place(text, part);
    Some((place.start.try_into().ok()?, place.end.try_into().ok()?))
}

fn string<'a>(claim: &'static str, value: &'a str) -> Result<Cow<'a, str>, Refusal> {
    json::string(value).ok_or(Refusal::ClaimType {
        claim,
        expected: "a string",
    })
}

/// A string that is short enough to be revoked.
fn identifier(claim: &'static str, value: &str) -> Result<(), Refusal> {
    // No string is longer than its JSON text.
    if json::is_string(value) && value.len() <= MAX_ID_BYTES {
        return Ok(());
    }
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
    let is_list = || value.starts_with('[') && json::elements(value).all(json::is_string);
    if json::is_string(value) || is_list() {
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
        Verified::of(Claims::read(payload.to_owned())?)
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

    #[test]
    fn claims_are_found_by_their_names() {
        for (payload, names) in [
            (
                r#"{ "" : 1 , "a":{"b":[2]}, "ab" :"x\"", "é":null }"#,
                &["", "a", "ab", "é"][..],
            ),
            (
                r#"{"\u0061":1,"b":2,"a\\":3,"\"":4}"#,
                &["a", "b", "a\\", "\""],
            ),
            ("{}", &[]),
        ] {
            let verified = claims(payload).unwrap();
            for name in names {
                let found = verified.claim(name);
                assert!(
                    found.is_some() && found == json::find(payload, name),
                    "{name}"
                );
            }
            for name in ["b\":[", "u0061", "\\u0061", "1", "é\0", "{"] {
                assert_eq!(verified.claim(name), None, "{payload} {name}");
            }
        }
        let long = format!(r#"{{"a":"{}","b":1}}"#, "x".repeat(70_000));
        assert_eq!(claims(&long).unwrap().claim("b"), Some("1"));
    }

    proptest! {
        #[test]
        fn claims_are_found_where_a_reader_finds_them(
            members in prop::collection::btree_map("[^\0]{0,3}", any::<Option<String>>(), 0..20),
            other in "[^\0]{0,3}",
        ) {
            let payload = serde_json::to_string(&members).unwrap();
            if let Ok(verified) = claims(&payload) {
                for name in members.keys().chain([&other]) {
                    prop_assert_eq!(verified.claim(name), json::find(&payload, name));
                }
            }
        }

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
