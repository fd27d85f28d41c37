//! What a file has that was just made here: most need nothing to be changed then.

use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, CWD, Mode, OFlags};

use super::meta::Meta;
use crate::error::Result;
use crate::layer::system;

/// It is gone before anything is unpacked.
const PROBE: &str = ".cog-probe";
/// Permissions that can be given to a file when it is made.
const PERMISSIONS: u32 = 0o777;

/// What new files and directories get by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Permissions that neither the umask nor a default access list takes away.
    permissions: u32,
    /// The owner, if it is certain to be the same everywhere below.
    owner: Option<(u32, u32)>,
}

impl Fresh {
    /// Makes a file in the empty `folder` and looks at it.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let path = folder.join(PROBE);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let failed = |errno| system::failed("create", &path, errno);
        let mode = Mode::from_raw_mode(PERMISSIONS);
        let file = rfs::openat(CWD, &path, flags, mode).map_err(failed)?;
        let stat = rfs::fstat(&file).map_err(failed);
        rfs::unlinkat(CWD, &path, AtFlags::empty()).map_err(failed)?;
        let stat = stat?;
        let ours = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        // A folder may give its group to what is made in it, and a file system any owner it likes.
        let is_ours = (stat.st_uid, stat.st_gid) == ours;
        Ok(Self {
            permissions: stat.st_mode & PERMISSIONS,
            owner: is_ours.then_some(ours),
        })
    }

    /// With which permissions a file is made that is to have `meta`, and whether it has them then.
    pub(super) fn creation(self, meta: Meta) -> (Mode, bool) {
        let mode = meta.mode;
        // Those that are more than permissions do not survive writing and giving away.
        if mode & !PERMISSIONS == 0 && mode & !self.permissions == 0 {
            (Mode::from_raw_mode(mode), true)
        } else {
            (Mode::RUSR | Mode::WUSR, false)
        }
    }

    /// Whether a new file belongs to whom `meta` says.
    pub(super) fn has_owner(self, meta: Meta) -> bool {
        self.owner.is_some() && self.owner == meta.owner()
    }
}
