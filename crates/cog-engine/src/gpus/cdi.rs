//! Container Device Interface specifications: reading, checking, and which devices they have.
//!
//! One file has the devices of one kind, such as `nvidia.com/gpu`. A file that cannot be used spoils no other; it is
//! spoken of where its devices are missed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{GpuError, GpuRequest, yaml};

/// The kind that names without a kind are of.
const NVIDIA: &str = "nvidia.com/gpu";
const ALL: &str = "all";

/// Versions of the standard that are known; a newer one could mean what is not understood here.
const VERSIONS: [&str; 10] = [
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// Specifications of hundreds of devices have a megabyte.
const MAX_SIZE: u64 = 16 << 20;

/// A file of devices.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Specification {
    #[serde(skip)]
    pub(super) path: PathBuf,
    #[serde(deserialize_with = "text")]
    cdi_version: String,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What changes in a container that gets a device.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    pub(super) net_devices: Vec<Value>,
    pub(super) intel_rdt: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceNode {
    pub(super) path: String,
    host_path: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hook {
    #[serde(rename = "hookName")]
    pub(super) stage: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
}

impl DeviceNode {
    pub(super) fn source(&self) -> &str {
        self.host_path.as_deref().unwrap_or(&self.path)
    }
}

/// A device of one of the registry's specifications.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) specification: &'a Specification,
    pub(super) device: &'a Device,
}

/// All specifications of this machine.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// By folder, the most important first.
    folders: Vec<Vec<Specification>>,
    /// Why files cannot be used.
    broken: Vec<String>,
}

impl Registry {
    /// Reads what is in `folders`, of which the last is the most important.
    pub(super) fn read(folders: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for folder in folders.iter().rev() {
            let mut specifications = Vec::new();
            for path in files(folder) {
                match Specification::read(&path) {
                    Ok(specification) => specifications.push(specification),
                    Err(reason) => registry
                        .broken
                        .push(format!("`{}`: {reason}", path.display())),
                }
            }
            registry.folders.push(specifications);
        }
        registry
    }

    /// The devices that are asked for; `None` if no specification has any of the kind that is meant.
    pub(super) fn choose(&self, request: &GpuRequest) -> Result<Option<Vec<Chosen<'_>>>, GpuError> {
        let known = self.names(NVIDIA);
        let names: Vec<String> = match request {
            GpuRequest::Devices(names) if names.iter().any(|name| name.contains('=')) => {
                names.iter().map(|name| qualified(name)).collect()
            }
            _ if known.is_empty() => return Ok(None),
            GpuRequest::All if known.contains(ALL) => vec![qualified(ALL)],
            GpuRequest::All => single(&known).map(qualified).collect(),
            GpuRequest::Count(wanted) => {
                let single: Vec<_> = single(&known).map(qualified).collect();
                if single.len() < *wanted {
                    return Err(GpuError::TooFew {
                        wanted: *wanted,
                        found: single.len(),
                    });
                }
                single.into_iter().take(*wanted).collect()
            }
            GpuRequest::Devices(names) => names.iter().map(|name| qualified(name)).collect(),
        };
        names
            .iter()
            .map(|name| self.find(name))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// What to say where there are neither devices nor a driver.
    pub(super) fn nothing_found(self) -> GpuError {
        if self.broken.is_empty() {
            GpuError::NoDriver
        } else {
            GpuError::Broken(self.broken)
        }
    }

    /// About the files that were left out.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        self.broken
            .iter()
            .map(|broken| format!("left out the device specification {broken}"))
    }

    fn find(&self, name: &str) -> Result<Chosen<'_>, GpuError> {
        let (kind, device) = name.split_once('=').unwrap_or((NVIDIA, name));
        for specifications in &self.folders {
            let mut found = specifications
                .iter()
                .filter(|specification| specification.kind == kind)
                .filter_map(|specification| {
                    let device = specification
                        .devices
                        .iter()
                        .find(|known| known.name == device)?;
                    Some(Chosen {
                        specification,
                        device,
                    })
                });
            match (found.next(), found.next()) {
                (None, _) => {}
                (Some(chosen), None) => return Ok(chosen),
                (Some(first), Some(second)) => {
                    return Err(GpuError::Ambiguous {
                        name: name.to_owned(),
                        files: (
                            first.specification.path.clone(),
                            second.specification.path.clone(),
                        ),
                    });
                }
            }
        }
        let mut known: Vec<String> = self.names(kind).into_iter().map(str::to_owned).collect();
        known.extend(
            self.broken
                .iter()
                .map(|broken| format!("(unusable) {broken}")),
        );
        Err(GpuError::Unknown {
            name: name
                .strip_prefix("nvidia.com/gpu=")
                .unwrap_or(name)
                .to_owned(),
            known,
        })
    }

    /// The names of all devices of a kind.
    fn names(&self, kind: &str) -> BTreeSet<&str> {
        self.folders
            .iter()
            .flatten()
            .filter(|specification| specification.kind == kind)
            .flat_map(|specification| &specification.devices)
            .map(|device| device.name.as_str())
            .collect()
    }
}

