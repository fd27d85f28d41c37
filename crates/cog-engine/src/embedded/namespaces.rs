//! The container's namespaces, and who is who in its user namespace.
//!
//! An ordinary user is root inside and no one else exists; that needs no `newuidmap`. Root is mapped with every id it
//! has, so that it can read a project of another user as it can outside; in build containers the system calls that
//! would tell the difference pretend (see [`super::seccomp`]), so both build the same layers.

use std::io::{Read as _, Write as _};
use std::process::exit;

use rustix::mount::{FsOpenFlags, MountPropagationFlags, fsopen, mount_change};
use rustix::process::{getgid, getpid, getuid};

use super::interpreter;
use crate::supervisor::{FAILED, Failure, fork, reap_until};

/// Makes the namespaces but the mount namespace, which is the init's: the supervisor stays among the host's files.
pub(super) fn enter() -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mapper = if uid.is_root() {
        Some(Mapper::start()?)
    } else {
        None
    };
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS)?;
    if let Some(mapper) = mapper
        && mapper.map()? == Mapped::Yes
    {
        return Ok(());
    }
    map_single(uid.as_raw(), gid.as_raw())
}

fn unshare(flags: libc::c_int) -> Result<(), Failure> {
    // SAFETY: a system call without pointers.
    if unsafe { libc::unshare(flags) } == 0 {
        Ok(())
    } else {
        Err(Failure::last("make namespaces"))
    }
}

/// Maps root inside to who we are outside.
fn map_single(uid: u32, gid: u32) -> Result<(), Failure> {
    for (file, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1\n")),
        ("/proc/self/gid_map", format!("0 {gid} 1\n")),
    ] {
        fs_err::write(file, content).map_err(Failure::at("map the user"))?;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Mapped {
    Yes,
    /// Not a single id: root has less power here than its name says.
    Refused,
}

/// A process that stays outside, where it has the right to map many ids.
struct Mapper {
    process: rustix::process::Pid,
    /// Takes a byte once there is something to map.
    start: std::io::PipeWriter,
}

impl Mapper {
    const REFUSED: i32 = 1;

    fn start() -> Result<Self, Failure> {
        let (mut reader, writer) = std::io::pipe().map_err(Failure::at("make a pipe"))?;
        let target = getpid().as_raw_nonzero();
        if let Some(process) = fork()? {
            return Ok(Self {
                process,
                start: writer,
            });
        }
        drop(writer);
        if reader.read_exact(&mut [0]).is_err() {
            exit(FAILED)
        }
        exit(Self::write_maps(target.get()))
    }

    /// The exit status.
    fn write_maps(process: i32) -> i32 {
        let write = |kind: &str| {
            let own = fs_err::read_to_string(format!("/proc/self/{kind}_map"))?;
            fs_err::write(format!("/proc/{process}/{kind}_map"), identity(&own))
        };
        match (write("uid"), write("gid")) {
            (Ok(()), Ok(())) => 0,
            (Err(_), Err(_)) => Self::REFUSED,
            _ => FAILED,
        }
    }

    fn map(mut self) -> Result<Mapped, Failure> {
        self.start
            .write_all(&[1])
            .map_err(Failure::at("map the users"))?;
        match reap_until(self.process).map(|status| libc::WEXITSTATUS(status.0)) {
            Some(0) => Ok(Mapped::Yes),
            Some(Self::REFUSED) => Ok(Mapped::Refused),
            _ => Err(Failure {
                step: "map the users".into(),
                reason: "only a part could be mapped".into(),
            }),
        }
    }
}

/// Maps every id of a user namespace with this map to itself. The lines are: first inside, first outside, count.
fn identity(map: &str) -> String {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace();
            let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}

/// Tries what a container needs and exits: status 0, or a line on stderr.
pub(super) fn probe() -> ! {
    tried(try_all())
}

/// The same for an interpreter of programs of another machine.
pub(super) fn probe_emulation() -> ! {
    let step = "list interpreters";
    tried(try_namespaces().and_then(|()| interpreter::list().map(drop).map_err(Failure::at(step))))
}

fn tried(result: Result<(), Failure>) -> ! {
    match result {
        Ok(()) => exit(0),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{}: {}", failure.step, failure.reason);
            exit(1)
        }
    }
}

fn try_all() -> Result<(), Failure> {
    try_namespaces()?;
    // Some systems let everyone make user namespaces and then refuse all power in them.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(Failure::at("user namespaces have no rights: change mounts"))?;
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(Failure::at("use overlay file systems"))?;
    Ok(())
}

fn try_namespaces() -> Result<(), Failure> {
    let (uid, gid) = (getuid(), getgid());
    unshare(
        libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS,
    )?;
    map_single(uid.as_raw(), gid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn ids_are_mapped_to_themselves() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
        assert_eq!(identity("broken\n"), "");
    }
}
