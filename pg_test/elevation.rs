//! Acting as somebody else, and being oneself again on every path.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::pg::{identity, spi, xact};

    fn caller() {
        Spi::run("CREATE ROLE elevation_caller; SET ROLE elevation_caller").unwrap();
        Spi::run("SET search_path = public, pg_catalog").unwrap();
    }

    fn assert_caller() {
        let facts = Spi::get_two::<String, String>(
            "SELECT current_user::text, current_setting('search_path')",
        );
        let expected = (
            "elevation_caller".to_owned(),
            "public, pg_catalog".to_owned(),
        );
        assert_eq!(facts, Ok((Some(expected.0), Some(expected.1))));
        assert_eq!(identity::now().security_context, 0);
    }

    #[pg_test]
    fn elevation_pins_the_search_path_and_ends() {
        caller();
        let inside = identity::elevated(|| {
            Spi::get_two::<String, String>(
                "SELECT current_user::text, current_setting('search_path')",
            )
        });
        assert_eq!(
            inside,
            Ok((
                Spi::get_one("SELECT rolname::text FROM pg_roles WHERE oid = 10").unwrap(),
                Some("pg_catalog, pg_temp".to_owned())
            ))
        );
        assert_caller();
    }

    #[pg_test]
    fn elevation_or_not_sql_of_ours_runs_with_settings_pinned() {
        caller();
        let path = spi::read("SELECT current_setting('search_path')", &[], |row| {
            row.get::<String>(1)
        });
        assert_eq!(path, Ok(vec![Some("pg_catalog, pg_temp".to_owned())]));
        assert_caller();
    }

    #[pg_test]
    fn elevation_ends_when_the_work_fails() {
        caller();
        let failed = xact::subtransaction(|| identity::elevated(|| Spi::run("SELECT 1/0")));
        assert_eq!(
            failed.map_err(|failure| failure.code),
            Err(PgSqlErrorCode::ERRCODE_DIVISION_BY_ZERO)
        );
        assert_caller();
    }

    #[pg_test]
    fn elevation_does_not_let_the_work_change_the_role() {
        caller();
        let refused =
            xact::subtransaction(|| identity::elevated(|| Spi::run("SET ROLE elevation_caller")));
        assert_eq!(
            refused.map_err(|failure| failure.code),
            Err(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE)
        );
        assert_caller();
    }
}
