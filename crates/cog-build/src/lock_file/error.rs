//! What can be wrong with a lock file.

use cog_errors::Hint;

use crate::architecture::Architecture;

/// A lock file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockFileError {
    /// The file cannot be read.
    #[error("failed to read {name}")]
    Unreadable {
        /// The file.
        name: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("failed to write {name}")]
    Unwritable {
        /// The file.
        name: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say what such a file says.
    #[error("{name}, line {line}: {reason}")]
    Invalid {
        /// The file.
        name: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file is of another time.
    #[error("{name} has format {found}, and this cog knows format {known} only")]
    Version {
        /// The file.
        name: String,
        /// Its version of the format.
        found: i64,
        /// Ours.
        known: u32,
    },
    /// There is no file.
    #[error("there is no {name}")]
    Missing {
        /// The file.
        name: String,
    },
    /// The file is of another project than there is now.
    #[error("{name} does not fit the project:{}", list(.differences))]
    Drift {
        /// The file.
        name: String,
        /// What differs, a line each.
        differences: Vec<String>,
        /// The platforms to lock, where the file lacks one.
        platforms: Vec<Architecture>,
    },
    /// The file has nothing of that name to upgrade.
    #[error("{name} has no `{wanted}`")]
    Unknown {
        /// The file.
        name: String,
        /// What was named.
        wanted: String,
    },
}

fn list(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n  ", line]).collect()
}

impl Hint for LockFileError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => return None,
            Self::Unwritable { .. } => {
                "builds need not write it: with `--locked` they take it as it is".to_owned()
            }
            Self::Invalid { name, .. } => {
                format!("take {name} from version control again, or remove it and run `cog lock`")
            }
            Self::Version { name, .. } => {
                format!(
                    "use the cog that made {name}, or a newer one; or remove it and run `cog lock`"
                )
            }
            Self::Missing { .. } => "make it with `cog lock`".to_owned(),
            Self::Drift { platforms, .. } => {
                let flag = match platforms.as_slice() {
                    [] => String::new(),
                    some => format!(" --platform {}", Architecture::list(some)),
                };
                format!(
                    "`cog lock{flag}` brings it up to date, and keeps all versions that still fit"
                )
            }
            Self::Unknown { .. } => {
                "name a Python package, a package of the distribution, `base` or `system`"
                    .to_owned()
            }
        })
    }
}
