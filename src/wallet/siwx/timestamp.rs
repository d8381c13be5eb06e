//! `date-time` of RFC 3339: the signed text and its instant.

use std::fmt;

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Time in a sign-in text. Two are equal if their texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    instant: OffsetDateTime,
}

impl Timestamp {
    /// Timestamp of an instant in UTC and whole seconds; `None` outside the years 0 to 9999.
    pub fn of(instant: OffsetDateTime) -> Option<Self> {
        let utc = instant.checked_to_offset(UtcOffset::UTC)?.truncate_to_second();
        Self::parse(&utc.format(&Rfc3339).ok()?)
    }

    /// Parses a time of the calendar (RFC 3339 section 5.6). A leap second, `:60`, has no instant and is rejected.
    /// Digits below the nanosecond are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        read(text).map(|instant| Self { text: text.to_owned(), instant })
    }

    /// Instant in UTC.
    pub const fn instant(&self) -> OffsetDateTime {
        self.instant
    }

    /// Text as it stands in the message.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses `full-date "T" full-time`; the letters of an ABNF have either case. The library also accepts other separators
/// and leap seconds.
fn read(text: &str) -> Option<OffsetDateTime> {
    let has_separator = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let is_leap_second = text.get(17..19) == Some("60");
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| has_separator && !is_leap_second);
    instant?.checked_to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn every_form_of_rfc_3339_is_read_as_its_instant() {
        let noon = datetime!(2026-02-28 12:00:00 UTC);
        for (text, instant) in [
            ("2026-02-28T12:00:00Z", noon),
            ("2026-02-28t12:00:00z", noon),
            ("2026-02-28T12:00:00.000Z", noon),
            ("2026-02-28T12:00:00-00:00", noon),
            ("2026-02-28T17:30:00+05:30", noon),
            ("2026-02-27T22:00:00.0-14:00", noon),
            ("2024-02-29T23:59:59.123456789999Z", datetime!(2024-02-29 23:59:59.123456789 UTC)),
            ("0000-01-01T00:00:00Z", datetime!(0000-01-01 0:00 UTC)),
        ] {
            let timestamp = Timestamp::parse(text).unwrap();
            assert_eq!((timestamp.as_str(), timestamp.instant()), (text, instant));
        }
    }

    #[test]
    fn what_no_calendar_or_clock_has_is_refused() {
        for text in [
            "",
            "T",
            "2026-02-28",
            "2026-02-28 12:00:00Z",
            "2026-02-28T12:00:00",
            "2026-02-28T12:00Z",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T12:60:00Z",
            "2016-12-31T23:59:60Z",
            "2026-01-01T12:00:00.Z",
            "2026-01-01T12:00:00,5Z",
            "2026-01-01T12:00:00ZZ",
            "2026-01-01T12:00:00+24:00",
            "2026-01-01T12:00:00+01:60",
            "2026-01-01T12:00:00+0100",
            "2026-01-01T12:00:00+1:00",
            "2026-01-01T12:00:00+01",
            "+2026-01-01T12:00:00Z",
            "12026-01-01T12:00:00Z",
            "26-01-01T12:00:00Z",
            "2026-1-01T12:00:00Z",
            "2026-01-01T12:00:00 Z",
            "٢٠26-01-01T12:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "Thu, 01 Jan 2026 12:00:00 GMT",
            "1767268800",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_instant_is_written_in_utc_and_whole_seconds() {
        let written = Timestamp::of(datetime!(2026-01-01 01:30:00.75 +1:30)).unwrap();
        assert_eq!(written.as_str(), "2026-01-01T00:00:00Z");
        assert_eq!(written.instant(), datetime!(2026-01-01 0:00 UTC));
        assert_eq!(Timestamp::of(datetime!(-0001-01-01 0:00 UTC)), None);
    }
}
