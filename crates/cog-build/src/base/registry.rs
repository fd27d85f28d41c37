//! Bases from registries. They are taken by reference: layers are fetched when a step needs them.

use std::collections::HashMap;
use std::sync::Mutex;

use cog_image::registry::{Client, ClientOptions, Progress, RemoteImage};
use cog_image::{Digest, ImageRef, Layer, Platform, Store, StoredImage};

use super::{Inherited, LockedBase, architecture, probe, python_build, python_platform};
use crate::certificate::{COG_CA_CERT, Certificates};
use crate::error::{BuildError, Result};
use crate::plan::key;
use crate::reporter::{Event, Reporter, Unit};
use crate::workshop::Workshop;
use cog_python::uv::minor_version;
use cog_python::venv::Interpreter;

const RECIPE: u32 = 2;

/// The C library that packages may count on in a base we know nothing about.
const OLD_GLIBC: &str = "2_28";

/// What is known of an image's Python before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brings {
    /// It must have the right one.
    Python,
    /// It has the right one by the name `python` in `/usr/local/bin`.
    LinkedPython,
    /// It has none that counts: one is added.
    NoPython,
}

/// What a registry answered.
pub(super) enum Found {
    Base(Box<LockedBase>),
    Unreachable,
}

/// The base `reference` with the Python `version`. Once seen, it stays what it was until the cache is ignored, as with
/// an image that Docker has pulled.
pub(super) fn base(
    workshop: &Workshop<'_>,
    reference: &str,
    brings: Brings,
    version: &str,
) -> Result<Found> {
    let reference: ImageRef = reference.parse()?;
    let platform = platform();
    let key = key("registry base", RECIPE)
        .field("reference", reference.to_string())
        .field("platform", platform.to_string())
        .field("python", version)
        .finish();
    if let Some(base) = workshop.recorded(&key)?.and_then(LockedBase::from_record) {
        return Ok(Found::Base(Box::new(base)));
    }
    if !probe::is_reachable(workshop, &reference)? {
        return Ok(Found::Unreachable);
    }
    workshop.notice(&format!("looking up base `{}`", reference.familiar()));
    let client = registry_client()?;
    let remote = match block_on(client.resolve(workshop.store, &reference, &platform))? {
        Ok(remote) => remote,
        Err(cog_image::Error::Registry(error)) if error.is_unreachable() => {
            return Ok(Found::Unreachable);
        }
        Err(error) => return Err(error.into()),
    };
    let base = match brings {
        Brings::NoPython => python_build::add(workshop, describe(&remote, None, version), version)?,
        Brings::LinkedPython => {
            describe(&remote, Some("/usr/local/bin/python".to_owned()), version)
        }
        Brings::Python => {
            let path = interpreter(workshop, &remote, version)?;
            describe(&remote, Some(path), version)
        }
    };
    workshop.store.record_step(&key, &base.to_record())?;
    Ok(Found::Base(Box::new(base)))
}

/// Where the Python `version` is in the image.
fn interpreter(workshop: &Workshop<'_>, remote: &RemoteImage, version: &str) -> Result<String> {
    let minor = minor_version(version);
    let path = match remote.config.env_value("PYTHON_VERSION") {
        // The official images say which Python they have, and where it is goes without saying.
        Some(has) if minor_version(has) == minor => Some(format!("/usr/local/bin/python{minor}")),
        _ => find_interpreter(workshop, &remote.layers, &minor)?,
    };
    path.ok_or_else(|| BuildError::NoPython {
        base: remote.reference.familiar(),
        version: minor,
    })
}

fn describe(remote: &RemoteImage, python: Option<String>, version: &str) -> LockedBase {
    let config = &remote.config;
    LockedBase {
        name: remote.reference.familiar(),
        layers: remote.layers.clone(),
        interpreter: Interpreter {
            path: python.unwrap_or_default(),
            minor: minor_version(version),
        },
        python_platform: python_platform(OLD_GLIBC),
        environment: config.env.clone(),
        debian: None,
        inherited: Inherited {
            user: config.user.clone(),
            stop_signal: config.stop_signal.clone(),
            labels: config.labels.clone(),
            exposed_ports: config.exposed_ports.clone(),
            volumes: config.volumes.clone(),
            extra: config.extra.clone(),
        },
    }
}

/// Looks for the interpreter where images have it, which needs their layers.
fn find_interpreter(
    workshop: &Workshop<'_>,
    layers: &[Layer],
    minor: &str,
) -> Result<Option<String>> {
    let snapshots = workshop.snapshots(layers)?;
    let candidates = ["usr/local/bin", "usr/bin", "opt/conda/bin"];
    Ok(candidates
        .iter()
        .map(|folder| format!("{folder}/python{minor}"))
        .find_map(|path| {
            let found = snapshots
                .iter()
                .any(|snapshot| snapshot.join(&path).symlink_metadata().is_ok());
            found.then(|| format!("/{path}"))
        }))
}

/// Fetches those of `layers` that are not in the store.
pub(crate) fn fetch(store: &Store, layers: &[Layer], reporter: &dyn Reporter) -> Result<()> {
    let client = registry_client()?;
    let transfer = Transfer::new("downloading base", reporter);
    let progress = |progress: Progress| transfer.advance(&progress);
    Ok(block_on(client.fetch_layers(store, layers, &progress))??)
}

/// Pulls the image `reference` for this machine and stores it under its familiar name.
pub fn pull(store: &Store, reference: &ImageRef, reporter: &dyn Reporter) -> Result<StoredImage> {
    let client = registry_client()?;
    let transfer = Transfer::new("downloading layers", reporter);
    let progress = |progress: Progress| transfer.advance(&progress);
    Ok(block_on(client.pull(
        store,
        reference,
        &platform(),
        &progress,
    ))??)
}

/// Sums up what many parallel downloads report.
struct Transfer<'a> {
    label: &'static str,
    reporter: &'a dyn Reporter,
    /// For each blob: bytes that are here, and all of them.
    parts: Mutex<HashMap<Digest, (u64, u64)>>,
}

impl<'a> Transfer<'a> {
    fn new(label: &'static str, reporter: &'a dyn Reporter) -> Self {
        Self {
            label,
            reporter,
            parts: Mutex::default(),
        }
    }

    fn advance(&self, progress: &Progress) {
        let (done, total) = {
            let mut parts = self.parts.lock().expect("no holder of the lock panics");
            match progress {
                Progress::Started { digest, size } => {
                    parts.insert(*digest, (0, *size));
                }
                Progress::Advanced { digest, done } => {
                    if let Some(part) = parts.get_mut(digest) {
                        part.0 = *done;
                    }
                }
                _ => return,
            }
            parts
                .values()
                .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
        };
        self.reporter.report(Event::Progress {
            label: self.label,
            done,
            total: Some(total),
            unit: Unit::Bytes,
        });
    }
}

fn platform() -> Platform {
    Platform {
        architecture: architecture().to_owned(),
        ..Platform::linux_amd64()
    }
}

/// A client for registries, which trusts the certificates of `COG_CA_CERT` besides the host's.
fn registry_client() -> Result<Client> {
    let certificates = Certificates::read(&std::env::var(COG_CA_CERT).unwrap_or_default())?;
    Ok(Client::new(ClientOptions {
        extra_certificates: certificates.map(|found| found.pem().into_bytes()),
        ..ClientOptions::default()
    })?)
}

fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}
