//! The images of a daemon: what they are, and how they come and go.

use std::collections::HashMap;

use bollard::errors::Error as ApiError;
use bollard::models::{ImageManifestSummaryKindEnum, ImageSummary};
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

/// What a daemon that keeps blobs says of how it does.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";

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
    /// The image called `name`, which may also be its id; `None` if it has none, or one of which not even the configuration
    /// can be told because a part of it is missing.
    pub fn image(&self, name: &str) -> Result<Option<DaemonImage>, DockerError> {
        let found = self.block_on(self.client().inspect_image(name));
        match found {
            Ok(found) => Ok(Some(found.into())),
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(ApiError::JsonDataError { contents, .. }) if lacks_config(&contents) => Ok(None),
            Err(error) => Err(self.failed(format!("look for `{name}`"), &error)),
        }
    }

    /// Whether the daemon keeps images as registries have them, in containerd's store, and not as files alone.
    pub fn keeps_blobs(&self) -> Result<bool, DockerError> {
        let info = self.block_on(self.client().info());
        let info = info.map_err(|error| self.failed("say how it keeps images", &error))?;
        let status = info.driver_status.unwrap_or_default();
        Ok(status.iter().flatten().any(|word| word == SNAPSHOTTER))
    }

    /// Whether all of the image `name` is here, which has a tag. A daemon that keeps blobs pulls no layer whose files it has
    /// from another blob, say with another compression. Such an image runs, but can neither be saved, nor pushed, nor built
    /// on, and is listed without what it says of itself, or not at all.
    pub fn has_all_of(&self, name: &str) -> Result<bool, DockerError> {
        let filters = HashMap::from([("reference", vec![name.to_owned()])]);
        let options = ListImagesOptionsBuilder::new()
            .filters(&filters)
            .manifests(true)
            .build();
        let found = self.block_on(self.client().list_images(Some(options)));
        let found = found.map_err(|error| self.failed("list its images", &error))?;
        Ok(found.iter().any(is_whole))
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

/// Whether a description of an image is that of one of which a part is missing: it names no layers.
fn lacks_config(described: &str) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Described {
        #[serde(rename = "RootFS")]
        root: serde_json::Map<String, serde_json::Value>,
    }
    serde_json::from_str::<Described>(described).is_ok_and(|described| described.root.is_empty())
}

/// Daemons that list what is not whole say of each manifest whether all that it names is there.
fn is_whole(image: &ImageSummary) -> bool {
    image.manifests.as_ref().is_none_or(|manifests| {
        let mut images = manifests
            .iter()
            .filter(|manifest| manifest.kind == Some(ImageManifestSummaryKindEnum::IMAGE));
        images.any(|manifest| manifest.available)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker 28.5 says it of an image with a layer that it has not pulled.
    const NOT_WHOLE: &str = r#"{"Id":"sha256:8a89","RepoTags":["127.0.0.1:35109/db1b:served-1"],
        "RepoDigests":["127.0.0.1:35109/db1b@sha256:8a89"],"Parent":"","Comment":"","DockerVersion":"","Author":"",
        "Architecture":"","Os":"","Size":78260831,"GraphDriver":{"Data":null,"Name":"overlayfs"},"RootFS":{},
        "Metadata":{"LastTagTime":"2026-11-30T21:55:27.318590578Z"},
        "Config":{"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null,"OnBuild":null,"User":"","Volumes":null,"WorkingDir":""}}"#;

    #[test]
    fn what_is_not_whole_is_described_without_layers() {
        assert!(lacks_config(NOT_WHOLE));
        let whole = r#""RootFS":{"Type":"layers","Layers":["sha256:4c8e"]}"#;
        assert!(!lacks_config(&NOT_WHOLE.replace(r#""RootFS":{}"#, whole)));
        assert!(!lacks_config(r#"{"Id":"sha256:8a89"}"#) && !lacks_config("{"));
    }

    #[test]
    fn what_is_not_whole_is_listed_as_not_available() {
        let listed = |manifests: &str| {
            let image = format!(
                r#"{{"Containers":-1,"Created":0,"Id":"sha256:8a89","Labels":null,"ParentId":"",{manifests}
                "RepoDigests":["sha256:8a89"],"RepoTags":["a:b"],"SharedSize":-1,"Size":6219}}"#
            );
            is_whole(&serde_json::from_str(&image).expect("it is what daemons say"))
        };
        // Docker 26 lists only what is whole, and no manifests.
        assert!(listed(""));
        let entry = |available: bool, kind: &str| {
            format!(
                r#"{{"ID":"sha256:8a89","Descriptor":{{"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "digest":"sha256:8a89","size":879}},"Available":{available},"Size":{{"Content":6219,"Total":6219}},
                "Kind":"{kind}","ImageData":{{"Platform":{{"architecture":"","os":""}},"Size":{{"Unpacked":0}},"Containers":null}}}}"#
            )
        };
        let (lacking, there) = (entry(false, "image"), entry(true, "image"));
        let attested = entry(true, "attestation");
        assert!(listed(&format!(r#""Manifests":[{there}],"#)));
        assert!(!listed(&format!(r#""Manifests":[{lacking}],"#)));
        assert!(!listed(&format!(r#""Manifests":[{lacking},{attested}],"#)));
        assert!(listed(&format!(r#""Manifests":[{lacking},{there}],"#)));
    }
}
