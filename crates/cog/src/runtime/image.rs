//! An image to run: of the store, or one that only a daemon has.

use std::collections::BTreeMap;

use cog_engine::docker::DaemonImage;
use cog_image::StoredImage;

/// Where it is, with what it says of itself.
pub(crate) enum Image {
    /// In our store.
    Stored(Box<StoredImage>),
    /// In the daemon that the engine uses.
    InDaemon {
        /// What the daemon says of it.
        image: Box<DaemonImage>,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
}

impl Image {
    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Stored(image) => &image.config.labels,
            Self::InDaemon { labels, .. } => labels,
        }
    }
}

impl From<StoredImage> for Image {
    fn from(image: StoredImage) -> Self {
        Self::Stored(Box::new(image))
    }
}

impl From<DaemonImage> for Image {
    fn from(mut image: DaemonImage) -> Self {
        let labels = std::mem::take(&mut image.labels).into_iter().collect();
        Self::InDaemon {
            image: Box::new(image),
            labels,
        }
    }
}
