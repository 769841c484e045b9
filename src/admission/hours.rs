//! The hours at which a login may be used: "Mon-Fri 08:00-18:00" in a time zone. Pure.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const EVERY_DAY: u8 = 0b111_1111;
const DAILY: &str = "daily";
const MINUTES_PER_DAY: u16 = 24 * 60;

/// From one time of day to another, not included, on some days of the week. One that ends before it
/// begins goes on past midnight into the next day. It is a matter of what the clock on the wall
/// shows: an hour that summer time skips does not come, one that it repeats counts twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// A bit for each day on which it begins; the lowest is Monday's.
    days: u8,
    /// Minutes of the day.
    from: u16,
    to: u16,
}

/// What the clock on the wall shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// 0: Monday.
    pub weekday: u8,
    /// Of the day.
    pub minute: u16,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" are not hours such as Mon-Fri 08:00-18:00")]
pub struct NotHours(String);

impl Window {
    pub fn contains(self, moment: Moment) -> bool {
        let today = self.begins_on(moment.weekday);
        if self.from < self.to {
            return today && (self.from..self.to).contains(&moment.minute);
        }
        let yesterday = self.begins_on((moment.weekday + 6) % 7);
        (today && moment.minute >= self.from) || (yesterday && moment.minute < self.to)
    }

    fn begins_on(self, weekday: u8) -> bool {
        self.days & 1_u8.checked_shl(weekday.into()).unwrap_or(0) != 0
    }
}

impl FromStr for Window {
    type Err = NotHours;

    fn from_str(text: &str) -> Result<Self, NotHours> {
        let read = || {
            let (days, times) = text.trim().split_once(' ')?;
            let (from, to) = times.trim().split_once('-')?;
            let window = Window {
                days: read_days(days)?,
                from: read_time(from)?,
                to: read_time(to)?,
            };
            let has_length = window.from != window.to && window.from < MINUTES_PER_DAY;
            has_length.then_some(window)
        };
        read().ok_or_else(|| NotHours(text.to_owned()))
    }
}

/// `daily`, or days and ranges of days separated by commas; a range may go round the week's end.
fn read_days(text: &str) -> Option<u8> {
    if text.eq_ignore_ascii_case(DAILY) {
        return Some(EVERY_DAY);
    }
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    text.split(',').try_fold(0, |days, item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        let range = (0..=length).map(|step| 1 << ((first + step) % 7));
        Some(range.fold(days, |days, day: u8| days | day))
    })
}

/// `08:00`, in minutes; up to `24:00`.
fn read_time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let time = hours * 60 + minutes;
    (minutes < 60 && time <= MINUTES_PER_DAY).then_some(time)
}

impl TryFrom<String> for Window {
    type Error = NotHours;

    fn try_from(text: String) -> Result<Self, NotHours> {
        text.parse()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == EVERY_DAY {
            formatter.write_str(DAILY)?;
        } else {
            let mut separator = "";
            let mut day = 0;
            while day < 7 {
                let last = (day..7).take_while(|&day| self.begins_on(day)).last();
                if let Some(last) = last {
                    let name = |day: u8| DAYS.get(usize::from(day)).copied().unwrap_or_default();
                    write!(formatter, "{separator}{}", name(day))?;
                    if last > day {
                        write!(formatter, "-{}", name(last))?;
                    }
                    separator = ",";
                    day = last;
                }
                day += 1;
            }
        }
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(formatter, " {}-{}", time(self.from), time(self.to))
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.weekday)).unwrap_or(&"?");
        write!(
            formatter,
            "{day} {:02}:{:02}",
            self.minute / 60,
            self.minute % 60
        )
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        let (day, time) = text.split_once(' ').expect("a day and a time");
        let weekday = DAYS.iter().position(|name| *name == day).expect("a day");
        Moment {
            weekday: u8::try_from(weekday).expect("a small number"),
            minute: read_time(time).expect("a time"),
        }
    }

    #[test]
    fn hours_hold_from_their_first_minute_to_before_their_last() {
        for (window, inside, outside) in [
            (
                "Mon-Fri 08:00-18:00",
                vec!["Mon 08:00", "Fri 17:59", "Wed 12:00"],
                vec!["Mon 07:59", "Fri 18:00", "Sat 12:00", "Sun 12:00"],
            ),
            (
                "Sat 22:00-02:00",
                vec!["Sat 22:00", "Sat 23:59", "Sun 00:00", "Sun 01:59"],
                vec![
                    "Sat 21:59",
                    "Sun 02:00",
                    "Sat 00:00",
                    "Sat 01:59",
                    "Sun 22:00",
                ],
            ),
            (
                // Past midnight and past the week's end.
                "Sun 23:00-01:00",
                vec!["Sun 23:30", "Mon 00:30"],
                vec!["Mon 23:30", "Sun 00:30", "Sat 23:30"],
            ),
            (
                "Fri-Mon 00:00-24:00",
                vec!["Fri 00:00", "Sat 12:00", "Sun 23:59", "Mon 23:59"],
                vec!["Tue 00:00", "Thu 23:59"],
            ),
            (
                "daily 06:00-05:00",
                vec!["Tue 06:00", "Wed 04:59", "Sun 00:00"],
                vec!["Tue 05:00", "Sun 05:59"],
            ),
            (
                "mon,wed,FRI 12:30-12:31",
                vec!["Mon 12:30", "Wed 12:30", "Fri 12:30"],
                vec!["Mon 12:31", "Tue 12:30"],
            ),
        ] {
            let window = window.parse::<Window>().expect("hours");
            for moment in inside {
                assert!(window.contains(at(moment)), "{moment} in {window}");
            }
            for moment in outside {
                assert!(!window.contains(at(moment)), "{moment} not in {window}");
            }
        }
    }

    #[test]
    fn hours_text_is_read_back() {
        for (text, canonical) in [
            ("Mon-Fri 08:00-18:00", "Mon-Fri 08:00-18:00"),
            ("Fri-Mon 00:00-24:00", "Mon,Fri-Sun 00:00-24:00"),
            ("sun,mon 22:00-02:00", "Mon,Sun 22:00-02:00"),
            ("Mon-Sun 01:00-02:00", "daily 01:00-02:00"),
            (" daily  01:00-02:00 ", "daily 01:00-02:00"),
        ] {
            let window = text.parse::<Window>().expect("hours");
            assert_eq!(window.to_string(), canonical);
            assert_eq!(canonical.parse::<Window>(), Ok(window));
        }
    }

    #[test]
    fn hours_text_that_could_mean_two_things_is_refused() {
        for text in [
            "",
            "Mon",
            "08:00-18:00",
            "Mon-Fri",
            "Mon-Fri 8:00-18:00",
            "Mon-Fri 08:00-18",
            "Mon-Fri 08:00-08:00",
            "Mon-Fri 24:00-08:00",
            "Mon-Fri 08:00-24:01",
            "Mon-Fri 08:60-18:00",
            "Mon-Fri 08:00-18:00 UTC",
            "Mo-Fr 08:00-18:00",
            "Mon,,Fri 08:00-18:00",
            "Mon- 08:00-18:00",
            "Mon-Fri 08:00:00-18:00:00",
            "Mon-Fri +8:00-18:00",
            "Mon-Fri ٠٨:00-18:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
