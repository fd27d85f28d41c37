//! Keeps release files: fetched, verified, and believed for a while.

use std::path::{Path, PathBuf};
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
    /// The release file of `archive`; nothing if the mirror does not have this optional archive and never had it.
    pub(super) async fn find(&self, suite: Suite, archive: Archive) -> Result<Option<Found>> {
        let Some(address) = self.mirror.address(archive) else {
            return Ok(None);
        };
        let url = format!("{address}/dists/{}/InRelease", archive.suite(suite));
        let path = self.folder.join(hex(Sha256::digest(&url)));
        let known = self.known(&path, &url, suite, archive)?;
        if known.is_fresh {
            return Ok(known.found(Origin::Fresh));
        }
        let message = match self.fetcher.small_file(&url).await {
            Ok(message) => message,
            Err(error) if error.is_unreachable() && known.is_usable() => {
                return Ok(known.found(Origin::Offline));
            }
            Err(DebianError::Refused {
                url,
                status: status @ (403 | 404 | 410),
            }) => return self.absent(&path, url, status, archive, &known),
            Err(error) => return Err(error),
        };
        let release = self.verified(&message, &url, suite, archive)?;
        self.check_age(&release, &url)?;
        // A mirror that lags behind another one does not take us back in time.
        if let State::Present(Some(earlier)) = &known.state
            && earlier.date > release.date
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
    fn known(&self, path: &Path, url: &str, suite: Suite, archive: Archive) -> Result<Known> {
        let unknown = Known {
            state: State::Unknown,
            is_fresh: false,
        };
        let message = match fs_err::read(path) {
            Ok(message) => message,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(unknown),
            Err(error) => return Err(error.into()),
        };
        let fetched = fs_err::metadata(path)?.modified()?;
        let age = self.now.duration_since(fetched);
        let is_fresh = age.is_ok_and(|age| age < self.freshness);
        if message.is_empty() {
            if !self.mirror.is_optional(archive) {
                return Ok(unknown);
            }
            let state = State::Absent;
            return Ok(Known { state, is_fresh });
        }
        // One that is cut off, or signed by a key that is no longer valid, only shows that there was one.
        let release = self.verified(&message, url, suite, archive).ok();
        let is_valid = |release: &Release| self.check_age(release, url).is_ok();
        Ok(Known {
            is_fresh: is_fresh && release.as_ref().is_some_and(is_valid),
            state: State::Present(release),
        })
    }

    /// The mirror says that it does not have the archive. Anybody between us and it could say so to keep updates from
    /// us, so what was there once, or is surely there, cannot just be missing.
    fn absent(
        &self,
        path: &Path,
        url: String,
        status: u16,
        archive: Archive,
        known: &Known,
    ) -> Result<Option<Found>> {
        if matches!(known.state, State::Present(_)) {
            return Err(DebianError::Vanished { url, status });
        }
        if !self.mirror.is_optional(archive) {
            return Err(DebianError::Refused { url, status });
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

    fn keep(&self, path: &Path, message: &[u8]) -> Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        std::io::Write::write_all(&mut temporary, message)?;
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// What is known from earlier.
struct Known {
    state: State,
    is_fresh: bool,
}

enum State {
    Unknown,
    /// The mirror did not have the archive.
    Absent,
    /// The mirror had it; its release file, if that can still be believed.
    Present(Option<Release>),
}

impl Known {
    fn is_usable(&self) -> bool {
        matches!(self.state, State::Absent | State::Present(Some(_)))
    }

    fn found(self, origin: Origin) -> Option<Found> {
        match self.state {
            State::Present(Some(release)) => Some(Found { release, origin }),
            _ => None,
        }
    }
}
