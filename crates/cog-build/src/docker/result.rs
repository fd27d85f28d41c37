//! Makes of what an instruction changed what its job changed: takes out how the job ended, what it was lent, and what
//! daemons leave where something was mounted.
//!
//! The folder was made by foreign code, which has ended: links in it are not followed.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use cog_files::Folder;
use cog_image::Rootfs;

use super::recipe::{FOLDER, STATUS, VARIABLES, Way, way};
use crate::container::Job;
use crate::error::Result;

/// What daemons mount into every container.
const THEIRS: [&str; 10] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/run/secrets",
    "/dev/console",
    "/etc/mtab",
];

/// Tidies `upper`, which `job` made over `below`, and gives the exit status of the job's command; nothing if that is
/// not known. Folders that the job could write to take the place of those of this machine.
pub(super) fn settle(upper: &Path, job: &Job, below: &Rootfs) -> Result<Option<i32>> {
    let status = Folder::open(upper)?.text(Path::new(STATUS.trim_start_matches('/')))?;
    let status = status.and_then(|status| status.trim().parse().ok());
    if let Some(path) = find(upper, STATUS) {
        fs_err::remove_file(path)?;
    }
    for mount in &job.mounts {
        if way(mount) == Way::Copied {
            replace(&mount.source, find(upper, &mount.target))?;
        }
        tidy(upper, &mount.target, below)?;
    }
    for target in [FOLDER, VARIABLES, STATUS].iter().chain(&THEIRS) {
        tidy(upper, target, below)?;
    }
    Ok(status)
}

/// Puts the folder `by` in the place of `folder`; if there is none, an empty one.
fn replace(folder: &Path, by: Option<PathBuf>) -> io::Result<()> {
    fs_err::remove_dir_all(folder)?;
    match by {
        Some(by) if fs_err::symlink_metadata(&by)?.is_dir() => fs_err::rename(by, folder),
        _ => fs_err::create_dir(folder),
    }
}

/// Removes what is at `target` if it is an empty file or folder that only was there to be mounted on, or a deletion: what
/// something is mounted on cannot be deleted by a command, and Podman does so afterwards. Then it removes the folders above
/// that are in `upper` for that reason alone.
fn tidy(upper: &Path, target: &str, below: &Rootfs) -> io::Result<()> {
    let mut target = Path::new(target.trim_start_matches('/'));
    while !target.as_os_str().is_empty() {
        if let Some(path) = find(upper, target) {
            let known = below.find(target);
            let metadata = fs_err::symlink_metadata(&path)?;
            let is_idle = match &known {
                Some(known) if metadata.is_dir() => is_unchanged(&path, known)?,
                _ => {
                    let kind = metadata.file_type();
                    kind.is_dir() || kind.is_char_device() || kind.is_file() && metadata.len() == 0
                }
            };
            if !is_idle || !remove(&path, &metadata)? {
                return Ok(());
            }
        }
        target = target.parent().unwrap_or(Path::new(""));
    }
    Ok(())
}

/// Whether the folder says nothing of the one below it.
fn is_unchanged(folder: &Path, below: &Path) -> io::Result<bool> {
    let mode =
        |path: &Path| Ok::<_, io::Error>(fs_err::symlink_metadata(path)?.permissions().mode());
    // One that hides what is below has an attribute.
    let mut names = [0; 1];
    let has_attributes = rustix::fs::llistxattr(folder, &mut names[..]) != Ok(0);
    Ok(!has_attributes && mode(folder)? == mode(below)?)
}

