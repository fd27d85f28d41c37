//! Keeps release files: fetched, verified, and believed for a while.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::error::{DebianError, Result};
use super::fetch::Fetcher;
use super::keyring::Keyring;
use super::mirror::{Age, Mirror};
use super::release::Release;
use super::suite::{Archive, Suite};
use hex::encode as hex;

/// Finds the release file of an archive.
pub(super) struct Releases<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) keyring: &'a Keyring,
    pub(super) mirror: &'a Mirror,
    pub(super) folder: PathBuf,
    /// For how long one that was fetched is not asked for again.
    pub(super) freshness: Duration,
    pub(super) now: SystemTime,
}

/// A release file and how it was got.
pub(super) struct Found {
    pub(super) release: Release,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the mirror, not long ago.
    Fresh,
    /// From the cache, since the mirror cannot be reached.
    Offline,
}

impl Releases<'_> {
    /// The release file of `archive`; nothing if the mirror does not have this optional archive.
    pub(super) async fn find(&self, suite: Suite, archive: Archive) -> Result<Option<Found>> {
        let Some(address) = self.mirror.address(archive) else {
            return Ok(None);
        };
        let url = format!("{address}/dists/{}/InRelease", archive.suite(suite));
        let path = self.folder.join(hex(Sha256::digest(&url)));
        let known = self.known(&path, &url, suite, archive)?;
        let known = match known {
            Some(known) if known.is_fresh => return Ok(known.found(Origin::Fresh)),
            known => known,
        };
        let (message, known) = match (self.fetcher.small_file(&url).await, known) {
            (Err(error), Some(known)) if error.is_unreachable() => {
                return Ok(known.found(Origin::Offline));
            }
            (message, known) => (message?, known),
        };
        let Some(message) = message else {
            return self.absent(&path, url, archive);
        };
        let release = self.verified(&message, &url, suite, archive)?;
        self.check_age(&release, &url)?;
        // A mirror that lags behind another one does not take us back in time.
        if let Some(known) = known
            && known
                .release
                .as_ref()
                .is_some_and(|known| known.date > release.date)
        {
            return Ok(known.found(Origin::Fresh));
        }
        self.keep(&path, &message)?;
        Ok(Some(Found {
            release,
            origin: Origin::Fresh,
        }))
    }

    /// What the cache has. An empty file stands for an archive that the mirror does not have.
    fn known(
        &self,
        path: &PathBuf,
        url: &str,
        suite: Suite,
        archive: Archive,
    ) -> Result<Option<Known>> {
        let message = match fs_err::read(path) {
            Ok(message) => message,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let fetched = fs_err::metadata(path)?.modified()?;
        let age = self.now.duration_since(fetched);
        let is_fresh = age.is_ok_and(|age| age < self.freshness);
        if message.is_empty() {
            let release = None;
            return Ok(Some(Known { release, is_fresh }));
        }
        // One that is cut off, or signed by a key that is no longer valid, is of no use.
        let release = self.verified(&message, url, suite, archive).ok();
        Ok(release.map(|release| Known {
            is_fresh: is_fresh && self.check_age(&release, url).is_ok(),
            release: Some(release),
        }))
    }

    fn absent(&self, path: &PathBuf, url: String, archive: Archive) -> Result<Option<Found>> {
        if !archive.is_optional() {
            return Err(DebianError::Refused { url, status: 404 });
        }
        self.keep(path, b"")?;
        Ok(None)
    }

    fn verified(
        &self,
        message: &[u8],
        url: &str,
        suite: Suite,
        archive: Archive,
    ) -> Result<Release> {
        let text = self.keyring.verified_text(message, self.now);
        let text = text.map_err(|reason| DebianError::Signature {
            url: url.to_owned(),
            reason,
        })?;
        let unusable = |reason| DebianError::Release {
            url: url.to_owned(),
            reason,
        };
        let release = Release::parse(&text).map_err(unusable)?;
        let expected = archive.suite(suite);
        // Otherwise a mirror could answer with the signed file of another release.
        if release.codename == expected {
            return Ok(release);
        }
        Err(unusable(format!(
            "it is of `{}`, not of `{expected}`",
            release.codename
        )))
    }

    fn check_age(&self, release: &Release, url: &str) -> Result<()> {
        match &release.valid_until {
            Some((until, text)) if *until < self.now && self.mirror.age() == Age::Limited => {
                Err(DebianError::Expired {
                    url: url.to_owned(),
                    until: text.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, path: &PathBuf, message: &[u8]) -> Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        std::io::Write::write_all(&mut temporary, message)?;
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// What is known from earlier.
struct Known {
    /// Nothing if the mirror did not have the archive.
    release: Option<Release>,
    is_fresh: bool,
}

impl Known {
    fn found(self, origin: Origin) -> Option<Found> {
        self.release.map(|release| Found { release, origin })
    }
}
