//! The overlay of a container: its directories on the host, the mount, and what is cleared up afterwards.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fgetxattr, open, openat, statat, unlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount,
};
use rustix::process::{chdir, umask};

use super::rootfs;
use super::spec::{Spec, Writable};
use crate::supervisor::Failure;

/// File systems that cannot hold an overlay's changes, by the numbers of `linux/magic.h`.
const UNSUITABLE: [(i64, &str); 3] = [
    (0x794c_7630, "overlay"),
    (0x6969, "NFS"),
    (0x6573_5546, "FUSE"),
];

const OPAQUE: [&str; 2] = ["user.overlay.opaque", "trusted.overlay.opaque"];

/// Directories on the host that hold one container's overlay.
pub(super) struct Directories {
    /// Everything but a kept upper directory is in here.
    own: PathBuf,
    upper: PathBuf,
    keep_upper: bool,
}

impl Directories {
    /// Makes them, under a name that no other container has or had.
    pub(super) fn create(writable: &Writable) -> Result<Self, Failure> {
        // The upper directory's permissions are those of the container's `/`.
        umask(Mode::from_raw_mode(0o022));
        let beside = match writable {
            Writable::Temporary(directory) => directory.as_path(),
            Writable::Upper(upper) => upper.parent().unwrap_or(Path::new("/")),
        };
        let failed = || {
            Failure::at(format!(
                "make the container's directories in `{}`",
                beside.display()
            ))
        };
        let own = tempfile::Builder::new()
            .prefix("container-")
            .tempdir_in(beside)
            .map_err(failed())?
            .keep();
        let (upper, keep_upper) = match writable {
            Writable::Temporary(_) => (own.join("upper"), false),
            Writable::Upper(upper) => (upper.clone(), true),
        };
        let directories = Self {
            own,
            upper,
            keep_upper,
        };
        let made = directories.make_parts();
        if made.is_err() {
            let _ = fs_err::remove_dir_all(&directories.own);
        }
        made.map_err(failed())?;
        Ok(directories)
    }

    fn make_parts(&self) -> std::io::Result<()> {
        if !self.keep_upper {
            fs_err::create_dir(&self.upper)?;
        }
        ["work", "root"]
            .into_iter()
            .try_for_each(|name| fs_err::create_dir(self.own.join(name)))
    }

    /// Where the overlay is mounted.
    pub(super) fn root(&self) -> PathBuf {
        self.own.join("root")
    }

    /// A place for a file that is mounted into the container.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// Removes what is of no use after the container. Failures leave rubbish that the caller removes with its scratch
    /// directory. The rights of the user namespace reach directories that forbid themselves to their owner.
    pub(super) fn remove(&self, spec: &Spec) {
        if self.keep_upper {
            for target in rootfs::targets(spec) {
                // Where this fails, there is nothing of ours.
                let _ = remove_mount_point(&self.upper, &target);
            }
        }
        let _ = fs_err::remove_dir_all(&self.own);
    }

    /// Mounts the overlay. `layers` are the bottom-most first.
    ///
    /// All directories are named by their numbers among our open files: a mount's options may take 4 KiB in all, and
    /// colons and commas separate them.
    pub(super) fn mount(&self, layers: &[PathBuf]) -> Result<(), Failure> {
        let lower: Vec<OwnedFd> = match layers {
            // The mount point is empty itself, and overlayfs wants one lower directory.
            [] => vec![open_directory(&self.root())?],
            layers => layers
                .iter()
                .rev()
                .map(|layer| open_directory(layer))
                .collect::<Result<_, _>>()?,
        };
        let (upper, work) = (
            open_directory(&self.upper)?,
            open_directory(&self.own.join("work"))?,
        );
        let names: Vec<String> = lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        // Syncing single files is of no use: a container's changes count when they are whole, or not at all.
        let options = format!(
            "userxattr,volatile,lowerdir={},upperdir={},workdir={}\0",
            names.join(":"),
            upper.as_raw_fd(),
            work.as_raw_fd(),
        );
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())
            .expect("numbers contain no NUL");
        chdir("/proc/self/fd").map_err(Failure::at("enter the list of open files"))?;
        mount(
            "overlay",
            self.root(),
            "overlay",
            MountFlags::empty(),
            options,
        )
        .map_err(|error| Failure {
            step: format!("overlay {} layers", layers.len()),
            reason: self.explain(error),
        })
    }

    /// An overlay over a directory of the host, whose changes go to a place of this container's own. Mounted nowhere yet.
    pub(super) fn layered(&self, index: usize, source: &Path) -> Result<OwnedFd, Failure> {
        let step = format!("lay a writable layer over `{}`", source.display());
        let place = self.own.join(format!("layered-{index}"));
        let (upper, work) = (place.join("upper"), place.join("work"));
        for directory in [&place, &upper, &work] {
            fs_err::create_dir(directory).map_err(Failure::at(step.clone()))?;
        }
        let opened = [source, &upper, &work]
            .into_iter()
            .map(open_directory)
            .collect::<Result<Vec<_>, _>>()?;
        overlay(&opened).map_err(Failure::at(step))
    }

    fn explain(&self, error: rustix::io::Errno) -> String {
        let kind = rustix::fs::statfs(&self.upper).map_or(0, |found| found.f_type);
        match UNSUITABLE.iter().find(|(magic, _)| *magic == kind) {
            Some((_, name)) => format!(
                "`{}` is on a file system ({name}) that cannot hold a container's changes, choose a directory on a \
                 local disk",
                self.upper.display()
            ),
            None => error.to_string(),
        }
    }
}

