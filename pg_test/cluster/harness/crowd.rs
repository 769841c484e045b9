//! Thousands of credentials at once, written into the catalogues directly: issuing each would take minutes.

use super::{Session, literal};

/// Copies a credential `count` times, as `prefix_1` … `prefix_count`, with another deadline (an SQL expression).
pub fn crowd(admin: &mut Session, model: &str, prefix: &str, count: u32, deadline: &str) {
    let model = literal(model);
    let members = if admin.holds("current_setting('server_version_num')::int < 160000") {
        "(roleid, member, grantor, admin_option)
         SELECT g.roleid, c.oid, g.grantor, false"
    } else {
        "(oid, roleid, member, grantor, admin_option, inherit_option, set_option)
         SELECT c.oid, g.roleid, c.oid, g.grantor, false, g.inherit_option, g.set_option"
    };
    admin.run(&format!(
        "BEGIN;
         CREATE TEMPORARY TABLE crowd ON COMMIT DROP AS
         SELECT (i + GREATEST(1000000, (SELECT max(oid)::bigint FROM pg_authid)))::oid AS oid, ('{prefix}_' || i)::name AS name
           FROM generate_series(1, {count}) i;
         INSERT INTO pg_authid (oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
                                rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil)
         SELECT c.oid, c.name, false, rolinherit, false, false, true, false, false, rolconnlimit, rolpassword, {deadline}
           FROM crowd c, pg_authid WHERE rolname = {model};
         INSERT INTO pg_auth_members {members}
           FROM crowd c, pg_auth_members g WHERE g.member = {model}::regrole;
         INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
         SELECT c.oid, l.classoid, l.provider, l.label
           FROM crowd c, pg_shseclabel l WHERE l.objoid = {model}::regrole AND l.classoid = 'pg_authid'::regclass;
         COMMIT"
    ));
    for catalogue in ["pg_authid", "pg_auth_members", "pg_shseclabel"] {
        admin.run(&format!("VACUUM ANALYZE {catalogue}"));
    }
    // A commit that the launcher hears of.
    admin.run(&format!("ALTER ROLE {prefix}_1 CONNECTION LIMIT -1"));
}
