//! File systems that keep the time of the last change of a file apart from that of its content.
//!
//! Nobody can choose that time, so it shows every change. Images of file systems (SquashFS, EROFS) and some that are
//! elsewhere (SFTP, object stores) give the time of the content in its place: another file of the same size and date
//! looks the same there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::context::{Item, ItemKind};

/// `f_type` of those that do, as `statfs(2)` tells it: ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs,
/// NFS, CIFS.
const KNOWN: [i64; 10] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x0102_1994,
    0x794c_7630,
    0x6969,
    0xff53_4d42,
];

/// The file systems of a project, by major and minor number.
#[derive(Default)]
pub(super) struct Devices(BTreeMap<(u32, u32), bool>);

impl Devices {
    /// Those of the files in `items`, which are below `folder`. On one that is not known, a file with two different times
    /// shows that they are kept.
    pub(super) fn of(folder: &Path, items: &[Item]) -> Self {
        let mut all = BTreeMap::new();
        for item in items {
            let ItemKind::File(status) = &item.kind else {
                continue;
            };
            let keeps = all
                .entry(status.device)
                .or_insert_with(|| is_known(&folder.join(&item.path)));
            *keeps |= status.changed != status.modified;
        }
        Self(all)
    }

    /// Whether a change of a file on that one shows in its status.
    pub(super) fn show_changes(&self, device: (u32, u32)) -> bool {
        self.0.get(&device).is_some_and(|keeps| *keeps)
    }
}

fn is_known(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| KNOWN.contains(&found.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cog_files::{Moment, Status};
    use rustix::fs::FileType;

    fn file(path: &str, device: (u32, u32), changed: i64) -> Item {
        let at = |seconds| Moment {
            seconds,
            nanoseconds: 0,
        };
        Item {
            path: path.to_owned(),
            kind: ItemKind::File(Status {
                kind: FileType::RegularFile,
                mode: 0o644,
                size: 1,
                device,
                inode: 1,
                modified: at(5),
                changed: at(changed),
            }),
        }
    }

    #[test]
    fn one_that_is_not_known_shows_that_it_keeps_times_by_a_file() {
        let items = [
            file("none/a", (0, 1), 5),
            file("none/b", (0, 1), 5),
            file("none/c", (0, 2), 5),
            file("none/d", (0, 2), 6),
        ];
        let devices = Devices::of(Path::new("/none"), &items);
        assert!(!devices.show_changes((0, 1)));
        assert!(devices.show_changes((0, 2)));
        assert!(!devices.show_changes((0, 3)));
    }

    #[test]
    fn ordinary_ones_are_known() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        fs_err::write(folder.path().join("a"), "").unwrap();
        let devices = Devices::of(folder.path(), &[file("a", (0, 1), 5)]);
        assert!(devices.show_changes((0, 1)));
        // Of the kernel's own, nothing is.
        let devices = Devices::of(Path::new("/proc"), &[file("version", (0, 1), 5)]);
        assert!(!devices.show_changes((0, 1)));
    }
}
