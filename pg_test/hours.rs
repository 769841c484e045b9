//! What the clock shows where summer time begins and ends.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::pg::time_zone;
    use crate::timestamp;

    #[pg_test]
    fn hours_follow_summer_time_as_postgres_does() {
        for zone in [
            "UTC",
            "Europe/Zurich",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Africa/Casablanca",
        ] {
            // Around the changes of 2026 in Europe and America, and anywhere in the year.
            for text in [
                "2026-03-29T00:59:59Z",
                "2026-03-29T01:00:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-03-08T06:59:59Z",
                "2026-03-08T07:00:00Z",
                "2026-11-01T05:30:00Z",
                "2026-11-01T06:30:00Z",
                "2026-10-03T15:29:59Z",
                "2026-10-03T15:30:00Z",
                "2026-12-31T23:59:59Z",
                "2026-07-01T00:00:00Z",
            ] {
                let theirs = Spi::get_one::<String>(&format!(
                    "SELECT to_char('{text}'::timestamptz AT TIME ZONE '{zone}', 'Dy HH24:MI')"
                ));
                let ours = time_zone::moment(zone, timestamp::parse(text).unwrap());
                assert_eq!(
                    theirs.unwrap(),
                    ours.map(|moment| moment.to_string()),
                    "{text} in {zone}"
                );
            }
        }
        assert_eq!(time_zone::moment("Mars/Olympus", 0), None);
    }
}
