//! Times as the wire wants them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::Offset;

/// RFC 3339 in UTC with nanoseconds: `2026-01-01T00:00:00.123456789+00:00`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // A clock that is millennia away is wrong anyway; the epoch is as good an answer as any.
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{:.9}", time.display_with_offset(Offset::UTC))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn known_moments() {
        let at = |seconds, nanoseconds| rfc3339(UNIX_EPOCH + Duration::new(seconds, nanoseconds));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000+00:00");
        assert_eq!(at(951_827_696, 5), "2000-02-29T12:34:56.000000005+00:00");
        assert_eq!(
            at(1_767_225_599, 999_999_999),
            "2025-12-31T23:59:59.999999999+00:00"
        );
    }
}
