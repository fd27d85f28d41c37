//! Hashes that requirements ask for, held against what was resolved.

use super::{Origin, Pinned, Resolution};
use crate::requirements::Requirements;

/// What a build adds of its own, to packages that are complete without.
const BROUGHT: [&str; 2] = ["pip", "setuptools"];

/// What was found is not what the requirements allow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashError {
    /// No file has one of the hashes.
    #[error("no file of `{name}` {version} has a hash that {file} allows; it has {found}")]
    Mismatch {
        /// The distribution.
        name: String,
        /// Its version.
        version: String,
        /// The user's file.
        file: String,
        /// The hashes there are.
        found: String,
    },
    /// `--require-hashes`, and one has none.
    #[error(
        "{file} has `--require-hashes`, and there is no hash for `{name}`, which is to be installed"
    )]
    Missing {
        /// The distribution.
        name: String,
        /// The user's file.
        file: String,
    },
}

impl cog_errors::Hint for HashError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Mismatch { .. } => {
                    "if the file is the one that you want, write its hash; otherwise somebody has exchanged it"
                }
                Self::Missing { .. } => {
                    "write every package that is needed with its version and hashes, as `uv pip compile \
                     --generate-hashes` or `pip-compile --generate-hashes` do"
                }
            }
            .to_owned(),
        )
    }
}

impl Resolution {
    /// Leaves only the hashes that `requirements` allow. What is downloaded is checked against them later.
    pub fn allow_only(&mut self, requirements: &Requirements) -> Result<(), HashError> {
        for one in &mut self.distributions {
            match requirements.hashes.get(&one.name) {
                Some(allowed) => one.allow_only(allowed, &requirements.source)?,
                None if requirements.require_hashes && !BROUGHT.contains(&&*one.name) => {
                    return Err(HashError::Missing {
                        name: one.name.clone(),
                        file: requirements.source.clone(),
                    });
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl Pinned {
    fn allow_only(&mut self, allowed: &[String], file: &str) -> Result<(), HashError> {
        let found = self.hashes().join(", ");
        let fits = match &mut self.origin {
            Origin::Index { files } => {
                files.retain_mut(|file| restrict(&mut file.hashes, allowed));
                !files.is_empty()
            }
            Origin::Archive { hashes, .. } => restrict(hashes, allowed),
            Origin::Local { hashes, .. } if !hashes.is_empty() => restrict(hashes, allowed),
            // What is made of a folder or a commit has no hash that could be known before.
            Origin::Local { .. } | Origin::Git { .. } => false,
        };
        if fits {
            return Ok(());
        }
        Err(HashError::Mismatch {
            name: self.name.clone(),
            version: self.version.clone().unwrap_or_default(),
            file: file.to_owned(),
            found: if found.is_empty() {
                "none".to_owned()
            } else {
                found
            },
        })
    }
}

/// Leaves those of `hashes` that are `allowed`, and says whether the file may be used. Where none is of an algorithm
/// that is in both, nothing is known yet: the allowed ones are taken, and the download will tell.
fn restrict(hashes: &mut Vec<String>, allowed: &[String]) -> bool {
    let algorithm = |hash: &str| hash.split(':').next().unwrap_or_default().to_owned();
    let comparable = hashes.iter().any(|hash| {
        allowed
            .iter()
            .any(|other| algorithm(other) == algorithm(hash))
    });
    if comparable {
        hashes.retain(|hash| allowed.contains(hash));
    } else {
        allowed.clone_into(hashes);
    }
    !hashes.is_empty()
}
