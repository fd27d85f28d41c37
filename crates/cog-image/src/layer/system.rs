//! File operations that `std` lacks, with errors that name the path as `fs_err`'s do.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cog_files::{Links, open_regular};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// An error that says what could not be done with which path.
pub(crate) fn failed(what: &str, path: &Path, errno: Errno) -> io::Error {
    let source = io::Error::from(errno);
    io::Error::new(
        source.kind(),
        format!("failed to {what} `{}`: {source}", path.display()),
    )
}

/// Sets access and modification time without following links.
pub(crate) fn set_time(path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("set the time of", path, errno))
}

/// Whether this process may give files away.
pub(crate) fn can_change_owners() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets the owner without following links. Inside a user namespace most numbers have no meaning; then
/// the file stays with whom it is.
pub(crate) fn set_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    // -1 is no id: the system call takes it for "leave as it is".
    if uid == u32::MAX || gid == u32::MAX {
        return Ok(());
    }
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
        Err(errno) => Err(failed("set the owner of", path, errno)),
    }
}

/// Puts the directory `from` at `to` in one step; what was at `to` is at `from` afterwards. Both are on one
/// file system.
pub(crate) fn replace_directory(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    match fs_err::rename(from, to) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) => {}
        result => return result,
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // Network file systems cannot do it: for a moment, nothing is there.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            let away = from.with_extension("replaced");
            fs_err::rename(to, &away)?;
            fs_err::rename(from, to)
        }
        Err(errno) => Err(failed("replace", to, errno)),
    }
}

/// Forces the names in a directory to disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match fs_err::File::open(path)?.sync_all() {
        // Some file systems have nothing to sync there, and say so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Sets the permission bits.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Opens `path`, making it readable for a moment if the owner took that from themselves: root does not
/// need it, and a build by an ordinary user must give the same layer.
///
/// Whoever can write there may have exchanged it since it was listed, for a pipe that never ends.
pub(crate) fn open_even_if_unreadable(path: &Path) -> io::Result<fs_err::File> {
    match open_regular(path, Links::Followed) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mode = fs_err::symlink_metadata(path)?.mode() & 0o7777;
            set_mode(path, mode | 0o400)?;
            let file = open_regular(path, Links::Followed);
            set_mode(path, mode)?;
            file
        }
        result => result,
    }
}

/// Removes `path` and all below it, also directories that their owner may not enter. Nothing there is
/// fine.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_directories(path)?;
            fs_err::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs_err::remove_file(path),
        result => result,
    }
}

fn open_directories(path: &Path) -> io::Result<()> {
    let mode = fs_err::symlink_metadata(path)?.mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        set_mode(path, mode | 0o700)?;
    }
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_directories(&entry.path())?;
        }
    }
    Ok(())
}
