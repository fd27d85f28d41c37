//! Mode, owner and date of an entry, and giving them to a file.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{self as rfs, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::Result;
use crate::layer::system;
use crate::layer::tar_reader::TarEntry;

#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) mode: u32,
    uid: u64,
    gid: u64,
    pub(super) mtime: i64,
}

impl Meta {
    pub(super) fn of(entry: &TarEntry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        }
    }

    /// Numbers that no system has are left alone.
    pub(super) fn owner(self) -> Option<(u32, u32)> {
        let valid = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        Some((valid(self.uid)?, valid(self.gid)?))
    }

    pub(super) fn times(self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime,
            tv_nsec: 0,
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

/// Sets the owner, where this process may.
pub(super) fn give_away(file: BorrowedFd<'_>, meta: Meta, path: &Path) -> Result<()> {
    let Some((uid, gid)) = meta.owner() else {
        return Ok(());
    };
    let (uid, gid) = (rfs::Uid::from_raw(uid), rfs::Gid::from_raw(gid));
    match rfs::fchown(file, Some(uid), Some(gid)) {
        // In a user namespace most numbers have no meaning.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
        Err(errno) => Err(system::failed("set the owner of", path, errno).into()),
    }
}
