//! A directory in which somebody else's code could have put anything, scripts of packages for one. Whatever is read,
//! written or removed in it is reached from an open directory, and no link is followed, so nothing outside of it is
//! touched.
//!
//! Files and directories get the permissions that are asked for, whatever the umask.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::regular::read_at_most;

mod look;
mod status;

pub use look::Found;
pub use status::{Moment, Status};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Bounds the number of open descriptors; real trees have a tenth of that.
const MAX_DEPTH: usize = 250;
/// Of directories that nobody said anything else about.
const DIRECTORY_MODE: u32 = 0o755;
/// No file that is changed afterwards is nearly as long.
const MAX_LENGTH: u64 = 256 * 1024 * 1024;

/// An open directory.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// What a directory contains.
#[derive(Debug)]
pub struct Entry {
    /// Its name alone.
    pub name: OsString,
    /// What it is, as the directory says.
    pub kind: FileType,
}

impl Folder {
    /// Opens the directory `path`, which is trusted: a link there is followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| failed("open", path, errno))?;
        Ok(Self {
            descriptor,
            path: path.to_owned(),
        })
    }

    /// The directory `path` in this one, or nothing if there is none: also if something else has its place.
    pub fn enter(&self, path: &str) -> io::Result<Option<Self>> {
        self.walk(names(path), Missing::Ignore)
    }

    /// The directory `path` in this one, made where it is missing.
    pub fn make(&self, path: &str) -> io::Result<Self> {
        let made = self.walk(names(path), Missing::Make)?;
        Ok(made.expect("what is missing is made"))
    }

    /// The content and permissions of the regular file `path`, or nothing if there is none.
    pub fn read(&self, path: &str) -> io::Result<Option<(Vec<u8>, u32)>> {
        let (folder, name) = self.parent(path, Missing::Ignore)?;
        folder.map_or(Ok(None), |folder| folder.read_entry(name))
    }

    /// Writes the file `path`, in place of what was there, with `mode`; directories on the way are made.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
        let (folder, name) = self.parent(path, Missing::Make)?;
        let folder = folder.expect("what is missing is made");
        folder.write_entry(name, content.as_ref(), mode)
    }

    /// Changes the content of the regular file `path`, if there is one. It keeps its permissions.
    pub fn rewrite(&self, path: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
        match self.read(path)? {
            Some((content, mode)) => self.write(path, change(content), mode),
            None => Ok(()),
        }
    }

    /// Removes the file or link `path`, if there is one.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path, Missing::Ignore)?;
        folder.map_or(Ok(()), |folder| folder.remove_entry(name))
    }

    /// Removes everything in the directory `path`, if it is one.
    pub fn empty(&self, path: &str) -> io::Result<()> {
        match self.enter(path)? {
            Some(folder) => folder.clear(0),
            None => Ok(()),
        }
    }

    /// What is in this directory, sorted by name.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let unreadable = |errno| failed("read", &self.path, errno);
        let mut found = Vec::new();
        for entry in fs::Dir::read_from(&self.descriptor).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems keep no kinds in their directories.
                FileType::Unknown => self.kind(name)?,
                kind => kind,
            };
            let name = name.to_owned();
            found.push(Entry { name, kind });
        }
        found.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// Calls `visit` with the directory and the name of every regular file below this one.
    pub fn each_file(
        &self,
        visit: &mut impl FnMut(&Self, &OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        self.each_file_at(0, visit)
    }

    fn each_file_at(
        &self,
        depth: usize,
        visit: &mut impl FnMut(&Self, &OsStr) -> io::Result<()>,
    ) -> io::Result<()> {
        self.limit(depth)?;
        for Entry { name, kind } in self.entries()? {
            match kind {
                FileType::RegularFile => visit(self, &name)?,
                FileType::Directory => {
                    if let Some(inner) = self.walk([Ok(name.as_os_str())], Missing::Ignore)? {
                        inner.each_file_at(depth + 1, visit)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The content and permissions of the regular file `name` of this directory, or nothing if there is none.
    pub fn read_entry(&self, name: &OsStr) -> io::Result<Option<(Vec<u8>, u32)>> {
        let Some(file) = self.open_entry(name)? else {
            return Ok(None);
        };
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let content = read_at_most(file, MAX_LENGTH);
        let content = content.map_err(|error| told("read", &self.path.join(name), &error))?;
        Ok(Some((content, mode)))
    }

    /// The regular file `name` of this directory and its length, or nothing if there is none.
    pub fn open_file(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let Some(file) = self.open_entry(OsStr::new(name))? else {
            return Ok(None);
        };
        let length = file.metadata()?.len();
        Ok(Some((file, length)))
    }

    fn open_entry(&self, name: &OsStr) -> io::Result<Option<File>> {
        match self.find(Path::new(name)) {
            Ok(Found::File(file)) => Ok(Some(file)),
            Ok(Found::Nothing | Found::Other) => Ok(None),
            Err(error) => Err(told("read", &self.path.join(name), &error)),
        }
    }

    /// Writes the file `name` of this directory, in place of the file or link that was there.
    pub fn write_entry(&self, name: &OsStr, content: &[u8], mode: u32) -> io::Result<()> {
        let mut file = self.create_entry(name)?;
        file.write_all(content)?;
        fs::fchmod(&file, Mode::from_raw_mode(mode))
            .map_err(|errno| failed("write", &self.path.join(name), errno))
    }

    /// Makes the file `name` of this directory, in place of the file or link that was there; everybody may read it.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let file = self.create_entry(OsStr::new(name))?;
        fs::fchmod(&file, Mode::from_raw_mode(0o644))
            .map_err(|errno| failed("write", &self.path.join(name), errno))?;
        Ok(file)
    }

    fn create_entry(&self, name: &OsStr) -> io::Result<File> {
        self.remove_entry(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let opened = fs::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600));
        opened
            .map(File::from)
            .map_err(|errno| failed("write", &self.path.join(name), errno))
    }

    /// Gives the file `name` of this directory another name, in place of what had that.
    pub fn rename(&self, name: &str, new_name: &str) -> io::Result<()> {
        fs::renameat(&self.descriptor, name, &self.descriptor, new_name)
            .map_err(|errno| failed("rename", &self.path.join(name), errno))
    }

    /// Removes the file or link `name` of this directory, if there is one.
    pub fn remove_entry(&self, name: &OsStr) -> io::Result<()> {
        match fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &self.path.join(name), errno)),
        }
    }

    fn clear(&self, depth: usize) -> io::Result<()> {
        self.limit(depth)?;
        for Entry { name, kind } in self.entries()? {
            if kind != FileType::Directory {
                self.remove_entry(&name)?;
                continue;
            }
            if let Some(inner) = self.walk([Ok(name.as_os_str())], Missing::Ignore)? {
                inner.clear(depth + 1)?;
            }
            fs::unlinkat(&self.descriptor, &name, AtFlags::REMOVEDIR)
                .map_err(|errno| failed("remove", &self.path.join(&name), errno))?;
        }
        Ok(())
    }

    fn kind(&self, name: &OsStr) -> io::Result<FileType> {
        let found = fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("look at", &self.path.join(name), errno))?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    fn limit(&self, depth: usize) -> io::Result<()> {
        if depth < MAX_DEPTH {
            return Ok(());
        }
        Err(refused(&self.path, "is nested too deeply"))
    }

    /// The directory that has the last name of `path`, and that name.
    fn parent<'a>(&self, path: &'a str, missing: Missing) -> io::Result<(Option<Self>, &'a OsStr)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.walk(names(folder), missing)? {
            None if self.is_obstructed(folder)? => Err(refused(
                &self.path.join(folder),
                "is not a directory, or leads through a link",
            )),
            folder => Ok((folder, OsStr::new(name))),
        }
    }

    /// Whether something that is not a directory is on the way.
    fn is_obstructed(&self, path: &str) -> io::Result<bool> {
        let mut folder = self.walk([], Missing::Ignore)?;
        for name in names(path) {
            let Some(current) = folder else {
                return Ok(true);
            };
            let name = name?;
            match fs::statat(&current.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(failed("look at", &current.path.join(name), errno)),
                Ok(_) => folder = current.walk([Ok(name)], Missing::Ignore)?,
            }
        }
        Ok(folder.is_none())
    }

    fn walk<'a>(
        &self,
        names: impl IntoIterator<Item = io::Result<&'a OsStr>>,
        missing: Missing,
    ) -> io::Result<Option<Self>> {
        let descriptor = self.descriptor.try_clone()?;
        let path = self.path.clone();
        let mut folder = Self { descriptor, path };
        for name in names {
            let name = name?;
            let path = folder.path.join(name);
            let open = || fs::openat(&folder.descriptor, name, DIRECTORY, Mode::empty());
            let descriptor = match (open(), missing) {
                (Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR), Missing::Ignore) => {
                    return Ok(None);
                }
                (Err(Errno::NOENT), Missing::Make) => {
                    let permissions = Mode::from_raw_mode(DIRECTORY_MODE);
                    fs::mkdirat(&folder.descriptor, name, permissions)
                        .map_err(|errno| failed("create", &path, errno))?;
                    let created = open().map_err(|errno| failed("open", &path, errno))?;
                    fs::fchmod(&created, permissions)
                        .map_err(|errno| failed("open", &path, errno))?;
                    created
                }
                (Err(Errno::LOOP | Errno::NOTDIR), Missing::Make) => {
                    return Err(refused(&path, "is not a directory"));
                }
                (opened, _) => opened.map_err(|errno| failed("open", &path, errno))?,
            };
            folder = Self { descriptor, path };
        }
        Ok(Some(folder))
    }
}

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy)]
enum Missing {
    Ignore,
    Make,
}

