//! A daemon that answers: where and what it is.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use tokio::runtime::Runtime;

use super::address::{Address, Surroundings, Wanted};
use super::build::BUILDKIT_SINCE;
use super::error::{DockerError, is_denied, reason};

/// The client gives up on an answer after this time, and some take as long as a container runs; whoever waits can stop us.
const CLIENT_LIMIT_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;
/// The first version of Docker that takes layers compressed with Zstandard.
const ZSTD_SINCE: u32 = 23;

/// Whose daemon it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonKind {
    /// Docker's.
    Docker,
    /// Podman's, which speaks Docker's protocol.
    Podman,
}

/// A daemon that has answered.
#[derive(Debug)]
pub struct Daemon {
    address: Address,
    client: Client,
    runtime: Runtime,
    kind: DaemonKind,
    version: String,
}

impl Daemon {
    /// The first daemon that answers of those that the environment names, or of the usual ones. Each may take `patience`
    /// for its answer.
    pub fn find(wanted: Wanted, patience: Duration) -> Result<Self, DockerError> {
        let variable = |name: &str| std::env::var_os(name);
        let addresses = Surroundings::new(&variable).addresses(wanted)?;
        let mut first = None;
        for address in addresses {
            match Self::connect(address, patience) {
                Ok(daemon) => return Ok(daemon),
                Err(error) => {
                    // The likeliest place is the one to tell of.
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| DockerError::Ping {
            address: "any of the usual places".into(),
            reason: "no socket".into(),
        }))
    }

    fn connect(address: Address, patience: Duration) -> Result<Self, DockerError> {
        let unreachable = |reason: String| DockerError::Ping {
            address: address.to_string(),
            reason,
        };
        let client = client(&address).map_err(|error| unreachable(reason(&error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| DockerError::System {
                action: "start the Docker client",
                source,
            })?;
        let answer =
            runtime.block_on(async { tokio::time::timeout(patience, client.version()).await });
        let version = answer
            .map_err(|_| unreachable("no answer in time".into()))?
            .map_err(|error| {
                if is_denied(&error) {
                    DockerError::Denied {
                        address: address.to_string(),
                    }
                } else {
                    unreachable(reason(&error))
                }
            })?;
        let is_podman = version
            .components
            .iter()
            .flatten()
            .any(|component| component.name.contains("Podman"));
        Ok(Self {
            client,
            runtime,
            kind: if is_podman {
                DaemonKind::Podman
            } else {
                DaemonKind::Docker
            },
            version: cog_errors::line(&version.version.unwrap_or_default()).into_owned(),
            address,
        })
    }

    /// Whose it is.
    pub fn kind(&self) -> DaemonKind {
        self.kind
    }

    /// Its name for people.
    pub fn title(&self) -> &'static str {
        match self.kind {
            DaemonKind::Docker => "Docker",
            DaemonKind::Podman => "Podman",
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is on this machine, as far as can be told.
    pub fn is_local(&self) -> bool {
        self.address.is_local()
    }

    /// Whether it takes layers that are compressed with Zstandard.
    pub fn understands_zstd(&self) -> bool {
        match self.kind {
            DaemonKind::Docker => major(&self.version).is_none_or(|major| major >= ZSTD_SINCE),
            DaemonKind::Podman => true,
        }
    }

    /// Whether it builds with BuildKit, or as Podman does.
    pub(super) fn has_buildkit(&self) -> bool {
        match self.kind {
            DaemonKind::Docker => {
                numbers(&self.version).is_none_or(|numbers| numbers >= BUILDKIT_SINCE)
            }
            DaemonKind::Podman => true,
        }
    }

    /// Its version, as it says it.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn failed(&self, action: impl Into<String>, error: &ApiError) -> DockerError {
        DockerError::Request {
            daemon: self.title(),
            action: action.into(),
            reason: reason(error),
        }
    }
}

/// Connects, which asks nothing yet.
pub(super) fn client(address: &Address) -> Result<Client, ApiError> {
    let (limit, version) = (CLIENT_LIMIT_SECONDS, API_DEFAULT_VERSION);
    match address {
        Address::Socket(path) => Client::connect_with_unix(&path.to_string_lossy(), limit, version),
        Address::Tcp(authority) => Client::connect_with_http(authority, limit, version),
        Address::Tls(authority, folder) => Client::connect_with_ssl(
            authority,
            &folder.join("key.pem"),
            &folder.join("cert.pem"),
            &folder.join("ca.pem"),
            limit,
            version,
        ),
    }
}

/// The first number of a version.
fn major(version: &str) -> Option<u32> {
    version.split(['.', '-']).next()?.parse().ok()
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_first_number() {
        assert_eq!(major("20.10.24+dfsg1"), Some(20));
        assert_eq!(major("29.0.1"), Some(29));
        assert_eq!(major("dev"), None);
        assert_eq!(numbers("20.10.24+dfsg1"), Some((20, 10)));
        assert_eq!(numbers("dev"), None);
        assert!(numbers("19.03.15") < Some(BUILDKIT_SINCE));
    }
}
