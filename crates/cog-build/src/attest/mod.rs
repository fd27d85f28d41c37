//! What is said about an image beside it: its bill of materials, and how it was made.
//!
//! Both are OCI artifacts whose subject is the image's manifest, so they change nothing of the image and its digest,
//! and go where it goes. `contents` reads an image's files, `spdx` and `provenance` make the documents; nothing here
//! signs them.

mod contents;
mod provenance;
mod spdx;

use std::collections::BTreeMap;
use std::io::Read as _;

use cog_image::{Artifact, Digest, Store, StoredImage};
use serde::Serialize;
use serde_json::Value;

use self::contents::Contents;
use self::spdx::Document;
use crate::error::Result;

pub(crate) use provenance::Recipe;

/// The type of a bill of materials.
const SPDX: &str = "application/spdx+json";
/// The type of a statement about how something was made.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Tells apart what statements are about.
const PREDICATE: &str = "in-toto.io/predicate-type";
/// Of a document that is read back.
const MAX_DOCUMENT: u64 = 64 << 20;

/// What a build says about its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attestations {
    /// Which packages it holds.
    pub sbom: bool,
    /// What it was made from.
    pub provenance: bool,
}

/// The image that is spoken about: by its digest alone, as it may have several names, or another one elsewhere.
#[derive(Debug, Clone, Copy)]
struct Subject {
    /// Of the manifest.
    digest: Digest,
    /// In seconds since 1970.
    created: i64,
}

impl Subject {
    fn of(image: &StoredImage) -> Self {
        Self {
            digest: image.manifest.digest,
            created: image.config.created,
        }
    }

    fn hex(&self) -> String {
        self.digest.hex()
    }
}

/// The bill of materials of `image`, in SPDX 2.3: the one that it came with, else one that is made of its files.
pub fn sbom(store: &Store, image: &StoredImage) -> Result<Value> {
    let _lease = store.lease()?;
    for entry in store.referrers(&image.manifest.digest)? {
        if entry.artifact_type.as_deref() == Some(SPDX)
            && let Some(document) = document(store, &entry)?
        {
            return Ok(document);
        }
    }
    let document = Document::new(&Subject::of(image), &Contents::of(store, image)?);
    Ok(serde_json::to_value(document).expect("its fields are text"))
}

/// The first document of the artifact, if it is JSON that is not too long.
fn document(store: &Store, entry: &cog_image::Descriptor) -> Result<Option<Value>> {
    let Some(artifact) = store.artifact_of(entry)? else {
        return Ok(None);
    };
    let Some(blob) = artifact.content.layers.first() else {
        return Ok(None);
    };
    if blob.size > MAX_DOCUMENT {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    store
        .blob(blob)?
        .take(MAX_DOCUMENT)
        .read_to_end(&mut bytes)?;
    if Digest::of(&bytes) != blob.digest {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Stores what is wanted beside `image`.
pub(crate) fn attach(
    store: &Store,
    image: &StoredImage,
    wanted: Attestations,
    recipe: &Recipe,
) -> Result<()> {
    let subject = Subject::of(image);
    if wanted.sbom {
        let document = Document::new(&subject, &Contents::of(store, image)?);
        put(store, image, SPDX, BTreeMap::new(), &document)?;
    }
    if wanted.provenance {
        let predicate = (PREDICATE.to_owned(), provenance::PREDICATE_TYPE.to_owned());
        let statement = provenance::statement(&subject, recipe);
        put(
            store,
            image,
            IN_TOTO,
            BTreeMap::from([predicate]),
            &statement,
        )?;
    }
    Ok(())
}

fn put(
    store: &Store,
    image: &StoredImage,
    media_type: &str,
    annotations: BTreeMap<String, String>,
    document: &impl Serialize,
) -> Result<()> {
    let text = serde_json::to_vec(document).expect("its keys are text");
    let mut blob = store.add_blob(media_type, text.as_slice())?;
    blob.annotations.clone_from(&annotations);
    store.put_artifact(
        None,
        &Artifact {
            artifact_type: media_type.to_owned(),
            config: None,
            blobs: vec![blob],
            subject: Some(image.manifest.clone()),
            annotations,
        },
    )?;
    Ok(())
}
