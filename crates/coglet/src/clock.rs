//! Times as the wire wants them.

use std::time::{SystemTime, UNIX_EPOCH};

/// RFC 3339 in UTC with nanoseconds: `2026-01-01T00:00:00.123456789+00:00`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // A clock before 1970 is wrong anyway; the epoch is as good an answer as any.
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second_of_day) = (
        since_epoch.as_secs() / 86_400,
        since_epoch.as_secs() % 86_400,
    );
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let nanoseconds = since_epoch.subsec_nanos();
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}+00:00"
    )
}

/// Gregorian date of a day counted from 1970-01-01, by counting from 0000-03-01 in eras of 400 years
/// so that the leap day is the last of its year.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
