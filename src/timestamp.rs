//! Points in time, as text and as PostgreSQL counts them. Pure.
#![forbid(unsafe_code)]

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The year 10000, which RFC 3339 has no form for, in Unix microseconds.
pub const BEYOND: i64 = 253_402_300_800_000_000;

/// 2000-01-01 00:00:00 UTC, PostgreSQL's own epoch, in Unix microseconds.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// From PostgreSQL's count to Unix microseconds. Infinities stay at the ends of the range.
pub fn from_postgres(timestamp: i64) -> i64 {
    timestamp.saturating_add(POSTGRES_EPOCH)
}

/// The other way round; the ends of the range stay infinite.
pub fn to_postgres(micros: i64) -> i64 {
    match micros {
        i64::MIN | i64::MAX => micros,
        _ => micros.saturating_sub(POSTGRES_EPOCH),
    }
}

/// RFC 3339 in UTC with microseconds, from Unix microseconds. PostgreSQL reads it whatever
/// DateStyle says.
pub fn rfc3339(micros: i64) -> String {
    let mut text = Vec::with_capacity(27);
    write_rfc3339(&mut text, micros);
    String::from_utf8(text).unwrap_or_default()
}

/// As [`rfc3339`], into a buffer.
pub fn write_rfc3339(text: &mut Vec<u8>, micros: i64) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    write_second(text, seconds);
    write_fraction(text, micros);
}

/// A second of [`rfc3339`], to be written again without being computed again.
#[derive(Default)]
pub struct Second {
    number: i64,
    text: Vec<u8>,
}

impl Second {
    /// As [`write_rfc3339`].
    pub fn write(&mut self, text: &mut Vec<u8>, micros: i64) {
        let number = micros.div_euclid(MICROS_PER_SECOND);
        if self.number != number || self.text.is_empty() {
            self.number = number;
            self.text.clear();
            write_second(&mut self.text, number);
        }
        text.extend_from_slice(&self.text);
        write_fraction(text, micros);
    }
}

fn write_fraction(text: &mut Vec<u8>, micros: i64) {
    text.push(b'.');
    digits(text, micros.rem_euclid(MICROS_PER_SECOND), 6);
    text.push(b'Z');
}

fn write_second(text: &mut Vec<u8>, seconds: i64) {
    let days = seconds.div_euclid(SECONDS_PER_DAY);
    let time = seconds.rem_euclid(SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    if !(0..=9_999).contains(&year) {
        // No clock shows such a year, but a token's exp may.
        text.extend_from_slice(year.to_string().as_bytes());
    } else {
        digits(text, year, 4);
    }
    for (separator, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', time / 3_600),
        (b':', time / 60 % 60),
        (b':', time % 60),
    ] {
        text.push(separator);
        digits(text, number, 2);
    }
}

/// The last `width` digits of a number.
fn digits(text: &mut Vec<u8>, mut number: i64, width: usize) {
    let mut written = [b'0'; 6];
    for slot in written.iter_mut().take(width).rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
    }
    text.extend_from_slice(written.get(..width).unwrap_or_default());
}

/// Reads what [`rfc3339`] writes; a fraction may be missing. `None` for anything else.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..60).contains(&seconds);
    let digits = fraction.len();
    let plain = (1..=6).contains(&digits) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !in_range || !plain || !(0..=9_999).contains(&year) {
        return None;
    }
    let scale = 10_i64.pow(6 - u32::try_from(digits).ok()?);
    let micros = fraction.parse::<i64>().ok()? * scale;
    let seconds = days(year, month, day) * SECONDS_PER_DAY + hours * 3_600 + minutes * 60 + seconds;
    Some(seconds * MICROS_PER_SECOND + micros)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<i64>().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// The day number of a date: the other way round than [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The proleptic Gregorian date of a day number (0 is 1970-01-01): years are counted from March,
/// so that the leap day comes last, in eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march_of_year_0 = days + 719_468;
    let era = from_march_of_year_0.div_euclid(146_097);
    let day_of_era = from_march_of_year_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_counts_as_postgresql_does() {
        assert_eq!(from_postgres(0), 946_684_800_000_000);
        for end in [i64::MIN, i64::MAX] {
            assert_eq!(to_postgres(end), end);
        }
        assert_eq!(from_postgres(i64::MAX), i64::MAX);
        assert_eq!(to_postgres(from_postgres(1)), 1);
    }

    #[test]
    fn timestamp_text_is_rfc3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_250_994, "2026-11-21T08:49:54.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(rfc3339(seconds * MICROS_PER_SECOND), text);
        }
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000001Z");
    }

    #[test]
    fn timestamp_of_a_known_second_is_the_same() {
        let mut second = Second::default();
        for micros in [
            0,
            1,
            999_999,
            1_000_000,
            -1,
            -1_000_000,
            1,
            1_795_250_994_123_456,
        ] {
            let mut text = Vec::new();
            second.write(&mut text, micros);
            assert_eq!(String::from_utf8(text), Ok(rfc3339(micros)));
        }
    }

    #[test]
    fn timestamp_text_is_read_back() {
        for micros in [
            0,
            1,
            951_782_400_000_000,
            1_795_250_994_123_456,
            4_107_542_399_999_999,
        ] {
            assert_eq!(parse(&rfc3339(micros)), Some(micros));
        }
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert_eq!(parse("1970-01-01T00:00:00.5Z"), Some(500_000));
        for text in [
            "",
            "now",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00+01",
            "1970-01-01T00:00:00.1234567Z",
            "1970-01-01T00:00:00.Z",
            "-999-01-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
