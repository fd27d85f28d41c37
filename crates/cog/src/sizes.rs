//! Sizes as people read them.

/// Bytes in units of 1024: `512B`, `1.0KB`, `4.7GB`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, text) in [
            (0, "0B"),
            (512, "512B"),
            (1024, "1.0KB"),
            (1536, "1.5KB"),
            (5_046_586_573, "4.7GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
