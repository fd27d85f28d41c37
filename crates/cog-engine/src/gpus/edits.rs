//! The edits of several devices as one: in the standard's order, what comes later replacing what came before.

use std::path::{Path, PathBuf};

use super::cdi::{Chosen, Edits, Mount, Specification};
use super::{GpuError, GpuMount, Gpus, Library, MountOption, Node, hooks};

/// What the devices change in a container. A specification's own edits come once, before those of its first device.
pub(super) fn resolve(devices: &[Chosen<'_>]) -> Result<Gpus, GpuError> {
    let mut gpus = Gpus::default();
    let mut hooks = hooks::Hooks::default();
    let mut seen: Vec<&Path> = Vec::new();
    for chosen in devices {
        let specification = chosen.specification;
        if !seen.contains(&specification.path.as_path()) {
            seen.push(&specification.path);
            add(
                &mut gpus,
                &mut hooks,
                specification,
                &specification.container_edits,
            )?;
        }
        add(
            &mut gpus,
            &mut hooks,
            specification,
            &chosen.device.container_edits,
        )?;
    }
    // A folder is mounted before what lies in it.
    gpus.mounts
        .sort_by_key(|mount| Path::new(&mount.target).components().count());
    gpus.libraries = libraries(&gpus.mounts, hooks.library_folders());
    gpus.links = hooks.links();
    gpus.notes.extend(hooks.skipped());
    Ok(gpus)
}

fn add(
    gpus: &mut Gpus,
    hooks: &mut hooks::Hooks,
    specification: &Specification,
    edits: &Edits,
) -> Result<(), GpuError> {
    for variable in &edits.env {
        if let Some((name, value)) = variable.split_once('=') {
            gpus.env.retain(|(known, _)| known != name);
            gpus.env.push((name.to_owned(), value.to_owned()));
        }
    }
    for node in &edits.device_nodes {
        let source = existing(specification, node.source())?;
        gpus.nodes.retain(|known| known.target != node.path);
        gpus.nodes.push(Node {
            source,
            target: node.path.clone(),
        });
    }
    for mount in &edits.mounts {
        if !is_bind(mount) {
            let kind = mount.kind.as_deref().unwrap_or_default();
            note(
                gpus,
                format!("left out a `{kind}` mount at `{}`", mount.container_path),
            );
            continue;
        }
        let source = existing(specification, &mount.host_path)?;
        gpus.mounts
            .retain(|known| known.target != mount.container_path);
        gpus.mounts.push(GpuMount {
            source,
            target: mount.container_path.clone(),
            options: options(mount),
        });
    }
    for hook in &edits.hooks {
        hooks.add(hook);
    }
    if !edits.net_devices.is_empty() {
        note(
            gpus,
            "left out network devices: containers share the host's network".into(),
        );
    }
    if edits.intel_rdt.is_some() {
        note(
            gpus,
            "left out `intelRdt`, a setting of processor caches".into(),
        );
    }
    Ok(())
}

fn note(gpus: &mut Gpus, text: String) {
    if !gpus.notes.contains(&text) {
        gpus.notes.push(text);
    }
}

fn existing(specification: &Specification, path: &str) -> Result<PathBuf, GpuError> {
    let path = PathBuf::from(path);
    if path.exists() {
        return Ok(path);
    }
    Err(GpuError::MissingFile {
        path,
        specification: specification.path.clone(),
    })
}

fn is_bind(mount: &Mount) -> bool {
    matches!(mount.kind.as_deref(), None | Some("" | "bind" | "none"))
}

fn options(mount: &Mount) -> Vec<MountOption> {
    mount
        .options
        .iter()
        .filter_map(|option| match option.as_str() {
            "ro" => Some(MountOption::ReadOnly),
            "nosuid" => Some(MountOption::NoSuid),
            "nodev" => Some(MountOption::NoDev),
            "noexec" => Some(MountOption::NoExec),
            // How a mount is made and passed on is the engine's choice.
            _ => None,
        })
        .collect()
}

/// The shared libraries among the mounts that lie in folders which the loader is to know.
fn libraries(mounts: &[GpuMount], folders: &[String]) -> Vec<Library> {
    let known = |folder: &Path| {
        folders
            .iter()
            .any(|known| Path::new(known).components().eq(folder.components()))
    };
    let mut found = Vec::new();
    for mount in mounts {
        let target = Path::new(&mount.target);
        if target.parent().is_some_and(known) {
            found.extend(Library::read(&mount.source, target));
        } else if known(target) {
            found.extend(Library::read_folder(&mount.source, target));
        }
    }
    found
}
