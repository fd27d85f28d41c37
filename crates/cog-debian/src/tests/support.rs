//! Containers for tests, and ways to look at trees.

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cog_engine::{
    Embedded, Engine as _, Exit, Gpus, KernelProbe, Network, Probe as _, Process, Purpose, Root,
    Workload, Writable,
};
use cog_testing::skip;
use sha2::{Digest as _, Sha256};

use crate::{Progress, RunInRoot};
use hex::encode as hex;

/// The embedded engine starts this program again as the container's supervisor, before it has more than one thread. A
/// test program has no `main` of ours to call this from.
#[used]
#[unsafe(link_section = ".init_array")]
static BECOME_SUPERVISOR: extern "C" fn() = {
    extern "C" fn become_supervisor() {
        cog_engine::embedded::run_if_init();
    }
    become_supervisor
};

/// Runs commands with the embedded engine.
pub(super) struct Container;

impl RunInRoot for Container {
    fn run(
        &self,
        root: &Path,
        command: &[&str],
        env: &[(&str, &str)],
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        output(root, command, env).map(drop).map_err(Into::into)
    }
}

/// What `command` prints, or how it failed. The tree is the upper directory of an overlay without layers, so that
/// everything happens in place.
pub(super) fn output(
    root: &Path,
    command: &[&str],
    env: &[(&str, &str)],
) -> Result<String, String> {
    let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    let log = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let workload = Workload {
        root: Root::Layers(Vec::new()),
        writable: Writable::Upper(root.to_owned()),
        mounts: Vec::new(),
        process: Process {
            command: command.iter().map(|part| (*part).to_owned()).collect(),
            env: env.iter().map(owned).collect(),
            working_dir: "/".to_owned(),
            stdin: Stdio::null(),
            stdout: append(log.path())?,
            stderr: append(log.path())?,
            passed_fds: Vec::new(),
            terminal: None,
        },
        purpose: Purpose::Build,
        ca_bundle: None,
        gpus: Gpus::default(),
        emulator: None,
        network: Network::default(),
    };
    let mut running = Embedded
        .start(workload)
        .map_err(|error| error.to_string())?;
    let exit = running.wait().map_err(|error| error.to_string())?;
    let text = fs_err::read(log.path()).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match exit {
        Exit::Code(0) => Ok(text),
        exit => Err(format!("{exit:?}:\n{text}")),
    }
}

fn append(path: &Path) -> Result<Stdio, String> {
    let file = fs_err::OpenOptions::new().append(true).open(path);
    file.map(|file| Stdio::from(file.into_file()))
        .map_err(|error| error.to_string())
}

/// Whether containers cannot run here; says so.
pub(super) fn no_containers() -> bool {
    match KernelProbe.containers() {
        Ok(()) => false,
        Err(reason) => {
            skip(reason);
            true
        }
    }
}

pub(super) fn silent(_: Progress<'_>) {}

/// Everything in the tree that a layer would keep, by path.
pub(super) fn contents(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    collect(root, Path::new(""), &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs_err::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        let content = if kind.is_dir() {
            collect(root, &path, found);
            String::new()
        } else if kind.is_symlink() {
            fs_err::read_link(entry.path())
                .unwrap()
                .display()
                .to_string()
        } else {
            assert!(kind.is_file(), "{} is special", path.display());
            hex(Sha256::digest(fs_err::read(entry.path()).unwrap()))
        };
        found.insert(path, format!("{mode:o} {content}"));
    }
}
