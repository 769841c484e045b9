//! What a review looks for among request policies, and what came of them.

use super::check::{Check, Severity};
use super::{Error, Finding, WITH_THE_FIX};
use crate::pg::spi;
use crate::request::policy::{Policy, statement};
use crate::request::standing::{self, Fault};

/// Of this server and database, as policies and requests name it.
macro_rules! here {
    () => {
        "(SELECT format('%s/%s', c.system_identifier, d.oid) FROM pg_control_system() c, pg_database d WHERE d.datname = current_database())"
    };
}

pub const CHECKS: &[Check] = &[
    Check {
        code: "request_unsigned",
        severity: Severity::High,
        stops: "",
        sql: concat!(
            "
SELECT a.rolname::text, format('request %s', r.id), format('has had %I by breaking the glass, and nobody has said since that it was right', r.target),
       to_timestamp(r.active_from / 1000000.0),
       CASE WHEN EXISTS (SELECT FROM _scope.request_policy p WHERE p.name = r.policy)
            THEN format('-- look at what was done then; after that, who could have approved it: SELECT scope.sign(%s, ''what was found'');', r.id)
            ELSE '-- its policy is gone: look at what was done then, and accept the finding' END
  FROM _scope.request r LEFT JOIN pg_authid a ON a.oid = r.login_oid
 WHERE r.break_glass AND NOT r.signed AND r.active_from IS NOT NULL AND r.origin = ",
            here!()
        ),
    },
    Check {
        code: "request_not_adopted",
        severity: Severity::Medium,
        stops: "",
        sql: concat!(
            "
SELECT NULL, format('request policy %I', p.name), 'has come with a copy or a restore: nobody can ask by it until it is adopted', p.changed_at,
       'SELECT * FROM scope.adopt_restored();'
  FROM _scope.request_policy p WHERE p.origin <> ",
            here!()
        ),
    },
    Check {
        code: "request_failed",
        severity: Severity::Low,
        stops: "",
        sql: concat!(
            "
SELECT NULL, format('request policy %I', r.policy),
       format('%s requests of the last 7 days were approved and could not begin, the last because: %s', count(*), (array_agg(r.error ORDER BY l.at DESC))[1]),
       min(l.at), '-- remove what stands in the way; who needs it asks anew'
  FROM scope.request_log l JOIN _scope.request r ON r.id = l.request
 WHERE l.event = 'failed' AND l.at > now() - interval '7 days' AND r.state = 'failed' AND r.origin = ",
            here!(),
            " GROUP BY r.policy"
        ),
    },
];

pub const REQUEST_UNDECIDED: &str = "request_undecided";
pub const REQUEST_UNASKED: &str = "request_unasked";
pub const REQUEST_MUTUAL: &str = "request_mutual";
pub const REQUEST_CREATOR: &str = "request_creator";

pub const CODES: [&str; 4] = [
    REQUEST_UNDECIDED,
    REQUEST_UNASKED,
    REQUEST_MUTUAL,
    REQUEST_CREATOR,
];

pub fn find() -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for (policy, faults) in standing::all()? {
        found.extend(faults.into_iter().map(|fault| told(&policy, fault)));
    }
    Ok(found)
}

fn told(policy: &Policy, fault: Fault) -> Finding {
    let (severity, code, what, fix) = match fault {
        Fault::NobodyIsLeft => (
            Severity::Medium,
            REQUEST_UNDECIDED,
            format!(
                "nobody is left to say yes: it needs {}, and the logins that have these roles are none, too few, or those who ask",
                policy.approvals_in_words()
            ),
            "-- grant an approving role to somebody who does not ask, or name others".to_owned(),
        ),
        Fault::NobodyIsAsked => (
            Severity::Medium,
            REQUEST_UNASKED,
            format!(
                "who may ask gets it at any time, from anywhere, without a yes{WITH_THE_FIX}each request waits for one"
            ),
            asked(policy),
        ),
        Fault::EachOther => (
            Severity::Low,
            REQUEST_MUTUAL,
            "who may say yes may ask as well: two of them say yes to each other".to_owned(),
            "-- name approving roles that do not ask, or accept it".to_owned(),
        ),
        Fault::CreatorIsGone => (
            Severity::Medium,
            REQUEST_CREATOR,
            format!(
                "the role that has made it is gone, and nothing begins by it{WITH_THE_FIX}it gives in the name of whoever runs that"
            ),
            made_anew(policy),
        ),
        Fault::CreatorMayNot(why) => (
            Severity::Medium,
            REQUEST_CREATOR,
            format!(
                "nothing begins by it, because the role that has made it may not give it any more ({why}){WITH_THE_FIX}it gives in the name of whoever runs that"
            ),
            made_anew(policy),
        ),
    };
    Finding {
        severity,
        code,
        role: None,
        object: Some(format!("request policy {}", spi::identifier(&policy.name))),
        what,
        since: None,
        fix: Some(fix),
    }
}

fn asked(policy: &Policy) -> String {
    let mut given = policy.is.given();
    given.auto_approve = None;
    statement::creation(&policy.name, &given, true) + ";"
}

/// As far as its roles are there.
fn made_anew(policy: &Policy) -> String {
    let given = policy.is.given();
    let end = statement::end(&policy.name) + ";";
    if given.targets.is_empty() || given.requesters.is_empty() || given.approvals.is_empty() {
        return end;
    }
    format!(
        "{end} {};",
        statement::creation(&policy.name, &given, false)
    )
}
