//! Project to image: build plan, steps, step cache.
//!
//! Start with [`build`] and [`prepare`]. [`plan`] says which steps a project takes and what each
//! depends on; [`steps`] has one module for each. Nothing here prints or knows the command line: what
//! happens is told to a [`Reporter`].

mod after_commands;
mod architecture;
mod artifacts;
mod attest;
mod backend;
mod base;
mod certificate;
mod command;
mod container;
mod context;
mod docker;
pub mod dockerfile;
mod dockerignore;
mod environment;
mod error;
mod executor;
mod foreign;
mod git;
mod gpu;
mod host;
mod image;
mod image_files;
mod implied;
pub mod lock;
mod lock_file;
mod locking;
pub mod missing;
mod model;
mod outline;
mod own_image;
mod parts;
pub mod plan;
mod project_lock;
mod reporter;
mod request;
mod resolve;
mod sdk;
mod sdk_source;
mod secret_files;
mod secrets;
mod separated;
mod snapshot;
mod step_output;
mod steps;
mod variables;

pub use architecture::{Architecture, UnknownPlatform};
pub use artifacts::check_requirements;
pub use attest::{Attestations, sbom};
pub use backend::Backend;
pub use base::{
    AddedPython, BaseChoice, COG_BASE, Compiler, DebianRelease, Inherited, LockedBase, pull,
};
pub use certificate::{COG_CA_CERT, CertificateError, Certificates};
pub use command::{Command, CommandError, SecretMount};
pub use context::ContextError;
pub use docker::{
    DaemonError, DockerBuilder, HandedOver, Observers, Route, hand_over, layers_for, remove_ended,
};
pub use dockerignore::{Dockerignore, DockerignoreError, FolderVerdict, PatternLine};
pub use environment::{Environment, prepare};
pub use error::{BuildError, CommandOutput, MovedPackage, Result};
pub use executor::Cache;
pub use foreign::Need;
pub use host::{HostEnvironment, host_environment};
pub use image::{BuiltImage, build};
pub use implied::ImpliedPolicy;
pub use lock_file::LockFileError;
pub use locking::{LockOutcome, LockPolicy, LockReport, Upgrade, check_lock, lock_project};
pub use model::{COG_OPENAPI_SCHEMA, Interface, SchemaSource};
pub use outline::{Outline, OutlinedStep, ResolvedOutline, outline, resolved_outline};
pub use plan::Symbols;
pub use reporter::{Event, Outcome, Reporter, Silent, Unit};
pub use request::{BuildRequest, TorchIndex};
pub use sdk::VERSION;
pub use sdk_source::{COG_SDK_WHEEL, COGLET_WHEEL, PackageSource, Pin, SdkSourceError, SdkSources};
pub use secret_files::remove_stale_secrets;
pub use secrets::{Secret, SecretError, SecretValue};
pub use separated::{SeparatedPath, SourceLayers, separate, separated_paths};
pub use snapshot::{Changes, Snapshot, leave_schema};
pub use step_output::StepOutput;
pub use steps::runtime::{COG_COGLET_BINARY, COG_COGLET_BINARY_AMD64, COG_COGLET_BINARY_ARM64};
pub use steps::system_packages::MissingPackage;
