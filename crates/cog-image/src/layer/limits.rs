//! How much one layer may unpack to: archives can be bombs.

/// Bounds on what one layer may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Number of entries. Large Python environments have some 100,000.
    pub(crate) entries: u64,
    /// Bytes of all names together, as some are remembered until the end.
    pub(crate) names: u64,
    /// Bytes of the uncompressed archive.
    pub(crate) bytes: u64,
}

impl Limits {
    /// Limits for a blob of `size` bytes. Deflate expands at most 1032-fold, Zstandard a block of 128 KiB from four bytes:
    /// so do files that are mostly holes. Beyond that, only small layers have an excuse.
    pub(crate) fn for_blob(size: u64) -> Self {
        Self {
            entries: 1_000_000,
            names: 256 << 20,
            bytes: size.saturating_mul(33_000).max(1 << 30),
        }
    }

    /// What is exceeded by `count` entries with `names` bytes of names in `bytes` bytes of archive.
    pub(super) fn exceeded(self, count: u64, names: u64, bytes: u64) -> Option<String> {
        if count > self.entries {
            Some(format!("{} entries", self.entries))
        } else if names > self.names {
            Some(format!("{} bytes of names", self.names))
        } else if bytes > self.bytes {
            Some(format!("{} bytes", self.bytes))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_layers_have_room() {
        let limits = Limits::for_blob(5 << 30);
        assert_eq!(limits.entries, 1_000_000);
        assert!(limits.bytes > 1 << 40);
        assert_eq!(Limits::for_blob(10).bytes, 1 << 30);
        // 10 GiB of zeros, by Zstandard.
        assert!(Limits::for_blob(336_794).bytes > 10 << 30);
        assert_eq!(Limits::for_blob(u64::MAX).bytes, u64::MAX);
    }
}
