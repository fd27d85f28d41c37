//! How blobs are sent: in which pieces, how many at the same time, how patiently.

use std::time::Duration;

use crate::registry::BACK_OFF;
use crate::registry::error::RegistryError;

/// Blobs that are larger, in bytes, are sent in pieces.
pub const COG_PUSH_MULTIPART_THRESHOLD: &str = "COG_PUSH_MULTIPART_THRESHOLD";
/// Bytes of such a piece where the registry does not say what it wants.
pub const COG_PUSH_DEFAULT_CHUNK_SIZE: &str = "COG_PUSH_DEFAULT_CHUNK_SIZE";
/// How many blobs are sent at the same time.
pub const COG_PUSH_CONCURRENCY: &str = "COG_PUSH_CONCURRENCY";

const MIB: u64 = 1024 * 1024;

/// How blobs are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// Blobs that are not larger, in bytes, come with the request that completes their upload: to send one again is
    /// quicker than to ask what of it has arrived.
    pub at_once_limit: u64,
    /// Blobs that are larger, in bytes, are sent in pieces.
    pub multipart_threshold: u64,
    /// Bytes of such a piece where the registry does not say what it wants.
    pub chunk_size: u64,
    /// How many blobs are sent at the same time.
    pub concurrency: usize,
    /// Pause before the second try; it doubles each time.
    pub back_off: Duration,
    /// How long a registry may take no byte of what is sent to it.
    pub stall_limit: Duration,
    /// How long a registry may take to answer after the last byte: some read a large blob again.
    pub answer_limit: Duration,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            at_once_limit: MIB,
            multipart_threshold: 128 * MIB,
            chunk_size: 96 * MIB,
            concurrency: 5,
            back_off: BACK_OFF,
            stall_limit: Duration::from_mins(1),
            answer_limit: Duration::from_mins(10),
        }
    }
}

impl UploadOptions {
    /// What the environment says, by [`COG_PUSH_MULTIPART_THRESHOLD`] and its siblings.
    pub fn from_environment() -> Result<Self, RegistryError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&'static str) -> Option<String>) -> Result<Self, RegistryError> {
        let number = |name, default: u64| match variable(name) {
            None => Ok(default),
            Some(text) if text.trim().is_empty() => Ok(default),
            Some(text) => match text.trim().parse() {
                Ok(number @ 1..) => Ok(number),
                _ => Err(RegistryError::InvalidVariable { name, value: text }),
            },
        };
        let defaults = Self::default();
        let concurrency = number(COG_PUSH_CONCURRENCY, defaults.concurrency as u64)?;
        Ok(Self {
            multipart_threshold: number(
                COG_PUSH_MULTIPART_THRESHOLD,
                defaults.multipart_threshold,
            )?,
            chunk_size: number(COG_PUSH_DEFAULT_CHUNK_SIZE, defaults.chunk_size)?,
            concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
            ..defaults
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<UploadOptions, String> {
        UploadOptions::read(|asked| (asked == name).then(|| value.to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_whole_numbers() {
        let defaults = UploadOptions::default();
        assert_eq!(read("OTHER", "x"), Ok(defaults.clone()));
        assert_eq!(read(COG_PUSH_CONCURRENCY, ""), Ok(defaults.clone()));
        assert_eq!(read(COG_PUSH_CONCURRENCY, " 2 ").unwrap().concurrency, 2);
        let chunk_size = read(COG_PUSH_DEFAULT_CHUNK_SIZE, "1048576")
            .unwrap()
            .chunk_size;
        assert_eq!(chunk_size, MIB);
        let threshold = read(COG_PUSH_MULTIPART_THRESHOLD, "7")
            .unwrap()
            .multipart_threshold;
        assert_eq!(threshold, 7);
        for value in ["0", "-1", "5M", "99999999999999999999"] {
            let error = read(COG_PUSH_CONCURRENCY, value).unwrap_err();
            assert_eq!(
                error,
                format!("`COG_PUSH_CONCURRENCY` is `{value}`, not a whole number above 0")
            );
        }
    }
}
