//! What a file system says about the entries of a folder, without their being read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{AtFlags, FileType, StatxFlags, StatxTimestamp, readlinkat, statx};
use rustix::io::Errno;

use super::{Folder, failed};

/// What is known of a file that was not read. As long as all of it stays, so does the content: who writes to a file
/// cannot choose when it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: FileType,
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    /// Number in the file system.
    pub inode: u64,
    /// When the content changed; people can set that.
    pub modified: Moment,
    /// When anything about it changed, this status too.
    pub changed: Moment,
}

/// A point in time, as exactly as the file system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Since 1970.
    pub seconds: i64,
    /// Less than a second more.
    pub nanoseconds: u32,
}

impl Folder {
    /// The status of the entry `name` of this folder, of a link itself; nothing if there is none.
    pub fn status(&self, name: &OsStr) -> io::Result<Option<Status>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = match statx(&self.descriptor, name, flags, StatxFlags::BASIC_STATS) {
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(|errno| failed("look at", &self.path.join(name), errno))?,
        };
        let mode = u32::from(found.stx_mode);
        Ok(Some(Status {
            kind: FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            size: found.stx_size,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            modified: moment(found.stx_mtime),
            changed: moment(found.stx_ctime),
        }))
    }

    /// Where the link `name` of this folder leads; nothing if there is no such entry.
    pub fn link_target(&self, name: &OsStr) -> io::Result<Option<OsString>> {
        match readlinkat(&self.descriptor, name, Vec::new()) {
            Err(Errno::NOENT) => Ok(None),
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()))),
            Err(errno) => Err(failed("read the link", &self.path.join(name), errno)),
        }
    }
}

fn moment(time: StatxTimestamp) -> Moment {
    Moment {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_status_is_that_of_the_entry_itself() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs_err::write(&path, "content").unwrap();
        symlink("file", root.path().join("link")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let status = |name: &str| folder.status(OsStr::new(name)).unwrap();

        let file = status("file").expect("it is there");
        let metadata = fs_err::metadata(&path).unwrap();
        assert_eq!(file.kind, FileType::RegularFile);
        assert_eq!((file.size, file.inode), (7, metadata.ino()));
        assert_eq!(file.mode, metadata.mode() & 0o7777);
        assert_eq!(file.changed.seconds, metadata.ctime());
        assert_eq!(i64::from(file.modified.nanoseconds), metadata.mtime_nsec());

        let link = status("link").expect("it is there");
        assert_eq!(link.kind, FileType::Symlink);
        assert_ne!(link.inode, file.inode);
        let target = |name: &str| folder.link_target(OsStr::new(name));
        assert_eq!(target("link").unwrap().unwrap(), "file");
        assert!(status("none").is_none() && target("none").unwrap().is_none());
        assert!(target("file").is_err());
    }
}
