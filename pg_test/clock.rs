//! The conversion of time between PostgreSQL's epoch and Unix's.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::pg::clock;
    use crate::timestamp;

    #[pg_test]
    fn clock_agrees_with_postgres() {
        let theirs = Spi::get_one::<i64>(
            "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint",
        );
        let ours = clock::now();
        let difference = ours - theirs.unwrap().unwrap();
        assert!(
            (0..5_000_000).contains(&difference),
            "{difference} µs apart"
        );
    }

    #[pg_test]
    fn clock_text_is_read_back_the_same_whatever_the_date_style() {
        for style in ["ISO, DMY", "German", "SQL, MDY", "Postgres, YMD"] {
            Spi::run(&format!("SET datestyle = '{style}'")).unwrap();
            let now = clock::now();
            let read = Spi::get_one::<i64>(&format!(
                "SELECT (extract(epoch FROM '{}'::timestamptz) * 1000000)::bigint",
                timestamp::rfc3339(now)
            ));
            assert_eq!(read, Ok(Some(now)), "{style}");
        }
    }

    #[pg_test]
    fn clock_adds_intervals_by_the_calendar() {
        let start = Spi::get_one::<i64>(
            "SELECT (extract(epoch FROM '2027-01-31 12:00+00'::timestamptz) * 1000000)::bigint",
        );
        let month = Spi::get_one::<pgrx::datum::Interval>("SELECT '1 month'::interval");
        Spi::run("SET timezone = 'UTC'").unwrap();
        let sum = clock::after(start.unwrap().unwrap(), month.unwrap().unwrap());
        assert_eq!(timestamp::rfc3339(sum), "2027-02-28T12:00:00.000000Z");
    }
}