/// From the directories for reading, for changes and for work, named by their numbers as in [`Directories::mount`].
fn overlay(opened: &[OwnedFd]) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, directory) in ["lowerdir", "upperdir", "workdir"].into_iter().zip(opened) {
        let name = format!("/proc/self/fd/{}", directory.as_raw_fd());
        fsconfig_set_string(&context, option, name)?;
    }
    for option in ["userxattr", "volatile"] {
        fsconfig_set_flag(&context, option)?;
    }
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Failure::at(format!("open the layer `{}`", path.display())))
}

/// A mount point that had to be made is an empty file or directory in the upper directory, and so may be the
/// directories above it: no part of the layer.
///
/// What the container left is walked by handles and without following links: it could lead anywhere.
fn remove_mount_point(upper: &Path, target: &str) -> rustix::io::Result<()> {
    let names: Vec<_> = Path::new(target)
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let Some((last, above)) = names.split_last() else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directories = vec![open(upper, flags, Mode::empty())?];
    for name in above {
        let deeper = openat(
            &directories[directories.len() - 1],
            *name,
            flags,
            Mode::empty(),
        )?;
        directories.push(deeper);
    }
    let mut place = directories
        .pop()
        .expect("the first one is the upper directory");
    remove_if_empty(&place, last)?;
    for (parent, name) in directories.into_iter().zip(above).rev() {
        // An opaque directory is no stand-in even if it is empty: it hides what is below.
        if is_opaque(&place) {
            break;
        }
        unlinkat(&parent, *name, AtFlags::REMOVEDIR)?;
        place = parent;
    }
    Ok(())
}

fn remove_if_empty(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_size == 0 => unlinkat(directory, name, AtFlags::empty()),
        // Fails for what is not empty, and for what is no directory.
        _ => unlinkat(directory, name, AtFlags::REMOVEDIR),
    }
}

fn is_opaque(directory: &OwnedFd) -> bool {
    OPAQUE
        .iter()
        .any(|name| fgetxattr(directory, *name, &mut [0_u8; 1][..]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_stand_ins_are_removed() {
        let upper = tempfile::tempdir().unwrap();
        let at = |name: &str| upper.path().join(name);
        fs_err::create_dir_all(at("a/b/c")).unwrap();
        fs_err::create_dir_all(at("etc")).unwrap();
        fs_err::write(at("etc/hosts"), "").unwrap();
        fs_err::write(at("etc/passwd"), "").unwrap();
        fs_err::create_dir_all(at("src")).unwrap();
        fs_err::write(at("src/model.py"), "kept").unwrap();
        for target in [
            "/a/b/c",
            "/etc/hosts",
            "/src",
            "/absent/x",
            "/../../outside",
        ] {
            let _ = remove_mount_point(upper.path(), target);
        }
        assert!(!at("a").exists());
        assert!(!at("etc/hosts").exists() && at("etc/passwd").exists());
        assert!(at("src/model.py").exists());
        assert!(upper.path().exists());
    }

    #[test]
    fn links_that_a_container_left_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("hosts"), "").unwrap();
        fs_err::create_dir_all(outside.path().join("deep/certs")).unwrap();
        let upper = tempfile::tempdir().unwrap();
        let link = |name: &str, to: &str| {
            std::os::unix::fs::symlink(outside.path().join(to), upper.path().join(name)).unwrap();
        };
        link("etc", "");
        fs_err::create_dir(upper.path().join("usr")).unwrap();
        link("usr/ssl", "deep");
        link("src", "deep");
        for target in ["/etc/hosts", "/usr/ssl/certs", "/src", "/etc/deep/certs"] {
            let _ = remove_mount_point(upper.path(), target);
        }
        assert!(outside.path().join("hosts").exists());
        assert!(outside.path().join("deep/certs").is_dir());
        assert!(
            upper.path().join("src").is_symlink(),
            "it is the container's own"
        );
    }
}
