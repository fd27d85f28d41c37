//! Pulls images from registries, and pushes them.
//!
//! Asynchronous: give it a tokio runtime with time and I/O; the [`Store`] has a client of its own for
//! callers that are not. One [`Client`] serves any number of registries and reuses connections and
//! tokens.
//!
//! `endpoint` says where a registry is, `transport` sends requests and tries again, `answer` judges what
//! comes back, `auth` and `keychain` prove who we are, `lookup` tells a registry's answers apart,
//! `download` fetches blobs, `push` sends them,
//! `referrers` fetches what is said about an image, `several` knows indexes of images for several platforms. Everything that arrives is verified before it is used.

mod answer;
mod auth;
mod download;
mod endpoint;
mod error;
mod keychain;
mod login;
mod lookup;
mod page;
mod push;
mod referrers;
mod several;
mod transport;

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use self::answer::invalid;
use self::download::Download;
use self::transport::{Request, Transport};
use crate::config::{ImageConfig, ParsedConfig};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::manifest::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Index, MAX_DOCUMENT, Manifest, OCI_INDEX,
    OCI_MANIFEST, Platform, is_index, is_manifest,
};
use crate::reference::ImageRef;
use crate::store::{Store, StoredImage};

use crate::trust::Certificates;

pub use endpoint::{Endpoint, Security};
pub use error::RegistryError;
pub use keychain::{Credentials, CredentialsError, Keychain};
pub use login::LoginError;
pub use lookup::{Lookup, Memory};
pub(crate) use push::Known;
pub use push::{
    Arrival, COG_PUSH_CONCURRENCY, COG_PUSH_DEFAULT_CHUNK_SIZE, COG_PUSH_MULTIPART_THRESHOLD,
    PushEvent, PushFn, UploadOptions,
};
pub use referrers::PulledReferrers;
pub use several::Wanted;
pub use transport::{Wait, WaitObserver};

/// Names registries, separated by commas, that are spoken to without TLS.
pub const COG_INSECURE_REGISTRIES: &str = "COG_INSECURE_REGISTRIES";

/// Every form of manifest that we read.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Blobs fetched at the same time: what other clients do, and registries expect.
const PARALLEL: usize = 4;

/// Pause before something is tried a second time, be it a pull or a push: with what it doubles to, half a minute for all
/// tries, which is what a registry that is started anew takes.
pub(crate) const BACK_OFF: Duration = Duration::from_secs(2);
/// Even the largest document comes in this time over a line of 14 KB/s.
const DOCUMENT_LIMIT: Duration = Duration::from_mins(5);

/// How to reach registries.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Registries (`host` or `host:port`) spoken to without TLS, besides those on loopback addresses.
    pub insecure: Vec<String>,
    /// Certificates in PEM form to trust besides the system's. `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// replace the system's.
    pub extra_certificates: Option<Vec<u8>>,
    /// Where to look for credentials.
    pub keychain: Keychain,
    /// How often a failing request is tried in all.
    pub attempts: u32,
    /// Pause before the second try; it doubles each time.
    pub back_off: Duration,
    /// How long a document, such as a manifest, may take to arrive, once its answer has begun.
    pub document_limit: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            extra_certificates: None,
            keychain: Keychain::from_environment(),
            attempts: 5,
            back_off: BACK_OFF,
            document_limit: DOCUMENT_LIMIT,
        }
    }
}

impl ClientOptions {
    /// What the environment says: `COG_CA_CERT`, [`COG_INSECURE_REGISTRIES`], and credentials that other
    /// tools have stored.
    pub fn from_environment() -> Result<Self> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let certificates = Certificates::of_environment()?;
        let insecure = variable(COG_INSECURE_REGISTRIES);
        Ok(Self {
            insecure: registries(&insecure)?,
            extra_certificates: certificates.map(|found| found.pem().into_bytes()),
            ..Self::default()
        })
    }
}

/// The registries in a list with commas. What is no name of one would be compared with them in vain.
fn registries(text: &str) -> Result<Vec<String>, RegistryError> {
    let given = text.split(',').map(str::trim);
    let given = given.filter(|registry| !registry.is_empty());
    let checked = given.map(|registry| {
        let name: Result<ImageRef> = format!("{registry}/name").parse();
        // A host without dot and port is one here: nothing else is meant.
        let is_name = name.is_ok_and(|name| name.registry() == registry)
            || format!("{registry}:1/name").parse::<ImageRef>().is_ok();
        if is_name {
            return Ok(registry.to_owned());
        }
        Err(RegistryError::InvalidInsecure {
            value: registry.to_owned(),
        })
    });
    checked.collect()
}

