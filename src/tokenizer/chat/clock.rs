//! The current time in chat templates that ask for it.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use chrono::{DateTime, Local, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{Template, Tokenizer};

/// A calendar day, written as `2026-11-29`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(NaiveDate);

/// The clock that a template sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The current local time.
    Now,
    /// Noon of this day, always, so that equal conversations give equal texts.
    On(Day),
}

/// A text that is not a day.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is no day, expected one as `2026-11-29`")]
pub struct DayError {
    found: String,
}

impl Day {
    /// The current local date.
    pub fn today() -> Self {
        Self(Local::now().date_naive())
    }

    /// The date that a tokenizer's template sees when it renders data: `set`, or today; `None` if the template asks
    /// for none.
    pub fn of_data(set: Option<Self>, tokenizer: &Tokenizer) -> Option<Self> {
        Template::asks_for_the_time(tokenizer).then(|| set.unwrap_or_else(Self::today))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
        day.map(Self).map_err(|_| DayError {
            // a valid date has ten characters
            found: text.chars().take(30).collect(),
        })
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;

    fn try_from(text: String) -> Result<Self, DayError> {
        text.parse()
    }
}

impl Clock {
    /// The time in a `strftime` format; `None` if the format is invalid.
    pub(super) fn format(self, format: &str) -> Option<String> {
        let mut text = String::new();
        write!(text, "{}", self.time()?.format(format)).ok()?;
        Some(text)
    }

    fn time(self) -> Option<DateTime<Local>> {
        match self {
            Self::Now => Some(Local::now()),
            // noon exists on every day: clocks are put forward at night
            Self::On(Day(day)) => day
                .and_hms_opt(12, 0, 0)?
                .and_local_timezone(Local)
                .earliest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_tells_its_day() {
        let clock = Clock::On("2024-02-29".parse().unwrap());
        assert_eq!(clock.format("%d %b %Y").as_deref(), Some("29 Feb 2024"));
        assert_eq!(clock.format("%H:%M").as_deref(), Some("12:00"));
        assert_eq!(clock.format("%!"), None);
        assert_eq!(
            Clock::Now.format("%Y-%m-%d"),
            Some(Day::today().to_string())
        );
    }

    #[test]
    fn a_day_is_written_and_read_alike() {
        let day: Day = serde_json::from_str("\"2026-11-29\"").unwrap();
        assert_eq!(serde_json::to_string(&day).unwrap(), "\"2026-11-29\"");
        for wrong in ["\"2026-02-30\"", "\"today\"", "5"] {
            assert!(serde_json::from_str::<Day>(wrong).is_err(), "{wrong}");
        }
    }
}
