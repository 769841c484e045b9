//! The roles that a role is in (`pg_auth_members`), and taking it out of them, whoever put it there.

use pgrx::pg_sys;
use pgrx::spi::SpiResult;

use crate::pg::{catalog, compat, spi};

/// The options of a GRANT of a role that is inherited: no SET ROLE, where that can be said.
pub const INHERIT_ONLY: &str = options(" WITH INHERIT TRUE, SET FALSE");

/// The options of a GRANT of a role that is only switched to: SET ROLE, but no inheritance.
pub const SWITCH_ONLY: &str = options(" WITH INHERIT FALSE, SET TRUE");

/// The options of a GRANT of a role that gives its member nothing.
pub const NOTHING: &str = options(" WITH INHERIT FALSE, SET FALSE");

const fn options(options: &'static str) -> &'static str {
    if compat::HAS_MEMBERSHIP_OPTIONS {
        options
    } else {
        ""
    }
}

/// Does `member` hold the privileges of a superuser, and with them the code that the superuser owns?
pub fn inherits_from_superuser(member: pg_sys::Oid) -> bool {
    groups(member).into_iter().any(|group| {
        catalog::role_by_oid(group).is_some_and(|role| role.superuser)
            && catalog::has_privileges_of(member, group)
    })
}

/// The roles that a role is a member of, through others too, whether or not it has their privileges.
pub fn groups(member: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let mut seen = vec![member];
    let mut next = 0;
    while let Some(&role) = seen.get(next) {
        next += 1;
        for group in catalog::memberships(role) {
            if !seen.contains(&group) {
                seen.push(group);
            }
        }
    }
    seen.split_off(1)
}

/// Takes the role out of every role that it is a member of, whoever put it there, and takes back
/// the memberships that it granted.
pub fn revoke_memberships(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where("a.member = $1 OR a.grantor = $1", role)
}

/// Takes the role out of every role that it is a member of, whoever put it there.
pub fn revoke_groups(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where("a.member = $1", role)
}

/// The login inherits nothing any more through the role that stands between it and another. Nobody else has to do with this row, whereas
/// the membership in the other role can be held by all who may grant that.
pub fn stop_inheriting(between: pg_sys::Oid, login: pg_sys::Oid) -> SpiResult<()> {
    let Some(role) = catalog::role_by_oid(between) else {
        return Ok(());
    };
    let inherits = if compat::HAS_MEMBERSHIP_OPTIONS {
        catalog::inherited_memberships(login).contains(&between)
    } else {
        role.inherits
    };
    if !inherits {
        return Ok(());
    }
    let role = spi::identifier(&role.name);
    if !compat::HAS_MEMBERSHIP_OPTIONS {
        return spi::execute(&format!("ALTER ROLE {role} NOINHERIT"));
    }
    match catalog::role_by_oid(login) {
        Some(login) => spi::execute(&format!(
            "GRANT {role} TO {} WITH INHERIT FALSE",
            spi::identifier(&login.name)
        )),
        None => Ok(()),
    }
}

/// Takes the role out of one that it is a member of.
pub fn revoke_membership(member: pg_sys::Oid, role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where(
        &format!("a.member = $1 AND a.roleid = {}", u32::from(role)),
        member,
    )
}

/// Takes the role from all its members, whoever gave it to them.
pub fn revoke_members(role: pg_sys::Oid) -> SpiResult<()> {
    revoke_where("a.roleid = $1", role)
}

/// Takes the role from these members.
pub fn revoke_from(role: pg_sys::Oid, members: &[pg_sys::Oid]) -> SpiResult<()> {
    let members: Vec<String> = members
        .iter()
        .map(|&member| u32::from(member).to_string())
        .collect();
    revoke_where(
        &format!(
            "a.roleid = $1 AND a.member = ANY ('{{{}}}'::pg_catalog.oid[])",
            members.join(",")
        ),
        role,
    )
}

/// Takes back the memberships `a` for which the condition holds of the role $1.
fn revoke_where(condition: &str, role: pg_sys::Oid) -> SpiResult<()> {
    // Before PostgreSQL 16 the grantor may be a role that is gone, and plays no part.
    let revokes = spi::query(
        &format!(
            "SELECT pg_catalog.format('REVOKE %I FROM %I', r.rolname, m.rolname)
                    || COALESCE(' GRANTED BY ' || pg_catalog.quote_ident(g.rolname), '') || ' CASCADE'
               FROM pg_catalog.pg_auth_members a
               JOIN pg_catalog.pg_authid r ON r.oid = a.roleid
               JOIN pg_catalog.pg_authid m ON m.oid = a.member
               LEFT JOIN pg_catalog.pg_authid g ON g.oid = a.grantor
              WHERE {condition}"
        ),
        &[role.into()],
        |row| row.get::<String>(1),
    )?;
    revokes
        .iter()
        .flatten()
        .try_for_each(|revoke| spi::execute(revoke))
}

/// Removes memberships of roles that are gone, which a GRANT at the same time as the DROP ROLE may
/// have left: a later role could get the same OID. Of these roles, or of any.
pub fn sweep(dropped: Option<&[pg_sys::Oid]>) -> SpiResult<()> {
    for column in ["member", "roleid"] {
        let delete = format!(
            "DELETE FROM pg_catalog.pg_auth_members m
              WHERE ($1 IS NULL OR m.{column} = ANY ($1))
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid r WHERE r.oid = m.{column})"
        );
        let sql = if compat::MEMBERSHIPS_ARE_OBJECTS {
            format!(
                "WITH gone AS ({delete} RETURNING m.oid)
                 DELETE FROM pg_catalog.pg_shdepend s USING gone
                  WHERE s.dbid = 0 AND s.objid = gone.oid
                    AND s.classid = 'pg_catalog.pg_auth_members'::pg_catalog.regclass
                 RETURNING 1"
            )
        } else {
            format!("{delete} RETURNING 1")
        };
        spi::query(&sql, &[dropped.map(<[pg_sys::Oid]>::to_vec).into()], |_| {
            Ok(())
        })?;
    }
    Ok(())
}