/// The beginning of an HTTP client for other servers than registries: it trusts whom the environment says, as
/// [`ClientOptions::from_environment`] does.
pub fn http_client() -> Result<reqwest::ClientBuilder> {
    let certificates = Certificates::of_environment()?;
    let pem = certificates.map(|found| found.pem().into_bytes());
    Ok(transport::http_client(&pem.unwrap_or_default())?)
}

/// A registry client. Clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

/// An image as a registry describes it: its layers' blobs may not be in the store.
#[derive(Clone, Debug)]
pub struct RemoteImage {
    /// The reference, pinned to the manifest's digest.
    pub reference: ImageRef,
    /// The manifest's digest.
    pub digest: Digest,
    /// The parsed config.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    pub(crate) manifest: Descriptor,
}

/// What a transfer reports. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A blob's transfer begins.
    Started {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// `done` bytes of the blob are here; fewer than before if it had to start over.
    Advanced {
        /// The blob.
        digest: Digest,
        /// Bytes so far.
        done: u64,
    },
    /// The blob is complete and verified.
    Finished {
        /// The blob.
        digest: Digest,
    },
}

/// Receives [`Progress`], possibly from several threads.
pub type ProgressFn<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl Client {
    /// A client with `options`. Opens no connection yet, and reads no certificate but the given ones.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let transport = Transport::new(options)?;
        Ok(Self { transport })
    }

    /// The same, and `observer` learns of each pause, except of those that a push tells itself.
    #[must_use]
    pub fn telling(self, observer: WaitObserver) -> Self {
        Self {
            transport: self.transport.telling(observer),
        }
    }

    /// Fetches manifest and config of `reference` into the store and remembers where its layers are;
    /// they stay in the registry until something reads them. From an index, the image for `platform` is
    /// taken.
    ///
    /// If `reference` has a digest and its documents are in the store already, nothing is sent.
    pub async fn resolve(
        &self,
        store: &Store,
        reference: &ImageRef,
        platform: &Platform,
    ) -> Result<RemoteImage> {
        let mut entry = self
            .manifest(store, reference, &reference.version())
            .await?;
        if is_index(&entry.media_type) {
            let index = Index::parse(
                &store.read_document(&entry)?,
                &format!("the index of `{reference}`"),
            )?;
            let picked = index
                .for_platform(platform)
                .ok_or_else(|| unfit(reference, platform, &index))?;
            let version = picked.digest.to_string();
            let listed = self.manifest(store, reference, &version).await;
            entry = listed.map_err(|error| several::gone(error, reference, picked))?;
        }
        if !is_manifest(&entry.media_type) {
            let request = manifest_request(reference, &entry.digest.to_string());
            return Err(invalid(&request, format!("it is a `{}`", entry.media_type)).into());
        }
        let what = format!("the manifest of `{reference}`");
        let manifest = Manifest::parse(&store.read_document(&entry)?, &what)?;
        let config = self.config(store, reference, &manifest.config).await?;
        let layers = config.layers(&manifest.layers, &format!("image `{reference}`"))?;
        let blobs = layers.iter().map(|layer| &layer.blob);
        for blob in blobs.chain([&manifest.config]) {
            store.record_origin(&blob.digest, reference.registry(), reference.repository())?;
        }
        Ok(RemoteImage {
            reference: reference.clone().with_digest(entry.digest),
            digest: entry.digest,
            config: config.config,
            layers,
            manifest: entry,
        })
    }

    /// Fetches those of `blobs` that are not in the store, several at a time, from where they were
    /// resolved, be it by this process or an earlier one.
    pub async fn fetch_blobs(
        &self,
        store: &Store,
        blobs: &[Descriptor],
        progress: ProgressFn<'_>,
    ) -> Result<()> {
        let missing = blobs.iter().filter(|blob| !store.has_blob(blob));
        futures_util::stream::iter(missing)
            .map(|blob| self.fetch_blob(store, blob, progress))
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// Pulls everything and stores the image under its familiar name.
    pub async fn pull(
        &self,
        store: &Store,
        reference: &ImageRef,
        platform: &Platform,
        progress: ProgressFn<'_>,
    ) -> Result<StoredImage> {
        let image = self.resolve(store, reference, platform).await?;
        let blobs: Vec<Descriptor> = image
            .layers
            .iter()
            .map(|layer| layer.blob.clone())
            .collect();
        self.fetch_blobs(store, &blobs, progress).await?;
        store.name_remote(reference, platform, &image)
    }

    async fn fetch_blob(
        &self,
        store: &Store,
        blob: &Descriptor,
        progress: ProgressFn<'_>,
    ) -> Result<()> {
        let mut result = Err(Error::MissingBlob {
            digest: blob.digest,
        });
        for (registry, repository) in store.origins(&blob.digest)? {
            let (registry, repository) = (registry.as_str(), repository.as_str());
            let transport = &self.transport;
            result = Download {
                transport,
                store,
                registry,
                repository,
                blob,
                progress,
            }
            .run()
            .await;
            // Another registry may have what this one lost or keeps to itself.
            if !matches!(result, Err(Error::Registry(_))) {
                return result;
            }
        }
        result
    }

    /// The manifest or index `version` (tag or digest), stored.
    async fn manifest(
        &self,
        store: &Store,
        reference: &ImageRef,
        version: &str,
    ) -> Result<Descriptor> {
        let pinned = version.parse::<Digest>().ok();
        if let Some(known) = pinned.and_then(|digest| stored_manifest(store, digest)) {
            return Ok(known);
        }
        let request = manifest_request(reference, version);
        let limit = usize::try_from(MAX_DOCUMENT).expect("a few megabytes");
        let (headers, bytes) = self.transport.read(&request, limit).await?;
        let header = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.split(';').next().unwrap_or(value).trim().to_owned())
        };
        let (declared, promised) = (header("content-type"), header("docker-content-digest"));
        let bytes = bytes.ok_or_else(|| invalid(&request, "its manifest is too long"))?;
        // A tag promises nothing by itself, but the header next to it does.
        let expected = pinned.or_else(|| promised.and_then(|text| text.parse().ok()));
        let actual = Digest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            let registry = request.registry.to_owned();
            return Err(RegistryError::Corrupt {
                what: "a manifest",
                registry,
                expected,
                actual,
            }
            .into());
        }
        let media_type = media_type(&bytes)
            .or(declared)
            .filter(|kind| is_index(kind) || is_manifest(kind))
            .ok_or_else(|| invalid(&request, "its manifest has a form that is not supported"))?;
        store.put_document(&media_type, &bytes)
    }

    async fn config(
        &self,
        store: &Store,
        reference: &ImageRef,
        blob: &Descriptor,
    ) -> Result<ParsedConfig> {
        if !store.has_blob(blob) {
            if blob.size > MAX_DOCUMENT {
                let request = manifest_request(reference, &blob.digest.to_string());
                return Err(invalid(&request, "its config is too long").into());
            }
            let (registry, repository) = (reference.registry(), reference.repository());
            let (transport, progress): (_, ProgressFn<'_>) = (&self.transport, &|_| ());
            Download {
                transport,
                store,
                registry,
                repository,
                blob,
                progress,
            }
            .run()
            .await?;
        }
        ParsedConfig::parse(
            &store.read_document(blob)?,
            &format!("the config of `{reference}`"),
        )
    }
}

