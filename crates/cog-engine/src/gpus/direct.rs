//! GPUs without a specification: device nodes and driver libraries as they are on this machine.
//!
//! Only what is certain is taken: libraries have to be of exactly the driver that the kernel runs, and the nodes of
//! each GPU are those that the driver names. Anything else is an error that says how to write a specification.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::loader_cache::LoaderCache;
use super::{Driver, GpuError, GpuMount, GpuRequest, Gpus, Library, Link, MountOption, Node};

/// Where the container has the libraries; images made for NVIDIA's runtime know the folder.
const LIBRARIES: &str = "/usr/local/nvidia/lib64";

/// What computing needs of the driver. The first two cannot be done without.
const NEEDED: [&str; 2] = ["libcuda.so.1", "libnvidia-ml.so.1"];
const USEFUL: [&str; 11] = [
    "libcudadebugger.so.1",
    "libnvidia-allocator.so.1",
    "libnvidia-cfg.so.1",
    "libnvidia-gpucomp.so.",
    "libnvidia-nvvm.so.4",
    "libnvidia-nvvm70.so.4",
    "libnvidia-opencl.so.1",
    "libnvidia-pkcs11-openssl3.so.",
    "libnvidia-pkcs11.so.",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-sandboxutils.so.1",
];

/// Device nodes of the driver as a whole.
const CONTROL: [&str; 2] = ["dev/nvidiactl", "dev/nvidia-uvm"];
const OPTIONAL_CONTROL: [&str; 1] = ["dev/nvidia-uvm-tools"];

const TOOLS: [&str; 1] = ["usr/bin/nvidia-smi"];

/// A GPU as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gpu {
    minor: u32,
    identifier: String,
}

/// What a container needs for the GPUs of `request`, read below `root`.
pub(super) fn find(root: &Path, driver: &Driver, request: &GpuRequest) -> Result<Gpus, GpuError> {
    let all = gpus(root)?;
    let chosen = choose(&all, request)?;
    let mut found = Gpus::default();
    for name in CONTROL {
        found.nodes.push(node(root, name)?);
    }
    for name in OPTIONAL_CONTROL {
        found.nodes.extend(node(root, name));
    }
    for gpu in &chosen {
        found
            .nodes
            .push(node(root, &format!("dev/nvidia{}", gpu.minor))?);
    }
    add_libraries(&mut found, root, driver)?;
    for tool in TOOLS {
        let source = root.join(tool);
        if source.is_file() {
            found.mounts.push(mount(source, format!("/{tool}")));
        }
    }
    let visible = if chosen.len() == all.len() {
        "all".to_owned()
    } else {
        let identifiers: Vec<_> = chosen.iter().map(|gpu| gpu.identifier.as_str()).collect();
        identifiers.join(",")
    };
    found.env.push(("NVIDIA_VISIBLE_DEVICES".into(), visible));
    Ok(found)
}

/// The GPUs in the order in which programs count them.
fn gpus(root: &Path) -> Result<Vec<Gpu>, GpuError> {
    let folder = root.join("proc/driver/nvidia/gpus");
    let mut by_address = BTreeMap::new();
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(text) = fs_err::read_to_string(entry.path().join("information")) else {
            continue;
        };
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        if let (Some(minor), Some(identifier)) = (
            field("Device Minor").and_then(|minor| minor.parse().ok()),
            field("GPU UUID"),
        ) {
            by_address.insert(entry.file_name(), Gpu { minor, identifier });
        }
    }
    if by_address.is_empty() {
        return Err(unsure(
            "the driver names no GPU in /proc/driver/nvidia/gpus",
        ));
    }
    Ok(by_address.into_values().collect())
}

fn choose(all: &[Gpu], request: &GpuRequest) -> Result<Vec<Gpu>, GpuError> {
    match request {
        GpuRequest::All => Ok(all.to_vec()),
        GpuRequest::Count(wanted) if *wanted > all.len() => Err(GpuError::TooFew {
            wanted: *wanted,
            found: all.len(),
        }),
        GpuRequest::Count(wanted) => Ok(all[..*wanted].to_vec()),
        GpuRequest::Devices(names) => names
            .iter()
            .map(|name| {
                let number = name.parse().ok().and_then(|index: usize| all.get(index));
                let by_identifier = || all.iter().find(|gpu| gpu.identifier == *name);
                number
                    .or_else(by_identifier)
                    .cloned()
                    .ok_or_else(|| GpuError::Unknown {
                        name: name.clone(),
                        known: all
                            .iter()
                            .enumerate()
                            .flat_map(|(index, gpu)| [index.to_string(), gpu.identifier.clone()])
                            .collect(),
                    })
            })
            .collect(),
    }
}

fn add_libraries(found: &mut Gpus, root: &Path, driver: &Driver) -> Result<(), GpuError> {
    let cache = fs_err::read(root.join("etc/ld.so.cache")).unwrap_or_default();
    let cache = LoaderCache::parse(&cache);
    for (name, path, flags) in cache.libraries() {
        let needed = NEEDED.contains(&name);
        let useful = USEFUL.iter().any(|known| {
            name == *known
                || known.ends_with('.') && name.strip_prefix(known) == Some(driver.version())
        });
        if flags != own_flags()
            || !(needed || useful)
            || found.libraries.iter().any(|known| known.name == name)
        {
            continue;
        }
        let source = root.join(path.trim_start_matches('/'));
        let Ok(source) = fs_err::canonicalize(source) else {
            continue;
        };
        let file = source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if needed && !file.ends_with(&format!(".so.{}", driver.version())) {
            return Err(unsure(&format!(
                "the kernel runs driver {}, but `{name}` is `{file}`",
                driver.version()
            )));
        }
        let target = format!("{LIBRARIES}/{file}");
        let Some(library) = Library::read(&source, Path::new(&target)) else {
            continue;
        };
        if !found.mounts.iter().any(|known| known.target == target) {
            found.mounts.push(mount(source, target));
        }
        found.libraries.push(library);
    }
    for name in NEEDED {
        if !found.libraries.iter().any(|library| library.name == name) {
            return Err(unsure(&format!("the driver's `{name}` is not installed")));
        }
    }
    // Programs that are compiled when they first run are linked with this name.
    found.links.push(Link {
        path: format!("{LIBRARIES}/libcuda.so"),
        target: NEEDED[0].to_owned(),
    });
    Ok(())
}

/// What a loader's cache says of libraries for this machine.
fn own_flags() -> u32 {
    if cfg!(target_arch = "aarch64") {
        0x0a03
    } else {
        0x0303
    }
}

fn node(root: &Path, name: &str) -> Result<Node, GpuError> {
    let source = root.join(name);
    let target = format!("/{name}");
    if source.exists() {
        return Ok(Node { source, target });
    }
    Err(unsure(&format!(
        "`{target}` does not exist (`sudo nvidia-modprobe -u -c=0` makes it)"
    )))
}

fn mount(source: PathBuf, target: String) -> GpuMount {
    GpuMount {
        source,
        target,
        options: vec![
            MountOption::ReadOnly,
            MountOption::NoSuid,
            MountOption::NoDev,
        ],
    }
}

fn unsure(reason: &str) -> GpuError {
    GpuError::NoSpecification {
        reason: reason.to_owned(),
    }
}
