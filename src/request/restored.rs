//! Policies and requests that a copy or a restore has brought. They name roles by OIDs of another server, or are about those of another
//! database; a superuser says that the names mean the same here.

use super::policy::{Approval, Auto, Definition, RoleRef};
use super::store::{self, Told};
use super::{Error, POLICY, State};
use crate::audit::{self, Action};
use crate::error;
use crate::pg::name::Name;
use crate::pg::{catalog, server};
use crate::scope::restored;

/// In the postmaster.
pub fn init() {
    restored::adopts_also(|| match adopt() {
        Ok(rows) => rows,
        Err(problem) => error::raise(&problem),
    });
}

fn adopt() -> Result<Vec<restored::Row>, Error> {
    let mut rows = Vec::new();
    for name in store::foreign_policies()? {
        pgrx::check_for_interrupts!();
        store::lock_policy(&name);
        // Somebody may have made one of this name meanwhile.
        let Some(foreign) = store::foreign_policy(&name)? else {
            continue;
        };
        let policy = by_name(foreign.is, foreign.may_be_of_this_server);
        store::write_policy(&name, &policy)?;
        let creator = policy.creator;
        let fields = [("created_by", Some(creator.name.as_str()).into())];
        audit::administered(Action::Policy, "adopt_restored", &name, &fields);
        rows.push((
            Name(name),
            POLICY.to_owned(),
            creator.is_there().then_some(Name(creator.name)),
            Some(Name(server::database_name())),
        ));
    }
    // Nothing begins here that was asked or approved elsewhere.
    for mut request in store::open_elsewhere()? {
        pgrx::check_for_interrupts!();
        request.state = State::Expired;
        let told = Told::of("expired").note(Some("it came with a copy or a restore"));
        store::save(&request, &told)?;
    }
    Ok(rows)
}

/// The same with OIDs of this server: of who has the names now, or of nobody. Servers can be copies of one, so that an OID is no proof; but in a
/// copy of a database it says that somebody was renamed, and who has the name now may be somebody else.
fn by_name(foreign: Definition, may_be_of_this_server: bool) -> Definition {
    let here = |role: RoleRef| {
        let is_another = may_be_of_this_server
            && catalog::role_by_oid(role.oid()).is_some_and(|found| found.name != role.name);
        let found = catalog::role_by_name(&role.name).filter(|_| !is_another);
        let oid = found.map_or(0, |found| found.oid.into());
        RoleRef { oid, ..role }
    };
    let list = |roles: Vec<RoleRef>| roles.into_iter().map(here).collect();
    Definition {
        targets: list(foreign.targets),
        requesters: list(foreign.requesters),
        approvals: foreign
            .approvals
            .into_iter()
            .map(|approval| Approval {
                role: here(approval.role),
                ..approval
            })
            .collect(),
        auto_approve: foreign.auto_approve.map(|auto| Auto {
            member_of: auto.member_of.map(here),
            ..auto
        }),
        break_glass: list(foreign.break_glass),
        creator: here(foreign.creator),
        ..foreign
    }
}