/// Removes a file, or a folder unless there is something in it; whether it is gone.
fn remove(path: &Path, metadata: &std::fs::Metadata) -> io::Result<bool> {
    if !metadata.is_dir() {
        return fs_err::remove_file(path).map(|()| true);
    }
    match fs_err::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// What is at `path` in `upper`, if the way there is made of folders.
pub(super) fn find(upper: &Path, path: impl AsRef<Path>) -> Option<PathBuf> {
    let mut found = upper.to_owned();
    let mut parts = path.as_ref().components().peekable();
    while let Some(part) = parts.next() {
        match part {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => found.push(name),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
        let metadata = found.symlink_metadata().ok()?;
        if parts.peek().is_some() && !metadata.is_dir() {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use cog_image::{Entry, EntryKind, LayerOptions, Store};

    use super::*;
    use crate::container::Mount;
    use crate::error::CommandOutput;

    struct Here {
        folder: tempfile::TempDir,
        below: Rootfs,
        job: Job,
    }

    impl Here {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let store = Store::open(&folder.path().join("store")).expect("it opens");
            let entry = |path: &str| Entry {
                path: path.into(),
                kind: EntryKind::Bytes(b"x".to_vec()),
                mode: 0o644,
            };
            let entries = vec![entry("tmp/theirs"), entry("etc/hosts")];
            let layer = store
                .add_layer_from_entries(entries, &LayerOptions::default())
                .expect("it is made");
            let shared = folder.path().join("shared");
            fs_err::create_dir(&shared).expect("made");
            let job = Job {
                title: "a job".to_owned(),
                arguments: Vec::new(),
                environment: Vec::new(),
                working_dir: "/".to_owned(),
                mounts: vec![
                    Mount::writable(&shared, "/tmp/.out/here"),
                    Mount::read_only("/x", "/opt/in/here"),
                ],
                output: CommandOutput::Kept,
            };
            let below = store.rootfs(&[layer]).expect("it is unpacked");
            fs_err::create_dir(folder.path().join("upper")).expect("made");
            Self { folder, below, job }
        }

        fn upper(&self) -> PathBuf {
            self.folder.path().join("upper")
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.upper().join(path);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs_err::write(path, content).expect("written");
        }

        fn settle(&self) -> Option<i32> {
            for known in ["tmp", "etc"].map(|name| self.upper().join(name)) {
                if known.is_dir() {
                    let permissions = std::fs::Permissions::from_mode(0o755);
                    fs_err::set_permissions(known, permissions).expect("it is ours");
                }
            }
            settle(&self.upper(), &self.job, &self.below).expect("it is tidied")
        }

        fn left(&self) -> Vec<String> {
            let mut pending = vec![self.upper()];
            let mut left = Vec::new();
            while let Some(folder) = pending.pop() {
                for entry in fs_err::read_dir(folder).expect("readable") {
                    let path = entry.expect("readable").path();
                    let name = path.strip_prefix(self.upper()).expect("beneath");
                    left.push(name.display().to_string());
                    if path.symlink_metadata().expect("it is there").is_dir() {
                        pending.push(path);
                    }
                }
            }
            left.sort();
            left
        }
    }

    #[test]
    fn what_a_job_was_lent_goes_and_what_it_made_stays() {
        let here = Here::new();
        here.write("tmp/.cog-status", "7\n");
        here.write("tmp/.cog/none", "");
        fs_err::remove_file(here.upper().join("tmp/.cog/none")).expect("removed");
        here.write("tmp/.cog-variables", "");
        here.write("tmp/.out/here/deep/note", "said");
        here.write("opt/in/here", "");
        here.write("etc/resolv.conf", "");
        here.write("usr/made", "made");
        assert_eq!(here.settle(), Some(7));
        assert_eq!(here.left(), ["usr", "usr/made"]);
        let note = here.folder.path().join("shared/deep/note");
        assert_eq!(fs_err::read_to_string(note).expect("it is there"), "said");
    }

    #[test]
    fn what_is_not_empty_stays() {
        let here = Here::new();
        here.write("opt/in/here", "the job's own");
        assert_eq!(here.settle(), None);
        assert_eq!(here.left(), ["opt", "opt/in", "opt/in/here"]);
    }

    #[test]
    fn what_was_mounted_on_is_not_deleted() {
        let here = Here::new();
        fs_err::create_dir(here.upper().join("etc")).expect("made");
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::empty();
        for deleted in ["etc/hosts", "etc/passwd"] {
            let path = here.upper().join(deleted);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("anybody may");
        }
        assert_eq!(here.settle(), None);
        assert_eq!(here.left(), ["etc", "etc/passwd"]);
    }

    #[test]
    fn a_folder_that_was_changed_stays() {
        let here = Here::new();
        here.write("tmp/.cog-status", "0");
        fs_err::create_dir(here.upper().join("dev")).expect("made");
        assert_eq!(here.settle(), Some(0));
        assert_eq!(here.left(), Vec::<String>::new());
        fs_err::create_dir(here.upper().join("tmp")).expect("made");
        let closed = std::fs::Permissions::from_mode(0o700);
        fs_err::set_permissions(here.upper().join("tmp"), closed).expect("it is ours");
        let settled = settle(&here.upper(), &here.job, &here.below);
        assert_eq!(settled.expect("it is tidied"), None);
        assert_eq!(here.left(), ["tmp"]);
    }

    #[test]
    fn no_link_is_followed() {
        let here = Here::new();
        let target = here.folder.path().join("target");
        fs_err::create_dir_all(target.join("here")).expect("made");
        fs_err::write(target.join("here/kept"), "mine").expect("written");
        fs_err::write(target.join(".cog-status"), "0").expect("written");
        fs_err::create_dir(here.upper().join("tmp")).expect("made");
        fs_err::os::unix::fs::symlink(&target, here.upper().join("tmp/.out")).expect("linked");
        fs_err::os::unix::fs::symlink(
            target.join(".cog-status"),
            here.upper().join("tmp/.cog-status"),
        )
        .expect("linked");
        assert_eq!(here.settle(), None);
        assert!(target.join("here/kept").exists());
        let shared = here.folder.path().join("shared");
        assert_eq!(fs_err::read_dir(shared).expect("readable").count(), 0);
    }
}