fn manifest_request<'a>(reference: &'a ImageRef, version: &str) -> Request<'a> {
    Request::get(
        reference.registry(),
        reference.repository(),
        format!("manifests/{version}"),
        reference.familiar(),
    )
    .with(reqwest::header::ACCEPT, ACCEPT)
}

/// A manifest or index in the store, verified.
fn stored_manifest(store: &Store, digest: Digest) -> Option<Descriptor> {
    let size = fs_err::metadata(store.blob_path(&digest)).ok()?.len();
    let bytes = store
        .read_document(&Descriptor::new("", digest, size))
        .ok()?;
    let media_type = media_type(&bytes)?;
    Some(Descriptor::new(media_type, digest, size))
}

/// What a document says it is. Manifests of the first OCI versions do not say.
fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(bytes).ok()?;
    let declared = kind.media_type.filter(|text| {
        matches!(
            text.as_str(),
            OCI_INDEX | OCI_MANIFEST | DOCKER_INDEX | DOCKER_MANIFEST
        )
    });
    declared.or_else(|| match (kind.manifests, kind.layers) {
        (Some(_), None) => Some(OCI_INDEX.to_owned()),
        (None, Some(_)) => Some(OCI_MANIFEST.to_owned()),
        _ => None,
    })
}

fn unfit(reference: &ImageRef, wanted: &Platform, index: &Index) -> Error {
    RegistryError::NoFittingPlatform {
        reference: reference.familiar(),
        wanted: wanted.to_string(),
        available: index.platforms(),
    }
    .into()
}
