//! The last steps of a workload's own process: leaves behind what it must not inherit and becomes the command.

use std::ffi::{CString, NulError};
use std::io::{self, IsTerminal as _};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::chdir;

use crate::supervisor::{Failure, unblock_signals};

/// Interpreters of interpreters that the kernel follows before it gives up.
const MAX_INTERPRETERS: usize = 5;

/// Where programs are looked for without a `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command about to run.
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Enters `working_dir` and leaves signals, open files and the session behind.
pub(crate) fn enter(working_dir: &Path, fds: &[RawFd]) -> Result<(), Failure> {
    chdir(working_dir).map_err(Failure::at(format!(
        "change to the working directory `{}`",
        working_dir.display()
    )))?;
    if !io::stdin().is_terminal() {
        // Ctrl-C is then for the caller alone, who decides what it means. A command that reads from the terminal
        // stays in its session, or it could not.
        let _ = rustix::process::setsid();
    }
    // SAFETY: plain system calls. Rust programs ignore SIGPIPE, and what is ignored stays so across exec.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        // A kernel without the call leaves us with what our own files do anyway: they close on exec.
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
    unblock_signals();
    for fd in fds {
        // SAFETY: the caller handed these descriptors over and keeps them open until this process execs.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        fcntl_setfd(fd, FdFlags::empty()).map_err(Failure::at("hand over a descriptor"))?;
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

    /// Refuses to run this very program, which an image could ask for through `/proc/self/exe`: from such a process
    /// the host's file could be reached and overwritten.
    pub(crate) fn refuse_ourselves(&self) -> Result<(), String> {
        leads_to_us(Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes())))
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
        .map_or(DEFAULT_PATH, |(_, value)| value);
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

fn leads_to_us(path: &Path) -> Result<(), String> {
    let Ok(own) = fs_err::metadata("/proc/self/exe") else {
        return Ok(());
    };
    let mut path = path.to_owned();
    for _ in 0..=MAX_INTERPRETERS {
        let Ok(found) = fs_err::metadata(&path) else {
            return Ok(());
        };
        if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
            return Err("leads out of the container".into());
        }
        match interpreter(&path) {
            Some(next) => path = next,
            None => return Ok(()),
        }
    }
    Err("too many interpreters".into())
}

/// What the `#!` line names.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    let file = fs_err::File::open(path).ok()?;
    let length = rustix::io::read(&file, &mut start[..]).ok()?;
    let line = start[..length]
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?
        .trim_ascii_start();
    let name = line
        .split(|byte| byte.is_ascii_whitespace() || *byte == 0)
        .next()?;
    (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
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
    fn does_not_run_itself_for_an_image() {
        let folder = tempfile::tempdir().unwrap();
        let direct = script(folder.path(), "direct", "#!/proc/self/exe\n", 0o755);
        let nested = script(folder.path(), "nested", &format!("#! {direct} -x\n"), 0o755);
        let refusal = |name: &str| {
            let program = Program::find(&[name.to_owned()], &[]).unwrap();
            program.refuse_ourselves()
        };
        for name in ["/proc/self/exe", &direct, &nested] {
            assert_eq!(
                refusal(name),
                Err("leads out of the container".to_owned()),
                "{name}"
            );
        }
        let endless = folder.path().join("endless");
        script(
            folder.path(),
            "endless",
            &format!("#!{}\n", endless.display()),
            0o755,
        );
        assert_eq!(
            refusal(endless.to_str().unwrap()),
            Err("too many interpreters".to_owned())
        );
        assert_eq!(refusal("/bin/sh"), Ok(()));
    }

    #[test]
    fn finds_the_first_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let expected = script(folder.path(), "tool", "#!/bin/sh\n", 0o755);
        let found = Program::find(&["tool".to_owned()], &environment(folder.path())).unwrap();
        assert_eq!(found.path.to_str().unwrap(), expected);
    }
}
