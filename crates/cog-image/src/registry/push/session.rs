//! An upload that the registry has begun: where it goes on, what has arrived, in which pieces more is wanted.

use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Response, Url};

use super::options::UploadOptions;
use super::repository::{Repository, header};
use crate::error::Result;
use crate::registry::answer::invalid;
use crate::registry::error::RegistryError;
use crate::registry::transport::Request;

const OCI_CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";
const OCI_CHUNK_MAX_LENGTH: &str = "oci-chunk-max-length";
/// Stays free of what the registry takes at most: it may count more than the bytes.
const MARGIN: u64 = 64 * 1024;
/// A registry that wants more pieces than this gets the blob whole.
const MAX_CHUNKS: u64 = 10_000;

/// An upload that the registry has begun.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) location: Url,
    /// Bytes that have arrived, by the registry's account.
    pub(super) offset: u64,
    pub(super) limits: Limits,
}

/// What pieces the registry wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    min: Option<u64>,
    max: Option<u64>,
}

/// How a blob is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// With the request that completes the upload.
    AtOnce,
    /// Before it, in one request.
    Whole,
    /// In pieces of so many bytes.
    Chunks(u64),
}

impl Session {
    /// The one that `response` begins.
    pub(super) fn begun(
        repository: &Repository<'_>,
        request: &Request<'_>,
        response: &Response,
    ) -> Result<Self, RegistryError> {
        let location = repository
            .location(request, response)?
            .ok_or_else(|| invalid(request, "it does not say where to send the content"))?;
        Ok(Self {
            location,
            offset: 0,
            limits: Limits::of(response.headers()),
        })
    }

    /// The address that completes the upload.
    pub(super) fn commit_url(&self, digest: &str) -> String {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", digest);
        url.into()
    }
}

impl Limits {
    fn of(headers: &HeaderMap) -> Self {
        let number = |name| header(headers, name)?.parse().ok().filter(|n| *n > 0);
        Self {
            min: number(OCI_CHUNK_MIN_LENGTH),
            max: number(OCI_CHUNK_MAX_LENGTH),
        }
    }
}

impl Mode {
    /// That for a blob of `size` bytes.
    pub(super) fn choose(size: u64, options: &UploadOptions, limits: Limits) -> Self {
        let too_large = limits.max.is_some_and(|max| size > max);
        if size <= options.at_once_limit.min(options.multipart_threshold) && !too_large {
            return Self::AtOnce;
        }
        if size <= options.multipart_threshold && !too_large {
            return Self::Whole;
        }
        let wanted = match limits.max {
            Some(max) if max > 2 * MARGIN => max - MARGIN,
            Some(max) => max,
            None => options.chunk_size,
        };
        let chunk = wanted.max(limits.min.unwrap_or_default()).max(1);
        if size.div_ceil(chunk) > MAX_CHUNKS {
            return Self::Whole;
        }
        Self::Chunks(chunk)
    }
}

/// How many bytes have arrived, if the answer says so. `0-0` says one, or none.
pub(super) fn arrived(response: &Response) -> Option<u64> {
    range_length(header(response.headers(), RANGE.as_str())?)
}

fn range_length(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.strip_prefix("0-")?.parse().ok()?;
    if last == 0 {
        return Some(0);
    }
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn pieces_are_what_the_registry_wants() {
        let options = UploadOptions::default();
        let limits = |min, max| Limits { min, max };
        let mode = |size, limits| Mode::choose(size, &options, limits);
        let large = 1000 * MIB;
        for (size, limits, expected) in [
            (0, limits(None, None), Mode::AtOnce),
            (MIB, limits(None, None), Mode::AtOnce),
            (
                MIB,
                limits(None, Some(MIB - 1)),
                Mode::Chunks(MIB - 1 - MARGIN),
            ),
            (MIB + 1, limits(None, None), Mode::Whole),
            (128 * MIB, limits(None, None), Mode::Whole),
            (128 * MIB + 1, limits(None, None), Mode::Chunks(96 * MIB)),
            (
                large,
                limits(Some(200 * MIB), None),
                Mode::Chunks(200 * MIB),
            ),
            (
                large,
                limits(None, Some(20 * MIB)),
                Mode::Chunks(20 * MIB - MARGIN),
            ),
            (
                large,
                limits(Some(5 * MIB), Some(5 * MIB)),
                Mode::Chunks(5 * MIB),
            ),
            // Too large for it at once, though not for us.
            (
                100 * MIB,
                limits(None, Some(50 * MIB)),
                Mode::Chunks(50 * MIB - MARGIN),
            ),
            // Nobody wants a million requests.
            (large, limits(None, Some(1000)), Mode::Whole),
            (
                large,
                limits(Some(u64::MAX), Some(1)),
                Mode::Chunks(u64::MAX),
            ),
        ] {
            assert_eq!(mode(size, limits), expected, "{size} {limits:?}");
        }
    }

    #[test]
    fn ranges_are_read() {
        for (range, length) in [
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-0", Some(0)),
            ("1-99", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            assert_eq!(range_length(range), length, "{range}");
        }
    }
}
