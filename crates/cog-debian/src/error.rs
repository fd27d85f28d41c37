//! What can go wrong with the Debian archive and its packages.

use std::path::PathBuf;

use super::deb::DebError;

/// A Debian base could not be resolved or assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// A file operation failed; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The mirror's address makes no sense.
    #[error("`{address}` is not the address of a Debian mirror")]
    BadMirror {
        /// As it was given.
        address: String,
    },
    /// No connection, or it broke down again and again.
    #[error("could not reach the Debian archive at {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        #[source]
        /// Why.
        source: reqwest::Error,
    },
    /// The mirror does not give the file.
    #[error("the Debian archive answered {status} to {url}")]
    Refused {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The mirror says that it does not have what it had before.
    #[error("the Debian archive had {url} before, and answers {status} now")]
    Vanished {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The HTTP client cannot be made.
    #[error("could not set up HTTPS")]
    Http(#[source] reqwest::Error),
    /// A file is longer than such a file ever is.
    #[error("{url} is longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file has other content than the signed index says.
    #[error("{url} arrived damaged: expected sha256 {expected}, got {actual}")]
    Corrupt {
        /// What was asked for.
        url: String,
        /// Hexadecimal digest from the index.
        expected: String,
        /// Hexadecimal digest of what arrived.
        actual: String,
    },
    /// A file has the content that was asked for, and another size.
    #[error("{url} has {actual} bytes instead of {expected}")]
    WrongSize {
        /// What was asked for.
        url: String,
        /// What was announced, in bytes.
        expected: u64,
        /// What arrived, in bytes.
        actual: u64,
    },
    /// The signature of a release is missing, broken, or of somebody else.
    #[error("the release file {url} is not signed by the Debian archive: {reason}")]
    Signature {
        /// Where it is from.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The release file is too old to be trusted.
    #[error("the release file {url} expired on {until}")]
    Expired {
        /// Where it is from.
        url: String,
        /// The date, in the archive's words.
        until: String,
    },
    /// A signed release file that says other things than it should.
    #[error("the release file {url} cannot be used: {reason}")]
    Release {
        /// Where it is from.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A package index that cannot be understood.
    #[error("the package index of {archive} cannot be used: {reason}")]
    Index {
        /// Suite of the archive.
        archive: String,
        /// What is wrong.
        reason: String,
    },
    /// A package that was asked for is not there.
    #[error("Debian {suite} has no package `{name}`")]
    NoPackage {
        /// The package.
        name: String,
        /// Where it was looked for.
        suite: &'static str,
    },
    /// A package cannot be installed.
    #[error("package `{package}` cannot be installed: {reason}")]
    NotInstallable {
        /// The package.
        package: String,
        /// The dependency that cannot be met, or the conflict.
        reason: String,
    },
    /// A package file is malformed or hostile.
    #[error("package `{package}` was refused")]
    Package {
        /// The package.
        package: String,
        #[source]
        /// What is wrong with it.
        source: DebError,
    },
    /// Two packages bring the same file, and neither says that it may replace the other's.
    #[error("packages `{first}` and `{second}` both contain `/{}`", path.display())]
    FileConflict {
        /// One package.
        first: String,
        /// The other.
        second: String,
        /// The file, without leading slash.
        path: PathBuf,
    },
    /// The directory to assemble in has something in it.
    #[error("`{}` is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The packages' own set-up failed.
    #[error("the packages of Debian {suite} could not be configured")]
    Configure {
        /// Which Debian.
        suite: &'static str,
        #[source]
        /// What the container said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Result of this module's functions.
pub type Result<T, E = DebianError> = std::result::Result<T, E>;

impl DebianError {
    /// Whether the reason is that there is no connection to the archive.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the mirror no longer has what the index promised: it moved on since.
    pub fn is_outdated(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 404 | 410,
                ..
            } | Self::Corrupt { .. }
        )
    }

    /// Whether a file is another one than was asked for.
    pub fn is_other_content(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::WrongSize { .. } | Self::TooLong { .. }
        )
    }

    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { source, .. } if is_about_trust(source) => {
                "if the mirror's authority is one of your organisation, name a file with the authority's certificate in \
                 `COG_CA_CERT`, or add it to the system's"
            }
            Self::Unreachable { .. } => {
                "check the network, or set `COG_DEBIAN_MIRROR` to a mirror that can be reached"
            }
            Self::BadMirror { .. } => {
                "set `COG_DEBIAN_MIRROR` to an address such as http://mirror.example/debian"
            }
            Self::Refused { .. } | Self::Vanished { .. } | Self::Corrupt { .. } => {
                "try again later, or set `COG_DEBIAN_MIRROR` to another mirror"
            }
            Self::Expired { .. } => {
                "set `COG_DEBIAN_MIRROR` to a mirror that is kept up to date, and check the clock"
            }
            Self::Signature { .. } => {
                "set `COG_DEBIAN_MIRROR` to a mirror of the official Debian archive"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether the certificate of whoever answered is the reason.
fn is_about_trust(error: &dyn std::error::Error) -> bool {
    let of_certificate = error.to_string().contains("certificate");
    of_certificate || error.source().is_some_and(is_about_trust)
}
