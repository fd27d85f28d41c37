//! What goes wrong with a container daemon.

use std::path::PathBuf;

use cog_errors::{Hint, line};

/// A daemon could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DockerError {
    /// Nobody answers where the daemon should be.
    #[error("error pinging docker daemon: {} at {address}", line(reason))]
    Ping {
        /// Where it was looked for.
        address: String,
        /// What happened.
        reason: String,
    },
    /// There is one, and this user may not use it.
    #[error("error pinging docker daemon: permission denied at {address}")]
    Denied {
        /// Where it is.
        address: String,
    },
    /// `DOCKER_HOST`, or a context's host, is of a kind that is not supported.
    #[error("cannot connect to a Docker daemon at `{host}`: {reason}")]
    Host {
        /// As it was given.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no such context.
    #[error("there is no Docker context `{name}` (`DOCKER_CONTEXT`) in {}", folder.display())]
    NoContext {
        /// Its name.
        name: String,
        /// Where contexts are.
        folder: PathBuf,
    },
    /// A file of Docker's configuration makes no sense.
    #[error("{} is not valid: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The daemon refused, or the connection broke off.
    #[error("{daemon} could not {action}: {}", line(reason.trim()))]
    Request {
        /// Its name.
        daemon: &'static str,
        /// What it was asked for.
        action: String,
        /// Its answer.
        reason: String,
    },
    /// A container runs, and a port of it that was asked for cannot be reached.
    #[error(
        "{daemon} has not published port {port} of the container{}",
        if *has_network { "" } else { ", which it has connected to no network" }
    )]
    NotPublished {
        /// The daemon's name.
        daemon: String,
        /// The port's number in the container.
        port: u16,
        /// Whether the container has a network at all.
        has_network: bool,
    },
    /// The daemon is too old for builds.
    #[error("Docker {} cannot build images for cog: it takes BuildKit of Docker {}.{} or newer", line(version), needed.0, needed.1)]
    NoBuildKit {
        /// The daemon's version.
        version: String,
        /// The first one that can.
        needed: (u32, u32),
    },
    /// The operating system refused something.
    #[error("could not {action}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for DockerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Ping { .. } => Some(
                "start Docker or Podman, or say with `DOCKER_HOST` where it is; `--engine embedded` needs neither"
                    .into(),
            ),
            Self::Denied { .. } => Some(
                "join the group that the socket belongs to (`sudo usermod -aG docker $USER`, then log in again), or run as root; \
                 `--engine embedded` needs no daemon"
                    .into(),
            ),
            Self::NotPublished {
                daemon,
                has_network,
                ..
            } => {
                let embedded = "`--engine embedded` needs no daemon";
                Some(match (daemon.as_str(), has_network) {
                    ("Docker", false) => format!(
                        "start `dockerd` with a network for containers: without `--bridge=none`, and without `\"bridge\": \
                         \"none\"` in its `daemon.json`; {embedded}"
                    ),
                    (_, false) => format!("give its containers a network by default; {embedded}"),
                    (_, true) => format!("the log of {daemon} may say why; {embedded}"),
                })
            }
            Self::NoBuildKit { .. } => {
                Some("update Docker, or build with `--backend native`, which needs no daemon".into())
            }
            Self::NoContext { .. } => Some("`docker context ls` lists those that there are".into()),
            _ => None,
        }
    }
}

/// Whether the operating system lets nobody like us in.
pub(super) fn is_denied(error: &bollard::errors::Error) -> bool {
    let mut next: Option<&dyn std::error::Error> = match error {
        // It passes for what it has inside.
        bollard::errors::Error::IOError { err } => Some(err),
        other => Some(other),
    };
    while let Some(error) = next {
        let found = error.downcast_ref::<std::io::Error>();
        if found.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What a daemon, or the way to it, says of a failure.
pub(crate) fn reason(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        Error::RequestTimeoutError => "no answer in time".to_owned(),
        Error::SocketNotFoundError(_) => "no such socket".to_owned(),
        // What the connection says is behind what the client says of it.
        other => {
            let mut last: &dyn std::error::Error = other;
            while let Some(source) = last.source() {
                last = source;
            }
            last.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_which_group_is() {
        let denied = |kind: ErrorKind| is_denied(&Error::from(kind).into());
        assert!(denied(ErrorKind::PermissionDenied));
        assert!(!denied(ErrorKind::ConnectionRefused));
        let told = DockerError::Denied {
            address: "unix:///x".to_owned(),
        };
        assert_eq!(
            told.to_string(),
            "error pinging docker daemon: permission denied at unix:///x"
        );
        let hint = told.hint().expect("there is something to do");
        assert!(hint.contains("usermod -aG docker"), "{hint}");
    }

    #[test]
    fn ports_that_are_not_published_are_told_with_what_to_do() {
        let told = |daemon: &str, has_network| {
            let error = DockerError::NotPublished {
                daemon: daemon.to_owned(),
                port: 5000,
                has_network,
            };
            (error.to_string(), error.hint().unwrap_or_default())
        };
        let (said, hint) = told("Docker", false);
        assert_eq!(
            said,
            "Docker has not published port 5000 of the container, which it has connected to no network"
        );
        assert!(hint.contains("without `--bridge=none`"), "{hint}");
        let (said, hint) = told("Podman", true);
        assert_eq!(said, "Podman has not published port 5000 of the container");
        assert!(hint.contains("`--engine embedded`"), "{hint}");
    }

    #[test]
    fn what_a_daemon_says_is_on_one_line() {
        let error = DockerError::Request {
            daemon: "Docker",
            action: "pull the image".to_owned(),
            reason: "no such image\nfake: pushed\n".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            r"Docker could not pull the image: no such image\nfake: pushed"
        );
    }
}
