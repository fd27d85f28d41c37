//! Which GPUs a workload gets, and what that means for its container.
//!
//! [`GpuRequest`] is what was asked for, [`GpuHost::find`] turns it into [`Gpus`]: device nodes, mounts, variables,
//! links and libraries. They come from Container Device Interface specifications (`cdi`), as NVIDIA's toolkit writes
//! them; on a machine with a driver but without any, from the driver itself (`direct`). [`GpuHost::driver`] says how old
//! the driver is.
//!
//! Nothing here touches a container: the embedded engine does that.

mod cdi;
mod direct;
mod driver;
mod edits;
mod error;
mod hooks;
mod library;
mod loader_cache;
mod request;
mod yaml;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use driver::{Cuda, Driver};
pub use error::GpuError;
pub use request::GpuRequest;

pub(crate) use library::Library;
pub(crate) use loader_cache::LoaderCache;

/// Folders with Container Device Interface specifications, instead of the usual ones; colons separate them.
pub const CDI_FOLDERS: &str = "COG_CDI_DIRS";

/// A later folder's devices hide those of an earlier one.
const USUAL_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Parts of the driver that programs may use; images can ask for others.
const CAPABILITIES: (&str, &str) = ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility");

/// GPUs that were found, and all that a container needs for them. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpus {
    /// Variables that replace those of the workload.
    pub(crate) env: Vec<(String, String)>,
    /// Variables for a workload that does not have them.
    pub(crate) default_env: Vec<(String, String)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) mounts: Vec<GpuMount>,
    pub(crate) links: Vec<Link>,
    /// Libraries that the container's loader is to find.
    pub(crate) libraries: Vec<Library>,
    /// What a daemon is asked for, which finds its own.
    request: Option<GpuChoice>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// GPUs that a daemon is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuChoice {
    /// Which.
    pub(crate) request: GpuRequest,
    /// Whether there is no workload without them.
    pub(crate) is_insisted: bool,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
}

/// A file or folder of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuMount {
    pub(crate) source: PathBuf,
    pub(crate) target: String,
    pub(crate) options: Vec<MountOption>,
}

/// What a mount forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountOption {
    ReadOnly,
    NoSuid,
    NoDev,
    NoExec,
}

/// A symbolic link in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) target: String,
}

impl Gpus {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Files that should be looked at, a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Parts of specifications that were left out, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Those that a daemon has, which is asked for them when the container is made.
    pub fn of_daemon(request: GpuRequest, is_insisted: bool) -> Self {
        if request == GpuRequest::Count(0) {
            return Self::default();
        }
        let choice = GpuChoice {
            request,
            is_insisted,
        };
        Self {
            request: Some(choice),
            ..Self::default()
        }
    }

    /// What a daemon is asked for.
    pub(crate) fn request(&self) -> Option<&GpuChoice> {
        self.request.as_ref()
    }

    /// The workload's environment with what GPUs change in it.
    pub(crate) fn add_to(&self, env: &mut Vec<(String, String)>) {
        for (name, value) in &self.default_env {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.clone(), value.clone()));
            }
        }
        for (name, value) in &self.env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
    }
}

/// Where this machine says what GPUs it has.
#[derive(Debug, Clone)]
pub struct GpuHost {
    folders: Vec<PathBuf>,
    root: PathBuf,
}

impl GpuHost {
    /// The usual places, or those that [`CDI_FOLDERS`] names.
    pub fn of_this_machine() -> Self {
        let folders = match std::env::var_os(CDI_FOLDERS) {
            Some(named) if !named.is_empty() => std::env::split_paths(&named).collect(),
            _ => USUAL_FOLDERS.map(PathBuf::from).into(),
        };
        Self::at(Path::new("/"), folders)
    }

    /// With the driver's files below `root`, and specifications in `folders`, the most important last.
    pub fn at(root: &Path, folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            root: root.to_owned(),
        }
    }

    /// The NVIDIA driver that is loaded.
    pub fn driver(&self) -> Option<Driver> {
        Driver::loaded(&self.root)
    }

    /// What a container needs for the GPUs of `request`.
    pub fn find(&self, request: &GpuRequest) -> Result<Gpus, GpuError> {
        if *request == GpuRequest::Count(0) {
            return Ok(Gpus::default());
        }
        let registry = cdi::Registry::read(&self.folders);
        let mut gpus = match registry.choose(request)? {
            Some(devices) => self.explained(edits::resolve(&devices))?,
            None => match self.driver() {
                None => return Err(registry.nothing_found()),
                Some(driver) => direct::find(&self.root, &driver, request)?,
            },
        };
        gpus.warnings.extend(registry.complaints());
        let (name, value) = CAPABILITIES;
        gpus.default_env.push((name.into(), value.into()));
        Ok(gpus)
    }

    /// For a workload on the host, which sees all GPUs unless it is told not to.
    pub fn find_on_host(&self, request: &GpuRequest) -> Result<Gpus, GpuError> {
        let visible = match request {
            GpuRequest::Count(0) => Some(String::new()),
            _ if self.driver().is_none() => return Err(GpuError::NoDriver),
            GpuRequest::All => None,
            GpuRequest::Count(count) => {
                let numbers: Vec<_> = (0..*count).map(|number| number.to_string()).collect();
                Some(numbers.join(","))
            }
            GpuRequest::Devices(names) => Some(names.join(",")),
        };
        Ok(Gpus {
            env: visible
                .map(|visible| ("CUDA_VISIBLE_DEVICES".to_owned(), visible))
                .into_iter()
                .collect(),
            ..Gpus::default()
        })
    }

    /// Files of a specification are missing for one of two reasons.
    fn explained(&self, found: Result<Gpus, GpuError>) -> Result<Gpus, GpuError> {
        match found {
            Err(GpuError::MissingFile { .. }) if self.driver().is_none() => Err(GpuError::NoDriver),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
