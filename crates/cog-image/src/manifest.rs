//! Manifests, indexes and descriptors as the OCI image specification has them, plus Docker's media
//! types for reading.
//!
//! Documents that came from elsewhere are kept as the bytes they were: parsing and writing them again
//! would change their digest. Where one has to be written anew, because it describes something else, it
//! keeps the fields that we have no name for. That is why these types are our own: those of the
//! `oci-spec` crate drop such fields.

use std::collections::BTreeMap;

use cog_errors::line;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Error, Result};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What an artifact has for a config if it needs none; the content is `{}`.
pub(crate) const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Annotation under which a layout names its images.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The name as containerd (`ctr image import`, `docker load`) wants it: complete.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Annotations of BuildKit: that an entry of an index is no image, and which one it says something about.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// So many platforms are named of an index, and so many bytes are shown of a name.
const SHOWN: usize = 12;
const LONGEST: usize = 40;

/// No manifest, index or config is larger than this; registries enforce 4 MiB.
pub(crate) const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

/// A reference to content: what it is, its address, its size in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Address of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Free-form key and value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Platform, for the entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What the content is, if it is the manifest of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Further fields, kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor of these three alone.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }

    /// Whether the entry of an index lists an image. BuildKit lists what it says about images among them, as manifests for
    /// an unknown platform.
    pub(crate) fn lists_image(&self) -> bool {
        is_manifest(&self.media_type)
            && self.artifact_type.is_none()
            && !self.annotations.contains_key(REFERENCE_TYPE)
            && self.platform.as_ref().is_none_or(Platform::is_known)
    }

    /// The image that the entry of an index is about, if it lists something that BuildKit says about one.
    pub(crate) fn about(&self) -> Option<Digest> {
        self.annotations.get(REFERENCE_DIGEST)?.parse().ok()
    }
}

/// What a manifest in an index runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture by Go's name, such as `amd64`.
    pub architecture: String,
    /// Operating system by Go's name, such as `linux`.
    pub os: String,
    /// CPU variant, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Further fields, kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Platform {
    /// A platform without a variant, by Go's names.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            architecture: architecture.into(),
            os: os.into(),
            variant: None,
            extra: Map::new(),
        }
    }

    /// `linux/amd64`, which is what models run on whatever the host is.
    pub fn linux_amd64() -> Self {
        Self::new("linux", "amd64")
    }

    /// That of this machine.
    pub fn host() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::new("linux", "arm64"),
            _ => Self::linux_amd64(),
        }
    }

    /// Its name for people: whoever made an image may have written anything.
    pub fn shown(&self) -> String {
        let name = self.to_string();
        let end = name.floor_char_boundary(LONGEST);
        let more = if end < name.len() { "…" } else { "" };
        format!("{}{more}", &name[..end])
    }

    fn is_known(&self) -> bool {
        self.os != "unknown" && self.architecture != "unknown"
    }

    pub(crate) fn matches(&self, wanted: &Self) -> bool {
        self.os == wanted.os && self.architecture == wanted.architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", line(&self.os), line(&self.architecture))?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{}", line(variant)))
    }
}

/// The manifest of an image or another artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of the manifest itself.
    #[serde(default = "oci_manifest")]
    pub media_type: String,
    /// What the artifact is; images have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first; for other artifacts, their content.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form key and value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Further fields, kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// A manifest of `config` and `layers` and nothing else.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// What the artifact is, by its own account or by its config's type; `None` for an image.
    pub fn kind(&self) -> Option<&str> {
        match &self.artifact_type {
            Some(kind) => Some(kind),
            None if is_image_config(&self.config.media_type) => None,
            None => Some(&self.config.media_type),
        }
    }

    /// Everything that it refers to by digest and needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Parses `bytes`, which `what` names in errors.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        parse(bytes, what)
    }
}

fn oci_manifest() -> String {
    OCI_MANIFEST.to_owned()
}

/// An image index: a list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Media type of the index itself.
    #[serde(default = "oci_index")]
    pub media_type: String,
    /// The manifests, or further indexes.
    pub manifests: Vec<Descriptor>,
    /// Further fields, kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn oci_index() -> String {
    OCI_INDEX.to_owned()
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: oci_index(),
            manifests: Vec::new(),
            extra: Map::new(),
        }
    }
}

impl Index {
    /// Parses `bytes`, which `what` names in errors.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        parse(bytes, what)
    }

    /// The platforms that it lists images for, in words; of very many, not all.
    pub(crate) fn platforms(&self) -> String {
        let images = self.manifests.iter().filter(|entry| entry.lists_image());
        let names = images.filter_map(|entry| entry.platform.as_ref());
        let mut names: Vec<String> = names.take(SHOWN + 1).map(Platform::shown).collect();
        names.dedup();
        if names.len() > SHOWN {
            names.truncate(SHOWN);
            names.push("more".to_owned());
        }
        match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        }
    }

    /// The entry for `platform`. An entry that names no platform fits if it is the only one.
    pub fn for_platform(&self, platform: &Platform) -> Option<&Descriptor> {
        let fits = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_some_and(|candidate| candidate.matches(platform))
        };
        self.manifests
            .iter()
            .find(fits)
            .or(match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Some(only),
                _ => None,
            })
    }
}

pub(crate) fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

