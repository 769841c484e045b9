//! Subtransactions and retries around the extension's own DDL.

#[pgrx::pg_schema]
mod tests {
    use std::cell::Cell;

    use pgrx::prelude::*;

    use crate::pg::xact;
    use crate::waiting;

    #[pg_test]
    fn transaction_failure_leaves_nothing_behind() {
        let failed = xact::subtransaction(|| {
            Spi::run("CREATE TABLE transaction_left ()")?;
            Spi::run("SELECT 1/0")
        });
        assert!(failed.is_err());
        let left = Spi::get_one::<bool>("SELECT to_regclass('transaction_left') IS NULL");
        assert_eq!(left, Ok(Some(true)));
    }

    #[pg_test]
    fn transaction_is_tried_again_while_others_are_in_between() {
        let attempts = Cell::new(0);
        let result = waiting::retrying(|| {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 {
                Spi::run("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$").unwrap();
            }
            attempts.get()
        });
        assert_eq!(result, 3);
    }

    #[pg_test(error = "no such luck")]
    fn transaction_failure_that_will_not_pass_is_raised_at_once() {
        waiting::retrying(|| {
            Spi::run("DO $$ BEGIN RAISE 'no such luck'; END $$").unwrap();
        });
    }
}
