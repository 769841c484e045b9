//! May two who act be one person? Where it can't be told, they are. Pure.
#![forbid(unsafe_code)]

use super::Person;

const SUBJECT: &str = "it is the same subject";
const LOGIN: &str = "it is the same login";
const MEMBER: &str = "one of the two logins is a member of the other";
const ISSUED: &str =
    "one of the two logins was issued by the other, or by a role that the other can act as";
const SAME_ISSUER: &str = "one role has issued both logins";

/// Why one may be the other. `is_member`: by whatever chain, a role is a member of itself.
pub fn why_same(
    one: &Person,
    other: &Person,
    is_member: &impl Fn(u32, u32) -> bool,
) -> Option<&'static str> {
    let names =
        |of: &Person| -> Vec<String> { of.subject.iter().chain(&of.others).cloned().collect() };
    let theirs = names(other);
    if names(one).iter().any(|name| theirs.contains(name)) {
        return Some(SUBJECT);
    }
    if one.subject.is_some() && other.subject.is_some() {
        // They may well share a login and its role.
        return None;
    }
    if one.login == other.login {
        return Some(LOGIN);
    }
    if is_member(one.login, other.login) || is_member(other.login, one.login) {
        return Some(MEMBER);
    }
    let issued = |this: &Person, that: &Person| {
        // A login with a subject is not whoever has made the login that all of them use.
        this.subject.is_none()
            && (this.issued_by.iter()).any(|&by| {
                is_member(that.login, by) || (that.subject.is_some() && is_member(that.role, by))
            })
    };
    if issued(one, other) || issued(other, one) {
        return Some(ISSUED);
    }
    let both = one.subject.is_none() && other.subject.is_none();
    (both && one.issued_by.iter().any(|by| other.issued_by.contains(by))).then_some(SAME_ISSUER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u32 = 1;
    const BOB: u32 = 2;
    const DBA: u32 = 3;
    const LOGIN_OF_ALICE: u32 = 4;
    const LOGIN_OF_DBA: u32 = 5;
    const AUTHENTICATOR: u32 = 6;
    const WEB: u32 = 7;

    fn login(login: u32, issued_by: &[u32]) -> Person {
        Person {
            login,
            role: login,
            issued_by: issued_by.to_vec(),
            ..Person::default()
        }
    }

    fn subject(subject: &str) -> Person {
        Person {
            login: AUTHENTICATOR,
            role: WEB,
            subject: Some(subject.into()),
            issued_by: vec![DBA],
            ..Person::default()
        }
    }

    fn same(one: &Person, other: &Person) -> bool {
        // Alice and Bob are DBAs; subjects act as WEB by the authenticator.
        let members = [(ALICE, DBA), (BOB, DBA), (AUTHENTICATOR, WEB)];
        let is_member =
            |member: u32, role: u32| member == role || members.contains(&(member, role));
        let found = why_same(one, other, &is_member);
        assert_eq!(found.is_some(), why_same(other, one, &is_member).is_some());
        found.is_some()
    }

    #[test]
    fn same_person_by_login_and_subject() {
        assert!(same(&login(ALICE, &[]), &login(ALICE, &[])));
        assert!(!same(&login(ALICE, &[]), &login(BOB, &[])));
        assert!(same(&login(ALICE, &[]), &login(DBA, &[])));
        assert!(same(&subject("x"), &subject("x")));
        assert!(!same(&subject("x"), &subject("y")));
        assert!(!same(&subject("x"), &login(ALICE, &[])));
        let robot = Person {
            others: vec!["x".into()],
            ..subject("robot")
        };
        assert!(same(&subject("x"), &robot));
    }

    #[test]
    fn same_person_by_who_has_issued_the_login() {
        let of_alice = login(LOGIN_OF_ALICE, &[ALICE]);
        let of_dba = login(LOGIN_OF_DBA, &[DBA]);
        assert!(same(&login(ALICE, &[]), &of_alice));
        assert!(!same(&login(BOB, &[]), &of_alice));
        assert!(same(&login(BOB, &[]), &of_dba));
        assert!(same(&of_dba, &login(LOGIN_OF_ALICE, &[DBA])));
        assert!(same(&subject("x"), &login(LOGIN_OF_ALICE, &[WEB])));
        assert!(!same(&subject("x"), &of_dba));
    }
}
