//! What whoever makes or widens a scope is told of it.

use super::planned::Planned;
use super::privilege::Privilege;
use super::request::Request;
use crate::error;

/// What whoever made the call is to know of it.
pub fn tell(request: &Request, planned: &Planned) {
    tell_uncovered(planned);
    tell_planting(request);
}

/// Some privileges are more than they look.
fn tell_planting(request: &Request) {
    let words: Vec<&str> = request
        .verbs
        .that_plant_code()
        .into_iter()
        .map(Privilege::word)
        .collect();
    if !words.is_empty() {
        error::notice(
            format!(
                "{} lets the login leave code that others run",
                words.join(", ")
            ),
            "A trigger (TRIGGER) runs as whoever writes to the table, its owner and superusers too; a foreign key (REFERENCES) acts on \
             each change to the table that it names; a function or an operator (CREATE) can be taken for another by whoever has the \
             schema in their search_path. They stay when the login has ended.",
            Some("scope.review() finds what has been given, and triggers that others have left."),
        );
    }
}

/// Promises nothing about the tables of roles for whom the caller may not speak.
fn tell_uncovered(planned: &Planned) {
    if !planned.uncovered.is_empty() {
        error::notice(
            "future tables of some roles are not covered".to_owned(),
            &format!(
                "Only {} and superusers can set their default privileges.",
                planned.uncovered.join(", ")
            ),
            None,
        );
    }
}
