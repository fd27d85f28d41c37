//! Makes in a tree itself what was changed over it: for trees that are not layers, whose changes were made elsewhere.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::overlay::{self, Mark};
use super::system::{can_change_owners, remove_tree, set_mode, set_owner};

/// Brings the changes in `upper`, in the form of an overlay's upper directory, into the tree at `root`, whatever was
/// there. They are moved, so both are on one file system. Links are not followed: who made either is not trusted, but no
/// longer at work.
pub fn merge_upper(upper: &Path, root: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(upper)? {
        let entry = entry?;
        let (from, to) = (entry.path(), root.join(entry.file_name()));
        let metadata = fs_err::symlink_metadata(&from)?;
        match overlay::mark(&from, &metadata)? {
            Mark::Whiteout => {
                remove_tree(&to)?;
                continue;
            }
            Mark::Opaque => remove_tree(&to)?,
            Mark::None => {}
            Mark::Elsewhere => {
                let what = format!("what {} contains is elsewhere", from.display());
                return Err(io::Error::other(what));
            }
        }
        if !metadata.is_dir() {
            remove_tree(&to)?;
            fs_err::rename(&from, &to)?;
            continue;
        }
        match fs_err::symlink_metadata(&to) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                fs_err::remove_file(&to)?;
                fs_err::create_dir(&to)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs_err::create_dir(&to)?,
            Err(error) => return Err(error),
        }
        merge_upper(&from, &to)?;
        if can_change_owners() {
            set_owner(&to, metadata.uid(), metadata.gid())?;
        }
        // After the owner, because changing that clears bits of it.
        set_mode(&to, metadata.mode() & 0o7777)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Here {
        folder: tempfile::TempDir,
    }

    impl Here {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["upper", "root"] {
                fs_err::create_dir(folder.path().join(name)).unwrap();
            }
            Self { folder }
        }

        fn upper(&self, path: &str) -> PathBuf {
            self.folder.path().join("upper").join(path)
        }

        fn root(&self, path: &str) -> PathBuf {
            self.folder.path().join("root").join(path)
        }

        fn merge(&self) {
            merge_upper(&self.upper(""), &self.root("")).unwrap();
        }

        /// All files below the root, with what is in them.
        fn files(&self) -> Vec<String> {
            let mut pending = vec![self.root("")];
            let mut found = Vec::new();
            while let Some(folder) = pending.pop() {
                for entry in fs_err::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    let name = path
                        .strip_prefix(self.root(""))
                        .unwrap()
                        .display()
                        .to_string();
                    let metadata = path.symlink_metadata().unwrap();
                    if metadata.is_dir() {
                        pending.push(path);
                    } else if metadata.is_file() {
                        found.push(format!("{name}={}", fs_err::read_to_string(path).unwrap()));
                    } else {
                        found.push(name);
                    }
                }
            }
            found.sort();
            found
        }
    }

    fn write(path: &Path, content: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    #[test]
    fn changes_are_made_and_all_else_stays() {
        let here = Here::new();
        for name in [
            "etc/kept",
            "etc/changed",
            "etc/gone",
            "gone/deep",
            "opaque/old",
            "a-folder/x",
        ] {
            write(&here.root(name), "old");
        }
        write(&here.upper("etc/changed"), "new");
        write(&here.upper("etc/made/deep"), "new");
        write(&here.upper("a-folder"), "a file now");
        write(&here.upper("opaque/new"), "new");
        overlay::make_opaque(&here.upper("opaque")).unwrap();
        for name in ["etc/gone", "gone", "never-there"] {
            overlay::make_whiteout(&here.upper(name)).unwrap();
        }
        set_mode(&here.upper("etc"), 0o750).unwrap();
        fs_err::hard_link(here.upper("etc/changed"), here.upper("etc/linked")).unwrap();
        here.merge();
        assert_eq!(
            here.files(),
            [
                "a-folder=a file now",
                "etc/changed=new",
                "etc/kept=old",
                "etc/linked=new",
                "etc/made/deep=new",
                "opaque/new=new",
            ]
        );
        let inode = |name: &str| fs_err::metadata(here.root(name)).unwrap().ino();
        assert_eq!(inode("etc/changed"), inode("etc/linked"));
        assert_eq!(
            fs_err::metadata(here.root("etc")).unwrap().mode() & 0o7777,
            0o750
        );
        assert!(!here.root("gone").exists());
    }

    #[test]
    fn folders_get_their_owners() {
        if !can_change_owners() {
            return;
        }
        let here = Here::new();
        for folder in ["old", "new"] {
            write(&here.upper(folder).join("x"), "x");
            set_owner(&here.upper(folder), 12, 34).unwrap();
            set_mode(&here.upper(folder), 0o2755).unwrap();
        }
        write(&here.root("old/y"), "y");
        here.merge();
        for folder in ["old", "new"] {
            let found = fs_err::metadata(here.root(folder)).unwrap();
            let found = (found.uid(), found.gid(), found.mode() & 0o7777);
            assert_eq!(found, (12, 34, 0o2755), "{folder}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let here = Here::new();
        let outside = here.folder.path().join("outside");
        write(&outside.join("mine"), "mine");
        for name in ["to-folder", "to-delete", "to-file"] {
            fs_err::os::unix::fs::symlink(&outside, here.root(name)).unwrap();
        }
        write(&here.upper("to-folder/mine"), "theirs");
        write(&here.upper("to-file"), "theirs");
        overlay::make_whiteout(&here.upper("to-delete")).unwrap();
        fs_err::os::unix::fs::symlink(&outside, here.upper("link")).unwrap();
        here.merge();
        assert_eq!(
            here.files(),
            ["link", "to-file=theirs", "to-folder/mine=theirs"]
        );
        assert_eq!(
            fs_err::read_to_string(outside.join("mine")).unwrap(),
            "mine"
        );
    }
}
