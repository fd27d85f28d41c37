//! What a file system says about the entries of a folder, without their being read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, StatxTimestamp, readlinkat, statx};
use rustix::io::Errno;

use super::{Folder, failed};

/// How long a change may leave no trace. A file system's clock moves in steps of up to two seconds; and what is written
/// through a memory map changes the times only once for each time that it is put to disk, which the kernel does after
/// half a minute. On a file system in memory, it never does.
const STEP: Duration = Duration::from_mins(1);

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

impl Status {
    /// The status of the file at `path`; symbolic links are followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
        let found = found.map_err(|errno| failed("look at", path, errno))?;
        Ok(Self::from(&found))
    }

    /// Whether what happens to the file from `now` on gives it another time: whoever changes a file cannot choose the
    /// time of its last change, so a change is seen, unless another one came shortly before it.
    ///
    /// That some file systems do not keep the time of the last change is no reason to miss one. A modification in the
    /// future is a date that somebody chose.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else {
            return false;
        };
        let (changed, modified) = (self.changed.since_1970(), self.modified.since_1970());
        let is_over = |time: Duration| time.saturating_add(STEP) < now;
        is_over(changed) && (is_over(modified) || modified > now + STEP)
    }

    /// All that can be looked at of a file without reading it, to be compared.
    pub fn bytes(&self) -> Vec<u8> {
        let moment = |moment: Moment| {
            let seconds = moment.seconds.to_le_bytes();
            [&seconds[..], &moment.nanoseconds.to_le_bytes()].concat()
        };
        [
            &self.mode.to_le_bytes()[..],
            &self.size.to_le_bytes(),
            &self.device.0.to_le_bytes(),
            &self.device.1.to_le_bytes(),
            &self.inode.to_le_bytes(),
            &moment(self.modified),
            &moment(self.changed),
        ]
        .concat()
    }
}

impl From<&Statx> for Status {
    fn from(found: &Statx) -> Self {
        let mode = u32::from(found.stx_mode);
        Self {
            kind: FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            size: found.stx_size,
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            modified: moment(found.stx_mtime),
            changed: moment(found.stx_ctime),
        }
    }
}

impl Moment {
    fn since_1970(self) -> Duration {
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        Duration::new(seconds, 0) + Duration::from_nanos(self.nanoseconds.into())
    }
}

impl Folder {
    /// The status of the entry `name` of this folder, of a link itself; nothing if there is none.
    pub fn status(&self, name: &OsStr) -> io::Result<Option<Status>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = match statx(&self.descriptor, name, flags, StatxFlags::BASIC_STATS) {
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(|errno| failed("look at", &self.path.join(name), errno))?,
        };
        Ok(Some(Status::from(&found)))
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
        assert_eq!(Status::of(&root.path().join("link")).unwrap(), file);
        assert!(Status::of(&root.path().join("none")).is_err());
        let target = |name: &str| folder.link_target(OsStr::new(name));
        assert_eq!(target("link").unwrap().unwrap(), "file");
        assert!(status("none").is_none() && target("none").unwrap().is_none());
        assert!(target("file").is_err());
    }
}