/// The names in a path of ours.
fn names(path: &str) -> impl Iterator<Item = io::Result<&OsStr>> {
    let is_plain = |component: &Component<'_>| !matches!(component, Component::CurDir);
    Path::new(path)
        .components()
        .filter(is_plain)
        .map(move |component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(refused(Path::new(path), "is not a path in a directory")),
        })
}

fn failed(what: &str, path: &Path, errno: Errno) -> io::Error {
    told(what, path, &errno.into())
}

fn told(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("failed to {what} `{}`: {error}", path.display()),
    )
}

fn refused(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("`{}` {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs_err::symlink_metadata(path).unwrap();
        found.permissions().mode() & 0o7777
    }

    #[test]
    fn files_and_directories_have_the_modes_that_are_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        folder.write("a/b/file", "x", 0o640).unwrap();
        folder.write("a/b/script", "x", 0o755).unwrap();
        folder.make("c/d").unwrap();
        assert_eq!(mode(&root.path().join("a/b/file")), 0o640);
        assert_eq!(mode(&root.path().join("a/b/script")), 0o755);
        assert_eq!(mode(&root.path().join("a/b")), 0o755);
        assert_eq!(mode(&root.path().join("c/d")), 0o755);
        folder
            .rewrite("a/b/file", |text| [text, b"y".into()].concat())
            .unwrap();
        assert_eq!(
            folder.read("a/b/file").unwrap().unwrap(),
            (b"xy".to_vec(), 0o640)
        );
        folder
            .rewrite("a/none", |_| panic!("it is not there"))
            .unwrap();
    }

    #[test]
    fn nothing_is_reached_through_a_link() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = outside.path().join("kept");
        fs_err::write(&kept, "kept").unwrap();
        symlink(outside.path(), root.path().join("folder")).unwrap();
        symlink(&kept, root.path().join("file")).unwrap();
        fs_err::create_dir(root.path().join("real")).unwrap();
        symlink(outside.path(), root.path().join("real/inner")).unwrap();
        let folder = Folder::open(root.path()).unwrap();

        assert!(folder.enter("folder").unwrap().is_none());
        assert!(folder.make("folder/new").is_err());
        assert!(folder.read("file").unwrap().is_none());
        assert!(folder.read("folder/kept").is_err());
        assert!(folder.write("folder/kept", "new", 0o644).is_err());
        assert!(folder.remove("folder/kept").is_err());
        folder.empty("folder").unwrap();
        folder.rewrite("file", |_| panic!("it is a link")).unwrap();
        let mut seen = Vec::new();
        folder
            .each_file(&mut |_, name| {
                seen.push(name.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [""; 0]);
        folder.write("file", "own", 0o644).unwrap();
        folder.empty("real").unwrap();
        assert_eq!(fs_err::read_to_string(&kept).unwrap(), "kept");
        assert_eq!(
            fs_err::read_to_string(root.path().join("file")).unwrap(),
            "own"
        );
        assert_eq!(
            fs_err::read_dir(root.path().join("real")).unwrap().count(),
            0
        );
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs_err::create_dir(root.path().join("dir")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert!(folder.read("pipe").unwrap().is_none());
        assert!(folder.read("dir").unwrap().is_none());
        assert!(folder.read("missing/file").unwrap().is_none());
        assert!(folder.read("../x").is_err());
    }
}
