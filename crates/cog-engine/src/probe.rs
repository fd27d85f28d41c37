//! What the kernel allows, found by asking it in a process that is thrown away.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::docker::{Daemon, DockerError, Wanted};
use crate::helper;

/// How long a daemon may take for its first answer. One that is asleep takes a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells where containers can run. A trait, so that callers can be tested for both answers.
pub trait Probe {
    /// `Ok` if the embedded engine works here, else why not, as a phrase.
    fn containers(&self) -> Result<(), String>;

    /// The container daemon that answers.
    fn daemon(&self) -> Result<Daemon, DockerError> {
        Daemon::find(Wanted::Any, PATIENCE)
    }
}

/// Asks the running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelProbe;

impl Probe for KernelProbe {
    fn containers(&self) -> Result<(), String> {
        if !cfg!(target_os = "linux") {
            return Err("containers need Linux".into());
        }
        if is_zero(Path::new("/proc/sys/user/max_user_namespaces")) {
            return Err("user namespaces are disabled (`user.max_user_namespaces` is 0)".into());
        }
        if is_zero(Path::new("/proc/sys/kernel/unprivileged_userns_clone"))
            && !rustix::process::geteuid().is_root()
        {
            return Err(
                "user namespaces are disabled (`kernel.unprivileged_userns_clone` is 0)".into(),
            );
        }
        try_in_process(helper::PROBE_ARGUMENT)
    }
}

fn is_zero(path: &Path) -> bool {
    fs_err::read_to_string(path).is_ok_and(|text| text.trim() == "0")
}

/// Does what a container's set-up begins with, or the part of it that `argument` names, in a process of its own.
pub(crate) fn try_in_process(argument: &str) -> Result<(), String> {
    let output = helper::this_program()
        .arg(argument)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("could not start a process: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .last()
        .unwrap_or("namespaces cannot be made")
        .trim()
        .to_owned())
}