pub(crate) fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// OCI's name for a layer's media type; the content is the same. `None` for what is not an ordinary
/// layer.
pub(crate) fn oci_layer_type(media_type: &str) -> Option<&'static str> {
    if let Some(suffix) = media_type.strip_prefix(DOCKER_LAYER) {
        return match suffix {
            "" => Some(OCI_LAYER_TAR),
            ".gzip" => Some(OCI_LAYER_GZIP),
            ".zstd" => Some(OCI_LAYER_ZSTD),
            _ => None,
        };
    }
    [OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD]
        .into_iter()
        .find(|known| *known == media_type)
}

pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::InvalidDocument {
        what: what.to_owned(),
        source,
    })
}

pub(crate) fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("these types have text keys and no failing serializers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        let mut entry = Descriptor::new(
            OCI_MANIFEST,
            Digest::of(format!("{platform:?}").as_bytes()),
            1,
        );
        entry.platform = platform.map(|architecture| Platform::new("linux", architecture));
        entry
    }

    #[test]
    fn platform_is_picked_from_an_index() {
        let amd64 = Platform::linux_amd64();
        let index = |entries: &[Option<&str>]| Index {
            manifests: entries.iter().map(|platform| entry(*platform)).collect(),
            ..Index::default()
        };
        let both = index(&[Some("arm64"), Some("amd64")]);
        assert_eq!(both.for_platform(&amd64), Some(&entry(Some("amd64"))));
        assert_eq!(index(&[Some("arm64")]).for_platform(&amd64), None);
        assert_eq!(index(&[None]).for_platform(&amd64), Some(&entry(None)));
        assert_eq!(index(&[None, Some("arm64")]).for_platform(&amd64), None);
    }

    #[test]
    fn what_is_said_about_images_is_none() {
        let image = entry(Some("arm64"));
        assert!(image.lists_image());
        assert!(entry(None).lists_image());
        let unknown = Descriptor {
            platform: Some(Platform::new("unknown", "unknown")),
            ..image.clone()
        };
        let mut said = image.clone();
        let digest = image.digest.to_string();
        said.annotations
            .insert(REFERENCE_TYPE.into(), "attestation-manifest".into());
        said.annotations.insert(REFERENCE_DIGEST.into(), digest);
        let artifact = Descriptor {
            artifact_type: Some("a/b".into()),
            ..image.clone()
        };
        let nested = Descriptor {
            media_type: OCI_INDEX.into(),
            ..image.clone()
        };
        assert_eq!(said.about(), Some(image.digest));
        assert_eq!(image.about(), None);
        let index = Index {
            manifests: vec![image, unknown, said, artifact, nested],
            ..Index::default()
        };
        for other in &index.manifests[1..] {
            assert!(!other.lists_image(), "{other:?}");
        }
        assert_eq!(index.platforms(), "linux/arm64");
        assert_eq!(Index::default().platforms(), "none");
        let names = (0..1000).map(|number| format!("a{number}"));
        let many = Index {
            manifests: names.map(|name| entry(Some(&name))).collect(),
            ..Index::default()
        };
        assert!(
            many.platforms().ends_with("linux/a11, more"),
            "{}",
            many.platforms()
        );
        let odd = Platform::new("linux\u{1b}[2J", "x".repeat(1000));
        let shown = odd.shown();
        assert!(shown.starts_with("linux\\u{1b}[2J/xxx"), "{shown}");
        assert!(shown.len() < 60, "{shown}");
    }

    #[test]
    fn nothing_is_lost_on_rewriting() {
        let digest = Digest::of(b"");
        let descriptor =
            |extra: &str| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0{extra}}}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"a/sbom","config":{},"layers":[{}],"subject":{},"annotations":{{"k":"v"}},"new":{{"x":1}}}}"#,
            descriptor(r#","data":"e30=""#),
            descriptor(r#","annotations":{"a":"b"},"artifactType":"c/d","urls":["https://x"]"#),
            descriptor(r#","platform":{"architecture":"amd64","os":"windows","os.version":"10"}"#),
        );
        let parsed = Manifest::parse(manifest.as_bytes(), "it").unwrap();
        assert_eq!(String::from_utf8(to_json(&parsed)).unwrap(), manifest);
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"artifactType":"a/b","annotations":{{"k":"v"}}}}"#
        );
        let parsed = Index::parse(index.as_bytes(), "it").unwrap();
        assert_eq!(String::from_utf8(to_json(&parsed)).unwrap(), index);
    }

    #[test]
    fn artifacts_are_told_from_images() {
        let digest = Digest::of(b"{}");
        let manifest = |config: &str| Manifest::new(Descriptor::new(config, digest, 2), Vec::new());
        assert_eq!(manifest(OCI_CONFIG).kind(), None);
        assert_eq!(manifest(DOCKER_CONFIG).kind(), None);
        assert_eq!(manifest("a/config").kind(), Some("a/config"));
        let mut typed = manifest(OCI_EMPTY);
        typed.artifact_type = Some("a/type".into());
        assert_eq!(typed.kind(), Some("a/type"));
    }

    #[test]
    fn documents_of_another_form_are_refused_by_name() {
        let error = Manifest::parse(b"{\"schemaVersion\": 1}", "the manifest of `a`").unwrap_err();
        assert_eq!(error.to_string(), "the manifest of `a` is not valid");
        assert!(Index::parse(b"[]", "x").is_err());
    }
}
