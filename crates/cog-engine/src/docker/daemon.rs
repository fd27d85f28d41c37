//! A daemon that answers: what it is, and its images.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptions, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender};

use super::address::{Address, Surroundings, Wanted};
use super::build::BUILDKIT_SINCE;
use super::error::{DockerError, reason};
use super::libpod;

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

/// An image that a daemon has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonImage {
    /// What the daemon calls it: a digest.
    pub id: String,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// What runs first.
    pub entrypoint: Vec<String>,
    /// Its arguments, or the command where there is no entry point.
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Labels, by name.
    pub labels: Vec<(String, String)>,
    /// What it runs on, such as `linux/amd64`.
    pub platform: String,
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
            .map_err(|error| unreachable(reason(&error)))?;
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
            version: version.version.unwrap_or_default(),
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

    /// The image called `name`, which may also be its id; `None` if it has none.
    pub fn image(&self, name: &str) -> Result<Option<DaemonImage>, DockerError> {
        let found = self.runtime.block_on(self.client.inspect_image(name));
        match found {
            Ok(found) => Ok(Some(found.into())),
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(self.failed(format!("look for `{name}`"), &error)),
        }
    }

    /// Makes the daemon pull `reference`, a name with a tag in a registry of this machine's loopback.
    pub fn pull(&self, reference: &str) -> Result<(), DockerError> {
        if self.kind == DaemonKind::Podman {
            let pulled = self
                .runtime
                .block_on(libpod::pull(&self.address, reference));
            return pulled.map_err(|reason| DockerError::Request {
                daemon: self.title(),
                action: "pull the image".to_owned(),
                reason,
            });
        }
        let options = CreateImageOptionsBuilder::new()
            .from_image(reference)
            .build();
        let steps = self.client.create_image(Some(options), None, None);
        self.to_the_end(steps)
            .map_err(|error| self.failed("pull the image", &error))
    }

    /// Gives the daemon a Docker archive, piece by piece.
    pub fn load(&self, mut archive: Receiver<std::io::Result<Bytes>>) -> Result<(), DockerError> {
        let options = ImportImageOptions {
            quiet: true,
            ..ImportImageOptions::default()
        };
        let pieces = stream::poll_fn(move |context| archive.poll_recv(context));
        let steps = self.client.import_image_stream(options, pieces, None);
        self.to_the_end(steps)
            .map_err(|error| self.failed("load the image", &error))
    }

    /// Writes the image `name` as a Docker archive, piece by piece. Whoever reads may hang up.
    pub fn save(
        &self,
        name: &str,
        pieces: &Sender<std::io::Result<Bytes>>,
    ) -> Result<(), DockerError> {
        let archive = self.client.export_image(name);
        let written = archive.try_for_each(|piece| async {
            let sent = pieces.send(Ok(piece)).await;
            sent.map_err(|_| ApiError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
        });
        self.runtime
            .block_on(written)
            .map_err(|error| self.failed(format!("hand out the image {name}"), &error))
    }

    /// Removes the image `name`, with what only it has. One that is not there is no matter.
    pub fn remove(&self, name: &str) -> Result<(), DockerError> {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = self.client.remove_image(name, Some(options), None);
        match self.runtime.block_on(removed) {
            Ok(_)
            | Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            Err(error) => Err(self.failed(format!("remove the image {name}"), &error)),
        }
    }

    fn to_the_end<T>(
        &self,
        steps: impl Stream<Item = Result<T, ApiError>>,
    ) -> Result<(), ApiError> {
        let done = steps.try_for_each(|_| async { Ok(()) });
        self.runtime.block_on(done)
    }

    /// Gives the image `id` a name: `repository` and `tag`. Another image that has it loses it.
    pub fn tag(&self, id: &str, repository: &str, tag: &str) -> Result<(), DockerError> {
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        self.runtime
            .block_on(self.client.tag_image(id, Some(options)))
            .map_err(|error| self.failed(format!("name the image {repository}:{tag}"), &error))
    }

    /// Takes a name away. An image that has another one stays.
    pub fn untag(&self, name: &str) -> Result<(), DockerError> {
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        let removed = self.client.remove_image(name, Some(options), None);
        self.runtime
            .block_on(removed)
            .map(drop)
            .map_err(|error| self.failed(format!("forget the name {name}"), &error))
    }

    fn failed(&self, action: impl Into<String>, error: &ApiError) -> DockerError {
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

impl From<bollard::models::ImageInspect> for DaemonImage {
    fn from(found: bollard::models::ImageInspect) -> Self {
        let config = found.config.unwrap_or_default();
        let variables = config.env.unwrap_or_default();
        let variables = variables.iter().filter_map(|one| one.split_once('='));
        let text = |value: Option<String>| value.filter(|text| !text.is_empty());
        Self {
            id: found.id.unwrap_or_default(),
            env: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            working_dir: text(config.working_dir),
            labels: config.labels.into_iter().flatten().collect(),
            platform: format!(
                "{}/{}",
                text(found.os).as_deref().unwrap_or("linux"),
                text(found.architecture).as_deref().unwrap_or("amd64")
            ),
        }
    }
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
