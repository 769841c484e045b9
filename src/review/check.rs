//! What each check of a review consists of.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

pub struct Check {
    pub code: &'static str,
    pub severity: Severity,
    /// What works no more once the fix has run, if anything; where that depends, the query says so.
    pub stops: &'static str,
    /// Role, object, what is wrong, since when, the SQL that fixes it. $1: scope_roles.max_password_age,
    /// $2: scope_roles.unused_after, in seconds. They run with search_path pinned and read catalogues only.
    pub sql: &'static str,
}

/// Managed roles with their labels, as `o`.
macro_rules! ours {
    ($rest:expr) => {
        concat!(
            "WITH o AS (
               SELECT r.oid, r.rolname, LEAST(r.rolvaliduntil, (l.label::jsonb ->> 'valid_until')::timestamptz) AS rolvaliduntil,
                      r.rolvaliduntil AS valid_by_hand, r.rolcanlogin AS logs_in, l.label::jsonb AS label
                 FROM pg_authid r JOIN pg_shseclabel l ON l.objoid = r.oid
                WHERE l.classoid = 'pg_authid'::regclass AND l.provider = 'scope_roles') ",
            $rest
        )
    };
}

/// The OIDs of databases that have a part of a scope, as its label says them; NULL where they are not of this cluster.
macro_rules! parts {
    ($label:literal, $oid:literal) => {
        concat!(
            "CASE WHEN (",
            $label,
            " ->> 'oid')::oid = ",
            $oid,
            " AND (",
            $label,
            " ->> 'system')::int8 = (SELECT system_identifier FROM pg_control_system())
                  THEN coalesce(",
            $label,
            " -> 'parts' -> 'read', '[]') || coalesce(",
            $label,
            " -> 'parts' -> 'write', '[]')
                       || coalesce(",
            $label,
            " -> 'parts' -> 'create', '[]') END"
        )
    };
}

/// Has this database a part of a scope?
macro_rules! has_part_here {
    ($label:literal, $oid:literal) => {
        concat!(
            "coalesce((SELECT ", crate::review::check::parts!($label, $oid),
            " @> to_jsonb(d.oid::bigint) FROM pg_database d WHERE d.datname = current_database()), ",
            $label, " ->> 'database' = current_database())"
        )
    };
}

/// Is a scope one that `drop_scope()` can end from this database, and that neither members, objects nor policies need?
macro_rules! is_empty {
    ($label:literal, $oid:literal) => {
        concat!(
            "(", crate::review::check::has_part_here!($label, $oid),
            " OR ", $label, " ->> 'database' = current_database() AND NOT EXISTS (
                SELECT FROM pg_database d WHERE ", crate::review::check::parts!($label, $oid), " @> to_jsonb(d.oid::bigint)))
             AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = ", $oid, ")
             AND NOT EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = ", $oid, "
                                AND (d.deptype = 'r' OR d.deptype = 'o' AND d.classid <> 'pg_default_acl'::regclass))"
        )
    };
}

pub(super) use {has_part_here, is_empty, ours, parts};
