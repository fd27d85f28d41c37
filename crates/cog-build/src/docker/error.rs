//! What goes wrong between a daemon and a build.

use cog_engine::docker::DockerError;
use cog_errors::Hint;

/// A daemon could not be given an image, or build one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The daemon refused, or is not there.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The image store refused.
    #[error(transparent)]
    Image(#[from] cog_image::Error),
    /// A file operation failed; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The daemon took an image and does not have it.
    #[error("{daemon} has lost {name}")]
    Lost {
        /// The daemon's name.
        daemon: &'static str,
        /// The image's.
        name: String,
    },
    /// What the daemon built is not what it was asked for.
    #[error("{daemon} built {found} layers for {wanted} instructions over {below} layers")]
    Layers {
        /// The daemon's name.
        daemon: &'static str,
        /// Layers of the image.
        found: usize,
        /// Instructions that make one.
        wanted: usize,
        /// Layers that were there before.
        below: usize,
    },
    /// A container left no word about its command.
    #[error("{daemon} ran `{command}` and cannot say how that ended")]
    NoStatus {
        /// The daemon's name.
        daemon: &'static str,
        /// The command, for people.
        command: String,
    },
    /// A path that a Dockerfile has no way to write.
    #[error(
        "`{target}` cannot be mounted while a daemon builds: it has a character that Dockerfiles have no quotes for"
    )]
    Target {
        /// The path.
        target: String,
    },
}

impl Hint for DaemonError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Docker(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Target { .. } => Some(
                "name another target in `build.run`, or build with `--backend native`".to_owned(),
            ),
            _ => None,
        }
    }
}
