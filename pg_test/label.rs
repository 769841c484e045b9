//! The label provider: who may write labels, and what.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    #[pg_test(error = "permission denied to change a scope_roles label")]
    fn label_of_an_ordinary_role_cannot_be_forged() {
        Spi::run("CREATE ROLE label_forger CREATEROLE; CREATE ROLE label_victim").unwrap();
        Spi::run("SET ROLE label_forger; CREATE ROLE label_own").unwrap();
        Spi::run("SECURITY LABEL FOR scope_roles ON ROLE label_own IS '{}'").unwrap();
    }

    #[pg_test(error = "invalid scope_roles label")]
    fn label_that_is_not_ours_is_refused() {
        Spi::run("CREATE ROLE label_bad").unwrap();
        Spi::run("SECURITY LABEL FOR scope_roles ON ROLE label_bad IS '{\"kind\": 1}'").unwrap();
    }

    #[pg_test(error = "scope_roles labels exist on roles only")]
    fn label_on_anything_but_a_role_is_refused() {
        Spi::run("CREATE TABLE label_table ()").unwrap();
        Spi::run("SECURITY LABEL FOR scope_roles ON TABLE label_table IS '{}'").unwrap();
    }

    /// It stays with the provider that was the only one without us.
    #[pg_test(error = "no security label providers have been loaded")]
    fn label_for_no_provider_in_particular_is_not_ours() {
        Spi::run("CREATE ROLE label_unnamed").unwrap();
        Spi::run("SECURITY LABEL ON ROLE label_unnamed IS NULL").unwrap();
    }

    #[pg_test]
    fn label_can_be_restored_by_a_superuser() {
        Spi::run("CREATE TABLE label_orders ()").unwrap();
        Spi::run("SELECT scope.create_readonly_role('label_orders', 'label_reader')").unwrap();
        let copy = Spi::get_one::<String>(
            "SELECT label FROM pg_shseclabel WHERE provider = 'scope_roles'
                AND objoid = 'label_reader'::regrole",
        );
        let copy = copy.unwrap().unwrap();
        Spi::run("SECURITY LABEL FOR scope_roles ON ROLE label_reader IS NULL").unwrap();
        Spi::run(&format!(
            "SECURITY LABEL FOR scope_roles ON ROLE label_reader IS $x${copy}$x$"
        ))
        .unwrap();
        let kind =
            Spi::get_one::<String>("SELECT kind FROM scope.roles WHERE role = 'label_reader'");
        assert_eq!(kind, Ok(Some("credential".to_owned())));
    }
}