/// The devices that stand for one GPU each: those with a number for a name, in their order, or else all but `all`.
fn single<'a>(known: &BTreeSet<&'a str>) -> impl Iterator<Item = &'a str> {
    let mut numbered: Vec<(usize, &str)> = known
        .iter()
        .filter_map(|name| Some((name.parse().ok()?, *name)))
        .collect();
    numbered.sort_unstable();
    let others = known
        .iter()
        .copied()
        .filter(|name| *name != ALL && numbered.is_empty())
        .collect::<Vec<_>>();
    numbered.into_iter().map(|(_, name)| name).chain(others)
}

fn qualified(name: &str) -> String {
    if name.contains('=') {
        name.to_owned()
    } else {
        format!("{NVIDIA}={name}")
    }
}

/// The specifications of a folder, sorted; a folder that is not there has none.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json" || extension == "yaml")
                && path.is_file()
        })
        .collect();
    files.sort_unstable();
    files
}

impl Specification {
    fn read(path: &Path) -> Result<Self, String> {
        let size = fs_err::metadata(path)
            .map_err(|error| reason(&error))?
            .len();
        if size > MAX_SIZE {
            return Err(format!("it has {} MiB", size >> 20));
        }
        let text = fs_err::read_to_string(path).map_err(|error| reason(&error))?;
        let value = match path.extension() {
            Some(extension) if extension == "json" => {
                serde_json::from_str(&text).map_err(|error| error.to_string())?
            }
            _ => yaml::read(&text)?,
        };
        let mut specification: Self =
            serde_json::from_value(without_nulls(value)).map_err(|error| error.to_string())?;
        path.clone_into(&mut specification.path);
        specification.check()?;
        Ok(specification)
    }

    fn check(&self) -> Result<(), String> {
        let version = self
            .cdi_version
            .strip_prefix('v')
            .unwrap_or(&self.cdi_version);
        if !VERSIONS.contains(&version) {
            let newest = VERSIONS[VERSIONS.len() - 1];
            return Err(format!(
                "its version `{version}` is unknown, the newest known one is {newest}"
            ));
        }
        if !is_kind(&self.kind) {
            return Err(format!(
                "its kind `{}` is not of the form vendor/class",
                self.kind
            ));
        }
        if self.devices.is_empty() {
            return Err("it has no devices".into());
        }
        self.container_edits.check()?;
        for (index, device) in self.devices.iter().enumerate() {
            let name = &device.name;
            if !is_name(name, "_-.:") {
                return Err(format!("the device name `{name}` is not allowed"));
            }
            if self.devices[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return Err(format!("the device `{name}` is there twice"));
            }
            device
                .container_edits
                .check()
                .map_err(|reason| format!("device `{name}`: {reason}"))?;
        }
        Ok(())
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        let absolute = |what: &str, path: &str| {
            if path.starts_with('/') {
                Ok(())
            } else {
                Err(format!("{what} `{path}` is not an absolute path"))
            }
        };
        for variable in &self.env {
            if variable
                .split_once('=')
                .is_none_or(|(name, _)| name.is_empty())
            {
                return Err(format!("the variable `{variable}` is not NAME=VALUE"));
            }
        }
        for node in &self.device_nodes {
            absolute("the device node", &node.path)?;
            absolute("the device node's source", node.source())?;
        }
        for mount in &self.mounts {
            absolute("the mount's source", &mount.host_path)?;
            absolute("the mount's place", &mount.container_path)?;
        }
        for hook in &self.hooks {
            absolute("the hook", &hook.path)?;
        }
        Ok(())
    }
}

/// `vendor/class`, both with letters, digits and some signs.
fn is_kind(kind: &str) -> bool {
    let starts_with_letter =
        |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic());
    kind.split_once('/').is_some_and(|(vendor, class)| {
        [(vendor, "_-."), (class, "_-")]
            .into_iter()
            .all(|(part, signs)| is_name(part, signs) && starts_with_letter(part))
    })
}

fn is_name(name: &str, signs: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric();
    name.starts_with(plain)
        && name.ends_with(plain)
        && name
            .chars()
            .all(|character| plain(character) || signs.contains(character))
}

/// Numbers are names too where quotes were left out.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("text is expected")),
    }
}

/// A key without a value is as good as none.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// The message without the path, which is named already.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "it may not be read".into(),
        _ => error.to_string(),
    }
}
