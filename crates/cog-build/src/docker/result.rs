//! Makes of what an instruction changed what its job changed: takes out how the job ended, what it was lent, and what
//! daemons leave where something was mounted.
//!
//! The folder was made by foreign code, which has ended: links in it are not followed.

use std::io;
use std::path::{Component, Path, PathBuf};

use cog_files::Folder;
use cog_image::Rootfs;

use super::recipe::{FOLDER, STATUS, VARIABLES, Way, way};
use crate::container::Job;
use crate::error::Result;

/// What daemons mount into every container.
const THEIRS: [&str; 7] = [
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

/// Removes what is at `target` if it is empty and not in `below`, and then the folders above it.
fn tidy(upper: &Path, target: &str, below: &Rootfs) -> io::Result<()> {
    let mut target = Path::new(target.trim_start_matches('/'));
    loop {
        let known = target.as_os_str().is_empty() || below.find(target).is_some();
        if let (false, Some(path)) = (known, find(upper, target)) {
            let metadata = fs_err::symlink_metadata(&path)?;
            if metadata.is_dir() {
                match fs_err::remove_dir(&path) {
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
                    removed => removed?,
                }
            } else if metadata.is_file() && metadata.len() == 0 {
                fs_err::remove_file(&path)?;
            } else {
                return Ok(());
            }
        } else if known {
            return Ok(());
        }
        match target.parent() {
            Some(parent) => target = parent,
            None => return Ok(()),
        }
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
        assert_eq!(here.left(), ["etc", "tmp", "usr", "usr/made"]);
        let note = here.folder.path().join("shared/deep/note");
        assert_eq!(fs_err::read_to_string(note).expect("it is there"), "said");
    }

    #[test]
    fn what_is_not_empty_or_was_there_before_stays() {
        let here = Here::new();
        here.write("opt/in/here", "the job's own");
        here.write("etc/hosts", "");
        assert_eq!(here.settle(), None);
        assert_eq!(
            here.left(),
            ["etc", "etc/hosts", "opt", "opt/in", "opt/in/here"]
        );
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
