//! A store on a disk that fills up.

use std::path::Path;
use std::time::{Duration, Instant};

use cog_image::{Error, Store};
use cog_testing::skip;

use crate::support::{file, files_below, noise, options};

/// A small file system in memory, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={size},mode=700")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("cog-test", dir.path(), "tmpfs", flags, Some(&*options)).ok()?;
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Waits until so many bytes are free: what another test is just starting may still hold a file that was removed.
    fn has_room(&self, bytes: u64) {
        let begun = Instant::now();
        loop {
            let found = rustix::fs::statvfs(self.path()).unwrap();
            if found.f_bavail * found.f_frsize >= bytes {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays full");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn nothing_half_written_stays() {
    let Some(disk) = SmallDisk::mount("6m") else {
        return skip("mounting a small file system is not permitted");
    };
    let root = disk.path().join("store");
    let store = Store::open(&root).unwrap();
    let check = |error: Error| {
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(
            error.to_string().contains(root.to_str().unwrap()),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("cog prune"));
        assert_eq!(files_below(&root.join("blobs")), ["sha256"]);
        assert_eq!(files_below(&root.join("snapshots")), [""; 0]);
    };
    let large = noise(8 << 20, 1);
    let error = store
        .add_layer_from_entries(vec![file("large", &large)], &options())
        .unwrap_err();
    check(error);
    disk.has_room(5 << 20);
    {
        let scratch = store.scratch().unwrap();
        let tree = scratch.path().join("tree");
        fs_err::create_dir(&tree).unwrap();
        fs_err::write(tree.join("large"), &large[..4 << 20]).unwrap();
        check(store.add_layer_from_dir(&tree, &options()).unwrap_err());
    }
    // The space is free again.
    disk.has_room(5 << 20);
    let content = noise(1 << 20, 2);
    let small = store
        .add_layer_from_entries(vec![file("small", content)], &options())
        .unwrap();
    store.snapshot(&small).unwrap();

    let layer_of = |byte: u8| {
        let content = file("content", vec![byte; 16 << 20]);
        store
            .add_layer_from_entries(vec![content], &options())
            .unwrap()
    };
    // Zeros take no space.
    let hole = layer_of(0);
    store.snapshot(&hole).unwrap();
    // Compressed it fits, unpacked it does not.
    let layer = layer_of(1);
    let error = store.snapshot(&layer).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(fs_err::read_dir(root.join("snapshots")).unwrap().count(), 2);
    store
        .put_image("still-works", &cog_image::ImageConfig::default(), &[small])
        .unwrap();
}

#[test]
fn something_stays_for_others() {
    let Some(disk) = SmallDisk::mount("400m") else {
        return skip("mounting a small file system is not permitted");
    };
    let store = Store::open(&disk.path().join("store")).unwrap();
    let content = vec![1; 397 << 20];
    let layer = store
        .add_layer_from_entries(vec![file("content", content)], &options())
        .unwrap();
    // It would fit, but with less than a hundredth left.
    let error = store.snapshot(&layer).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let content = vec![1; 300 << 20];
    let layer = store
        .add_layer_from_entries(vec![file("content", content)], &options())
        .unwrap();
    store.snapshot(&layer).unwrap();
}

#[test]
fn a_full_target_is_named() {
    let Some(disk) = SmallDisk::mount("1m") else {
        return skip("mounting a small file system is not permitted");
    };
    let store = crate::support::test_store();
    let layer = store
        .add_layer_from_entries(vec![file("x", noise(2 << 20, 1))], &options())
        .unwrap();
    let image = store
        .put_image("x", &cog_image::ImageConfig::default(), &[layer])
        .unwrap();
    for target in [
        cog_image::ExportTarget::OciArchive,
        cog_image::ExportTarget::DockerArchive,
        cog_image::ExportTarget::OciDir,
    ] {
        let path = disk.path().join("out");
        let error = cog_image::export(
            &store,
            &image,
            target,
            &path,
            &cog_image::ExportOptions::default(),
        )
        .unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(!hint.contains("COG_CACHE_DIR"), "{hint}");
        let left = files_below(disk.path());
        assert!(
            !left.iter().any(|name| name.ends_with("partial")),
            "{left:?}"
        );
        assert!(
            !left.iter().any(|name| name.ends_with("index.json")),
            "{left:?}"
        );
    }
}
