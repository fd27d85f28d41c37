//! The last steps of a workload's own process: leaves behind what it must not inherit and becomes the command.

use std::ffi::{CString, NulError};
use std::io::{self, IsTerminal as _};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::chdir;

use crate::supervisor::{Failure, close_others, unblock_signals};

/// Where programs are looked for without a `PATH`.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command about to run.
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Leaves signals, open files and the session behind and enters `working_dir`. Open stay the standard streams, `fds`,
/// which the command inherits, and what `kept` names, which it does not.
pub(crate) fn enter(
    working_dir: &Path,
    fds: &[RawFd],
    kept: impl Iterator<Item = RawFd>,
) -> Result<(), Failure> {
    // First of all: a working directory such as `/proc/self/fd/7` must not find anything.
    close_others(kept.chain(fds.iter().copied()));
    let step = format!(
        "change to the working directory `{}`",
        working_dir.display()
    );
    chdir(working_dir).map_err(Failure::at(step.clone()))?;
    check_inside().map_err(Failure::at(step))?;
    if !io::stdin().is_terminal() {
        // Ctrl-C is then for the caller alone, who decides what it means. A command that reads from the terminal
        // stays in its session, or it could not.
        let _ = rustix::process::setsid();
    }
    // SAFETY: a plain system call. Rust programs ignore SIGPIPE, and what is ignored stays so across exec.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    unblock_signals();
    for fd in fds {
        // SAFETY: the caller handed these descriptors over and keeps them open until this process execs.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        fcntl_setfd(fd, FdFlags::empty()).map_err(Failure::at("hand over a descriptor"))?;
    }
    Ok(())
}

/// Refuses a current directory that is not below the root: some descriptor led there. The kernel gives such a one no
/// absolute path.
fn check_inside() -> Result<(), String> {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer outlives the call, and its size is given.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    if length > 0 && path[0] != b'/' {
        return Err("leads out of the container".into());
    }
    Ok(())
}

impl Program {
    /// Looks for `command` as a shell would, with the `PATH` of `environment`, and refuses what cannot run. The reason
    /// is a phrase. To be called in the working directory.
    pub(crate) fn find(
        command: &[String],
        environment: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Self, String> {
        let name = command
            .first()
            .filter(|name| !name.is_empty())
            .ok_or("there is no command to run")?;
        let path = look_up(name, environment)?;
        let nul = |_: NulError| "an argument or a variable contains a NUL byte";
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes()).map_err(nul)?,
            arguments: command
                .iter()
                .map(|text| CString::new(text.as_str()))
                .collect::<Result<_, _>>()
                .map_err(nul)?,
            environment: environment
                .iter()
                .map(|(name, value)| CString::new([name, b"=".as_slice(), value].concat()))
                .collect::<Result<_, _>>()
                .map_err(nul)?,
        })
    }

    /// Becomes the program; only returns if that fails, with the reason.
    pub(crate) fn execute(&self) -> String {
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        // SAFETY: all three are NUL-terminated and live until the call returns.
        unsafe { libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // We have just seen the file itself.
            Some(libc::ENOENT) => {
                "the interpreter or dynamic linker it asks for does not exist".into()
            }
            Some(libc::ENOEXEC) => {
                "not a program for this machine, nor a script with a `#!` line".into()
            }
            _ => phrase(&error),
        }
    }
}

fn look_up(name: &str, environment: &[(Vec<u8>, Vec<u8>)]) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        let found = fs_err::metadata(&path).map_err(|error| phrase(&error))?;
        if found.is_dir() {
            return Err("is a directory".into());
        }
        return Ok(path);
    }
    let path = environment
        .iter()
        .rev()
        .find(|(variable, _)| variable == b"PATH")
        .map_or(DEFAULT_PATH.as_bytes(), |(_, value)| value);
    let candidates = path
        .split(|byte| *byte == b':')
        .map(|folder| Path::new(std::ffi::OsStr::from_bytes(folder)).join(name));
    let mut reason = "executable file not found in $PATH";
    for candidate in candidates.filter(|candidate| candidate.is_file()) {
        if access(&candidate, Access::EXEC_OK).is_ok() {
            return Ok(candidate);
        }
        reason = "permission denied";
    }
    Err(reason.into())
}

/// An operating system's answer as part of a sentence.
fn phrase(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn environment(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![(b"PATH".to_vec(), path.as_os_str().as_bytes().to_vec())]
    }

    fn refusal(name: &str, path: &Path) -> String {
        Program::find(&[name.to_owned()], &environment(path))
            .err()
            .unwrap()
    }

    fn script(folder: &Path, name: &str, text: &str, mode: u32) -> String {
        let path = folder.join(name);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn says_why_a_command_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        script(folder.path(), "plain", "text", 0o644);
        assert_eq!(
            refusal("absent", folder.path()),
            "executable file not found in $PATH"
        );
        assert_eq!(refusal("plain", folder.path()), "permission denied");
        assert_eq!(refusal("/absent/program", folder.path()), "no such file");
        assert_eq!(refusal("/", folder.path()), "is a directory");
        assert_eq!(refusal("", folder.path()), "there is no command to run");
        assert!(Program::find(&[], &environment(folder.path())).is_err());
    }

    #[test]
    fn a_nul_byte_is_an_error() {
        let command = ["/bin/sh".to_owned(), "a\0b".to_owned()];
        assert!(Program::find(&command, &[]).err().unwrap().contains("NUL"));
    }

    #[test]
    fn finds_the_first_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let expected = script(folder.path(), "tool", "#!/bin/sh\n", 0o755);
        let found = Program::find(&["tool".to_owned()], &environment(folder.path())).unwrap();
        assert_eq!(found.path.to_str().unwrap(), expected);
    }
}
