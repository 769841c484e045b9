//! Who acts in this session, and who is behind its login.

use pgrx::pg_sys;

use super::person::Person;
use super::store;
use crate::label::{self, Kind};
use crate::pg::{catalog, identity};
use crate::session::switch_state;

/// In this session, at this moment.
pub fn now() -> Person {
    let mut person = of_login(identity::authenticated_user());
    person.role = identity::current_user().into();
    if let Some(claims) = switch_state::claims() {
        let text = |name| claims.get(name).and_then(serde_json::Value::as_str);
        let actors = std::iter::successors(claims.get("act"), |actor| actor.get("act"));
        let actors = actors.filter_map(|actor| actor.get("sub")?.as_str());
        person.others.extend(person.subject.take());
        person.others.extend(actors.map(str::to_owned));
        person.issuer = text("iss").map(str::to_owned);
        person.subject = text("sub").map(str::to_owned);
        person.unnamed = person.subject.is_none();
    }
    person
}

/// Whose login it is, as far as the extension knows.
pub fn of_login(login: pg_sys::Oid) -> Person {
    let mut person = Person {
        login: login.into(),
        name: catalog::name_of(login),
        role: login.into(),
        ..Person::default()
    };
    let mut next = Some(login);
    while let Some(role) = next.take() {
        let Some(Ok(metadata)) = label::read(role) else {
            break;
        };
        if let Some(asker) = store::asker_of(&metadata) {
            // It was issued because that person has asked for it.
            person.others.extend(asker.subject);
            person.others.extend(asker.others);
            person.issued_by.extend(asker.issued_by);
            person.issued_by.push(asker.login);
        }
        if let Some(token) = metadata.token {
            if role == login {
                person.issuer = token.iss;
                person.subject = Some(token.sub);
            } else {
                person.others.push(token.sub);
            }
            break;
        }
        let creator = metadata.creator_oid;
        if matches!(metadata.kind, Kind::Credential | Kind::Authenticator)
            && creator != 0
            && !person.issued_by.contains(&creator)
        {
            person.issued_by.push(creator);
            next = Some(creator.into());
        }
    }
    person
}
