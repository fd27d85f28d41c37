//! The images of a daemon: what they are, and how they come and go.

use std::collections::HashMap;

use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptions, ListImagesOptionsBuilder,
    PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
use tokio::sync::mpsc::{Receiver, Sender};

use super::daemon::{Daemon, DaemonKind};
use super::error::{DockerError, reason};
use super::libpod;

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
    /// Its names, each with a tag.
    pub names: Vec<String>,
    /// Its layers, lowest first, each by the digest of its archive without compression.
    pub layers: Vec<String>,
    /// Bytes of all files of all layers.
    pub size: u64,
}

impl Daemon {
    /// The image called `name`, which may also be its id; `None` if it has none.
    pub fn image(&self, name: &str) -> Result<Option<DaemonImage>, DockerError> {
        let found = self.block_on(self.client().inspect_image(name));
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
        if self.kind() == DaemonKind::Podman {
            let pulled = self.block_on(libpod::pull(self.address(), reference));
            return pulled.map_err(|reason| DockerError::Request {
                daemon: self.title(),
                action: "pull the image".to_owned(),
                reason,
            });
        }
        let options = CreateImageOptionsBuilder::new()
            .from_image(reference)
            .build();
        let steps = self.client().create_image(Some(options), None, None);
        self.to_the_end(steps)
            .map_err(|error| self.failed("pull the image", &error))
    }

    /// Makes the daemon push the image `name` to `repository`, in a registry of this machine's loopback, as `tag`. As soon as
    /// `stop` is there, it is no longer waited for.
    pub fn push(
        &self,
        name: &str,
        (repository, tag): (&str, &str),
        stop: impl Future<Output = ()>,
    ) -> Result<(), DockerError> {
        let reference = format!("{repository}:{tag}");
        let stopped = || Err("it was stopped".to_owned());
        let refused = |reason| DockerError::Request {
            daemon: self.title(),
            action: "push the image".to_owned(),
            reason,
        };
        if self.kind() == DaemonKind::Podman {
            let pushed = libpod::push(self.address(), name, &reference);
            return self
                .block_on(async {
                    tokio::select! {
                        pushed = pushed => pushed,
                        () = stop => stopped(),
                    }
                })
                .map_err(refused);
        }
        self.tag(name, repository, tag)?;
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        let steps = self.client().push_image(repository, Some(options), None);
        let pushed = self.block_on(async {
            tokio::select! {
                pushed = steps.try_for_each(|_| async { Ok(()) }) => pushed.map_err(|error| reason(&error)),
                () = stop => stopped(),
            }
        });
        let forgotten = self.untag(&reference);
        pushed.map_err(refused)?;
        forgotten
    }

    /// Bytes that each instruction added to the image `name`, the last one first. Some that add a layer add none.
    pub fn growth(&self, name: &str) -> Result<Vec<u64>, DockerError> {
        let history = self.block_on(self.client().image_history(name));
        let history =
            history.map_err(|error| self.failed(format!("tell the history of {name}"), &error))?;
        let sizes = history.iter().map(|entry| u64::try_from(entry.size));
        Ok(sizes.map(Result::unwrap_or_default).collect())
    }

    /// Names of images, each with a tag, that fit `pattern`, in which `*` stands for letters other than `/`. The daemon may
    /// add the name of a registry.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>, DockerError> {
        // Of several patterns, Docker wants one to fit, and Podman all.
        let filters = HashMap::from([("reference", vec![pattern.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let found = self.block_on(self.client().list_images(Some(options)));
        let found = found.map_err(|error| self.failed("list its images", &error))?;
        Ok(found
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .collect())
    }

    /// Gives the daemon a Docker archive, piece by piece.
    pub fn load(&self, mut archive: Receiver<std::io::Result<Bytes>>) -> Result<(), DockerError> {
        let options = ImportImageOptions {
            quiet: true,
            ..ImportImageOptions::default()
        };
        let pieces = stream::poll_fn(move |context| archive.poll_recv(context));
        let steps = self.client().import_image_stream(options, pieces, None);
        self.to_the_end(steps)
            .map_err(|error| self.failed("load the image", &error))
    }

    /// Writes the image `name` as a Docker archive, piece by piece. Whoever reads may hang up.
    pub fn save(
        &self,
        name: &str,
        pieces: &Sender<std::io::Result<Bytes>>,
    ) -> Result<(), DockerError> {
        let archive = self.client().export_image(name);
        let written = archive.try_for_each(|piece| async {
            let sent = pieces.send(Ok(piece)).await;
            sent.map_err(|_| ApiError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))
        });
        self.block_on(written)
            .map_err(|error| self.failed(format!("hand out the image {name}"), &error))
    }

    /// Removes the image `id` if it has no name any more and no container needs it.
    pub fn remove_nameless(&self, id: &str) -> Result<(), DockerError> {
        match self.image(id)? {
            Some(image) if image.names.is_empty() => {}
            _ => return Ok(()),
        }
        let options = RemoveImageOptionsBuilder::new().build();
        match self.block_on(self.client().remove_image(id, Some(options), None)) {
            Ok(_)
            | Err(ApiError::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            Err(error) => Err(self.failed(format!("remove the image {id}"), &error)),
        }
    }

    /// Removes the image `name`, with what only it has. One that is not there is no matter.
    pub fn remove(&self, name: &str) -> Result<(), DockerError> {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let removed = self.client().remove_image(name, Some(options), None);
        match self.block_on(removed) {
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
        self.block_on(done)
    }

    /// Gives the image `id` a name: `repository` and `tag`. Another image that has it loses it.
    pub fn tag(&self, id: &str, repository: &str, tag: &str) -> Result<(), DockerError> {
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        self.block_on(self.client().tag_image(id, Some(options)))
            .map_err(|error| self.failed(format!("name the image {repository}:{tag}"), &error))
    }

    /// Takes a name away. An image that has another one stays.
    pub fn untag(&self, name: &str) -> Result<(), DockerError> {
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        let removed = self.client().remove_image(name, Some(options), None);
        self.block_on(removed)
            .map(drop)
            .map_err(|error| self.failed(format!("forget the name {name}"), &error))
    }
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
            names: found.repo_tags.unwrap_or_default(),
            layers: found
                .root_fs
                .and_then(|root| root.layers)
                .unwrap_or_default(),
            size: found
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            platform: format!(
                "{}/{}",
                text(found.os).as_deref().unwrap_or("linux"),
                text(found.architecture).as_deref().unwrap_or("amd64")
            ),
        }
    }
}
