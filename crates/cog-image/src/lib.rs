//! OCI images: content store, layers, snapshots, manifests, registry client.
//!
//! Start with [`Store`]: it makes layers ([`Store::add_layer_from_dir`] and its siblings), keeps them
//! unpacked ([`Store::rootfs`]), and gives images names ([`Store::put_image`]). Content that is still in
//! a registry is fetched by asking for it. [`layout`] writes images for other tools and reads theirs,
//! [`registry`] speaks with registries, [`serve`] is one for a daemon on
//! this machine to pull from, [`receive`] one to push to, [`trust`] says whom to trust, [`validate()`] recomputes every
//! digest.
//!
//! Nothing here runs a container, knows what a Cog project is, or prints.

pub mod config;
pub mod digest;
mod error;
pub mod layer;
pub mod layout;
mod loopback;
pub mod manifest;
pub mod receive;
pub mod reference;
pub mod registry;
pub mod serve;
pub mod store;
mod time;
pub mod trust;
pub mod validate;

pub use config::ImageConfig;
pub use digest::{DiffId, Digest};
pub use error::{Disk, Error, Result};
pub use layer::{Compression, Entry, EntryKind, Layer, LayerOptions, Modes, Owner, merge_upper};
pub use layout::{ExportOptions, ExportTarget, ImportSource, export, export_index, import};
pub use manifest::{Descriptor, Index, Manifest, Platform};
pub use reference::ImageRef;
pub use store::{
    Artifact, ImageSummary, Kind, Lease, LockGuard, Names, Observer, PruneOptions, PruneReport,
    Pulled, Pushing, Removed, Rootfs, Scratch, StepKey, StepKeyBuilder, StepRecord, Store,
    StoreOptions, StoredArtifact, StoredImage, StoredIndex, Transfer, Usage,
};
pub use time::rfc3339;
pub use validate::{Problem, Report, validate, validate_layout};
