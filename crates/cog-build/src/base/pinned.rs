//! A base that was chosen before: by the digest of an image, or by the packages of the archive.

use cog_config::{DEFAULT_REGISTRY, Options};
use cog_debian::Lock as ArchiveLock;
use cog_image::{Digest, ImageRef};

use super::registry::{self, Brings, Found};
use super::{AddedPython, LockedBase, debian, is_prebuilt};
use crate::error::{BuildError, Result};
use crate::executor::Executor;

/// What it takes to have the same base again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinnedBase {
    pub(crate) origin: Origin,
    /// The Python that is added to it.
    pub(crate) python: Option<AddedPython>,
}

/// Where a base comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An image in a registry.
    Image {
        /// What it was asked for as.
        reference: String,
        /// What was found under that name.
        digest: Digest,
    },
    /// Packages of the Debian archive.
    Debian(Box<ArchiveLock>),
}

/// What of a base decides about packages of the distribution, whether it has been fetched or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ground {
    /// Whether it is one of the prebuilt images, which hold the packages that projects commonly use.
    pub(crate) is_prebuilt: bool,
    /// The release, if the base was made of the archive's packages.
    pub(crate) suite: Option<&'static str>,
    /// Whether its Python is the distribution's own.
    pub(crate) has_system_python: bool,
}

impl PinnedBase {
    /// What it takes to have `base` again; nothing for one that was made in another way than those of today.
    pub(crate) fn of(base: &LockedBase, options: &Options) -> Option<Self> {
        let origin = match &base.archive {
            Some(archive) => Origin::Debian(archive.clone()),
            None => image(&base.name, options)?,
        };
        Some(Self {
            origin,
            python: base.added_python.clone(),
        })
    }

    /// The base as this machine has to ask for it.
    pub(crate) fn asked_from_here(mut self, options: &Options) -> Self {
        if let Origin::Image { reference, .. } = &mut self.origin {
            *reference = from_here(reference, options);
        }
        self
    }

    /// What decides about packages of the distribution. Whether an image's own Python is the distribution's is not known.
    pub(crate) fn ground(&self) -> Ground {
        match &self.origin {
            Origin::Image { reference, .. } => Ground {
                is_prebuilt: is_prebuilt(reference),
                suite: None,
                has_system_python: false,
            },
            Origin::Debian(archive) => Ground {
                is_prebuilt: false,
                suite: Some(archive.suite.codename()),
                has_system_python: self.python.is_none(),
            },
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match &self.origin {
            Origin::Image { reference, .. } => reference.clone(),
            Origin::Debian(archive) => format!("debian:{}", archive.suite.codename()),
        }
    }
}

/// The image that is called `name`, with its digest.
fn image(name: &str, options: &Options) -> Option<Origin> {
    let (reference, digest) = name.split_once('@')?;
    Some(Origin::Image {
        reference: everywhere(reference, options),
        digest: digest.parse().ok()?,
    })
}

/// A reference to a prebuilt image names the public registry, whatever this machine has in its place: who else builds the
/// project may have another one, and the digest says which image it is.
pub(crate) fn everywhere(reference: &str, options: &Options) -> String {
    in_place(reference, &options.registry_host, DEFAULT_REGISTRY)
}

/// The same the other way round.
fn from_here(reference: &str, options: &Options) -> String {
    in_place(reference, DEFAULT_REGISTRY, &options.registry_host)
}

fn in_place(reference: &str, host: &str, other: &str) -> String {
    match reference
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(rest) if is_prebuilt(reference) => format!("{other}/{rest}"),
        _ => reference.to_owned(),
    }
}

/// The base with the Python `version`, as it was.
pub(super) fn base(
    executor: &Executor<'_>,
    pinned: &PinnedBase,
    version: &str,
) -> Result<LockedBase> {
    let python = pinned.python.as_ref();
    let (reference, digest) = match &pinned.origin {
        Origin::Debian(archive) => return debian::pinned(executor, archive, version, python),
        Origin::Image { reference, digest } => (reference, digest),
    };
    let brings = match python {
        Some(_) => Brings::NoPython,
        None if is_prebuilt(reference) => Brings::Packages,
        None => Brings::Python,
    };
    let parsed: ImageRef = reference.parse()?;
    let exact = parsed.with_digest(*digest).to_string();
    match registry::base(executor, &exact, brings, version, python)? {
        Found::Base(base) => Ok(*base),
        Found::Unreachable => Err(BuildError::NoRegistry {
            reference: reference.clone(),
        }),
    }
}

/// Remembers `base`, which was made with the Python `version`, as the one that it is pinned to: adding the Python again would
/// give the same, after downloading it.
pub(super) fn remember(executor: &Executor<'_>, base: &LockedBase, version: &str) -> Result<()> {
    let Some(build) = &base.added_python else {
        return Ok(());
    };
    let key = match &base.archive {
        Some(archive) => debian::known_as(executor, archive, version, build),
        None => registry::known_as(executor, &base.name.parse()?, version, Some(build)),
    };
    Ok(executor.store.record_step(&key, &base.to_record())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_of_prebuilt_images_is_not_written_down() {
        let options = Options {
            registry_host: "mirror.example:5000".to_owned(),
            ..Options::default()
        };
        let here = "mirror.example:5000/cog-base:python3.11";
        let written = everywhere(here, &options);
        assert_eq!(written, "r8.im/cog-base:python3.11");
        assert_eq!(from_here(&written, &options), here);
        assert_eq!(
            from_here(&written, &Options::default()),
            "r8.im/cog-base:python3.11"
        );
        for other in [
            "python:3.11-slim",
            "mirror.example:5000/team/python:3.11",
            "r8.im/other:1",
        ] {
            assert_eq!(everywhere(other, &options), other);
            assert_eq!(from_here(other, &options), other);
        }
    }

    #[test]
    fn images_are_known_by_their_digest() {
        let digest = Digest::of(b"x");
        let name = format!("python:3.11-slim@{digest}");
        assert_eq!(
            image(&name, &Options::default()),
            Some(Origin::Image {
                reference: "python:3.11-slim".to_owned(),
                digest,
            })
        );
        assert_eq!(image("python:3.11-slim", &Options::default()), None);
    }
}
