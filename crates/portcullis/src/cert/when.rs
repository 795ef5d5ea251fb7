//! Moments as people write and read them.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{
    Date, OffsetDateTime,
    format_description::well_known::Rfc3339,
    macros::{format_description, time},
};

/// Unix seconds of RFC 3339, of a date (its beginning in UTC), or as they are.
///
/// # Errors
/// What is accepted.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(moment.unix_timestamp());
    }
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(date) => Ok(date.with_time(time!(0:00)).assume_utc().unix_timestamp()),
        Err(_) => Err(
            "expected a moment such as 2027-01-31T12:00:00Z, a date such as 2027-01-31, or Unix seconds"
                .to_owned(),
        ),
    }
}

/// RFC 3339 in UTC.
pub fn show(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{seconds} s"))
}

/// The date in UTC.
pub fn show_date(seconds: i64) -> String {
    let whole = show(seconds);
    whole.split('T').next().unwrap_or(&whole).to_owned()
}

/// What is left of a validity, for people.
pub fn days_left(days: i64) -> String {
    match days {
        1 => "1 day left".to_owned(),
        0.. => format!("{days} days left"),
        -1 => "expired today".to_owned(),
        _ => format!("expired {} days ago", -days - 1),
    }
}

/// Unix seconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_forms_and_written_in_one() {
        for text in [
            "1800000000",
            "2027-01-15T08:00:00Z",
            "2027-01-15T09:00:00+01:00",
        ] {
            assert_eq!(parse(text), Ok(1_800_000_000), "{text}");
        }
        assert_eq!(parse("2027-01-15"), Ok(1_799_971_200));
        assert!(parse("tomorrow").is_err());
        assert_eq!(show(1_800_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(show_date(1_800_000_000), "2027-01-15");
        assert_eq!(days_left(-1), "expired today");
        assert_eq!(days_left(-3), "expired 2 days ago");
    }
}
