//! Seconds since the epoch to and from RFC 3339.

use jiff::Timestamp;

/// `seconds` since the epoch as `YYYY-MM-DDTHH:MM:SSZ`. A time that is too far away to be written so becomes the
/// first or last that is not.
pub fn rfc3339(seconds: i64) -> String {
    let farthest = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    let time = Timestamp::from_second(seconds).unwrap_or(farthest);
    format!("{time:.0}")
}

/// Seconds since the epoch; fractions are dropped. `None` if `text` is not RFC 3339.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    Some(text.parse::<Timestamp>().ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
            assert_eq!(parse_rfc3339(text), Some(seconds));
        }
    }

    #[test]
    fn fractions_and_offsets() {
        assert_eq!(parse_rfc3339("1970-01-01T01:00:00.999+01:00"), Some(0));
        assert_eq!(parse_rfc3339("1969-12-31t19:30:00-04:30"), Some(0));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00:00",
            "é970-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
