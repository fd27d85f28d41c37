use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use cog_image::{Compression, Store};
use rustix::fs::inotify;

use super::*;
use crate::executor::Cache;
use crate::plan::Symbols;
use crate::reporter::Reporter;

const MIB: usize = 1 << 20;

/// Then, no file has changed just now.
const LATER: Duration = Duration::from_hours(1);

struct Project {
    folder: tempfile::TempDir,
    store: Store,
    cache: Cache,
    layers: SourceLayers,
    limit: usize,
    now: SystemTime,
    notices: Notices,
}

#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Notices {
    /// What was told since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Reporter for Notices {
    fn report(&self, event: Event<'_>) {
        if let Event::Notice { message } = event {
            self.0.lock().expect("no panic").push(message.to_owned());
        }
    }
}

impl Project {
    /// With code, a large file, and a folder that is large together.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("store")).expect("it opens");
        let mut project = Self {
            folder,
            store,
            cache: Cache::Use,
            layers: SourceLayers::BySize,
            limit: MAX_PARTS,
            now: SystemTime::UNIX_EPOCH,
            notices: Notices::default(),
        };
        project.write("run.py", "print(1)\n");
        project.write("weights/large.bin", vec![7; 9 * MIB]);
        project.write("weights/notes.txt", "small");
        for number in 0..5 {
            let path = format!("data/{}/{number}", number % 2);
            project.write(&path, vec![number; 2 * MIB]);
        }
        project.now = SystemTime::now() + LATER;
        project
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("project").join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs_err::create_dir_all(path.parent().expect("it has one")).expect("created");
        fs_err::write(path, content).expect("written");
    }

    fn build(&self) -> Vec<Layer> {
        self.build_as("cog.yaml")
    }

    fn build_as(&self, config_file_name: &str) -> Vec<Layer> {
        let project_dir = self.path("");
        let executor = Executor {
            project_dir: &project_dir,
            store: &self.store,
            architecture: crate::architecture::Architecture::host(),
            containers: None,
            here: None,
            own: None,
            reporter: &self.notices,
            cache: self.cache,
            symbols: Symbols::Kept,
            compression: Compression::default(),
            timestamp: 1,
            threads: 1,
        };
        let source = Source {
            ignore: &context::ignore(&project_dir).expect("it is valid"),
            config_file_name,
            schema: Some("{}"),
            layers: self.layers,
            limit: self.limit,
        };
        run_at(&executor, &source, self.now).expect("the layers are made")
    }

    fn records(&self) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(self.store.root().join("steps")).expect("readable");
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths.collect()
    }

    fn blob(&self, layer: &Layer) -> PathBuf {
        let blobs = self.store.root().join("blobs/sha256");
        blobs.join(layer.blob.digest.hex())
    }

    /// What an image of `layers` has: permissions, time and content by path.
    fn content(&self, layers: &[Layer]) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for layer in layers {
            let root = self.store.snapshot(layer).expect("it is unpacked");
            collect(&root, &root, &mut found);
        }
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, (u32, i64, Vec<u8>)>) {
    for entry in fs_err::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let metadata = fs_err::symlink_metadata(&path).expect("it is there");
        let content = if metadata.is_dir() {
            collect(root, &path, found);
            Vec::new()
        } else if metadata.is_symlink() {
            let target = fs_err::read_link(&path).expect("readable");
            target.into_os_string().into_encoded_bytes()
        } else {
            fs_err::read(&path).expect("readable")
        };
        let entry = (metadata.mode(), metadata.mtime(), content);
        let name = path.strip_prefix(root).expect("it is below").to_owned();
        let other = found.insert(name, entry.clone());
        assert!(
            other.is_none_or(|other| metadata.is_dir() && other == entry),
            "only folders are in several layers, and are the same in all: {}",
            path.display()
        );
    }
}

fn names(layers: &[Layer]) -> Vec<&str> {
    layers
        .iter()
        .map(|layer| layer.created_by.as_str())
        .collect()
}

/// Sees whether files are opened.
struct Watch(OwnedFd);

impl Watch {
    fn new(project: &Project, paths: &[&str]) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = inotify::init(flags).expect("it is made");
        for path in paths {
            let path = project.path(path);
            inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN).expect("it is watched");
        }
        Self(watch)
    }

    /// Whether one was since the last call.
    fn opened(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut opened = false;
        loop {
            match reader.next() {
                Ok(_) => opened = true,
                Err(rustix::io::Errno::WOULDBLOCK) => return opened,
                Err(error) => panic!("the watch can be read: {error}"),
            }
        }
    }
}

#[test]
fn a_changed_line_leaves_all_but_the_code_alone() {
    let project = Project::new();
    let watch = Watch::new(&project, &["weights/large.bin", "data/0/0", "data/1/3"]);
    let code = Watch::new(&project, &["weights/notes.txt"]);
    let before = project.build();
    assert_eq!(
        names(&before),
        [
            "cog: source weights/large.bin",
            "cog: source data/",
            "cog: source"
        ]
    );
    assert!(watch.opened() && code.opened());
    project.write("run.py", "print(2)\n");
    let after = project.build();
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2]);
    assert!(!watch.opened(), "what did not change is not read");
    assert!(code.opened(), "a part is read whole");
    assert_eq!(project.build(), after);
    assert!(!watch.opened() && !code.opened());
    assert_eq!(project.records().len(), 3, "one for each part");
}

#[test]
fn every_change_is_seen() {
    let mut project = Project::new();
    let before = project.build();
    let large = project.path("weights/large.bin");
    let old = fs_err::metadata(&large).expect("it is there");
    let changed = |project: &Project, before: &[Layer]| -> Vec<bool> {
        let after = project.build();
        assert_eq!(after.len(), before.len());
        let pairs = after.iter().zip(before);
        pairs.map(|(after, before)| after != before).collect()
    };
    // The same size, and the date of before.
    let mut content = vec![7; 9 * MIB];
    content[5] = 8;
    fs_err::write(&large, &content).expect("written");
    let file = fs_err::File::options().write(true).open(&large);
    let date = old.modified().expect("it has one");
    let file = file.expect("it opens");
    file.file().set_modified(date).expect("dated");
    assert_eq!(changed(&project, &before), [true, false, false]);
    // Back again, in a file with another number.
    fs_err::write(project.path("new"), vec![7; 9 * MIB]).expect("written");
    fs_err::rename(project.path("new"), &large).expect("renamed");
    assert_eq!(changed(&project, &before), [false, false, false]);
    // Looked at, dated anew, and with permissions that do not count.
    let watch = Watch::new(&project, &["data/1/1"]);
    let path = project.path("data/1/1");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    assert_eq!(changed(&project, &before), [false, false, false]);
    assert!(watch.opened());
    // With permissions that count.
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("set");
    assert_eq!(changed(&project, &before), [false, true, false]);
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    // Another name for the same file.
    fs_err::rename(&path, project.path("data/1/x")).expect("renamed");
    assert_eq!(changed(&project, &before), [false, true, false]);
    fs_err::rename(project.path("data/1/x"), &path).expect("renamed");
    // A link that leads elsewhere, and an empty folder.
    symlink("run.py", project.path("link")).expect("linked");
    let linked = project.build();
    assert_ne!(linked[2], before[2]);
    fs_err::remove_file(project.path("link")).expect("removed");
    symlink("run.pz", project.path("link")).expect("linked");
    assert_ne!(project.build()[2], linked[2]);
    fs_err::remove_file(project.path("link")).expect("removed");
    fs_err::create_dir(project.path("empty")).expect("made");
    assert_eq!(changed(&project, &before), [false, false, true]);
    fs_err::remove_dir(project.path("empty")).expect("removed");
    assert_eq!(changed(&project, &before), [false, false, false]);
    // Another place, time and store.
    let other = Project::new();
    assert_eq!(other.build(), before);
    project.cache = Cache::Ignore;
    let watch = Watch::new(&project, &["weights/large.bin"]);
    assert_eq!(changed(&project, &before), [false, false, false]);
    assert!(watch.opened());
}

#[test]
fn what_changed_just_now_is_read_again() {
    let mut project = Project::new();
    let watch = Watch::new(&project, &["weights/large.bin"]);
    // The oldest file is a second old.
    let oldest = fs_err::metadata(project.path("run.py")).expect("it is there");
    let seconds = u64::try_from(oldest.ctime()).expect("it is new");
    project.now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds + 1);
    let first = project.build();
    assert_eq!(project.records().len(), 2, "none for a small part");
    assert!(watch.opened());
    let blob = project.blob(&first[0]);
    let written = fs_err::metadata(&blob).expect("it is there");
    assert_eq!(project.build(), first);
    assert!(watch.opened(), "it could have changed without a trace");
    let kept = fs_err::metadata(&blob).expect("it is there");
    assert_eq!(kept.ino(), written.ino(), "it is not packed again");
    project.now += LATER;
    project.build();
    assert!(watch.opened());
    project.build();
    assert!(!watch.opened());
    // A date that somebody chose is no reason to read it for ever.
    let file = fs_err::File::options()
        .write(true)
        .open(project.path("weights/large.bin"));
    let file = file.expect("it opens");
    let future = project.now + Duration::from_secs(1_000_000);
    file.file().set_modified(future).expect("dated");
    project.build();
    watch.opened();
    assert_eq!(project.build(), first);
    assert!(!watch.opened());
}

#[test]
fn what_changed_without_a_trace_is_found() {
    let mut project = Project::new();
    project.now = SystemTime::now();
    let before = project.build();
    project.write("weights/large.bin", vec![8; 9 * MIB]);
    let after = project.build();
    assert_ne!(after[0], before[0]);
    // As if the file had looked like that before.
    let (old, new) = (&before[0], &after[0]);
    for path in project.records() {
        let text = fs_err::read_to_string(&path).expect("readable");
        let text = text
            .replace(&new.blob.digest.hex(), &old.blob.digest.hex())
            .replace(&new.diff_id.hex(), &old.diff_id.hex())
            .replace(&new.blob.size.to_string(), &old.blob.size.to_string());
        fs_err::write(path, text).expect("written");
    }
    assert_eq!(project.build(), after);
}

#[test]
fn a_record_that_is_of_no_use_is_not_used() {
    let project = Project::new();
    let watch = Watch::new(&project, &["weights/large.bin"]);
    let built = project.build();
    let change = |change: &dyn Fn(&str) -> String| {
        for path in project.records() {
            let text = fs_err::read_to_string(&path).expect("readable");
            fs_err::write(path, change(&text)).expect("written");
        }
        watch.opened();
        assert_eq!(project.build(), built);
        assert!(watch.opened());
        // It was replaced by a good one.
        assert_eq!(project.build(), built);
        assert!(!watch.opened());
    };
    change(&|_| String::new());
    change(&|_| "\0\u{ff}".to_owned());
    change(&|_| r#"{"layers":[],"facts":null}"#.to_owned());
    change(&|text| text[..text.len() / 2].to_owned());
    change(&|text| {
        let mut record: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        record["layers"] = serde_json::json!([]);
        record.to_string()
    });
    change(&|text| {
        let mut record: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        record["facts"] = serde_json::json!({"state": "x".repeat(1000)});
        record.to_string()
    });
    // A blob that is gone, and one that is not whole.
    let blob = project.store.blob_path(&built[0].blob.digest);
    change(&|text| {
        let _ = fs_err::remove_file(&blob);
        text.to_owned()
    });
    change(&|text| {
        fs_err::write(&blob, "x").expect("written");
        text.to_owned()
    });
}

#[test]
fn the_layers_together_are_the_tree() {
    let mut project = Project::new();
    project.write("tool.sh", "#!/bin/sh\n");
    let executable = std::fs::Permissions::from_mode(0o750);
    fs_err::set_permissions(project.path("tool.sh"), executable).expect("set");
    project.write("cog.yaml", "left out");
    project.write("other.yaml", "run: run.py:Runner\n");
    project.write("secret", "left out");
    project.write(".dockerignore", "secret\nkept/*\n!kept/this\n");
    project.write("kept/this", "x");
    project.write("kept/that", "x");
    project.write("package/deep/er/code.py", "x");
    project.write("package/deep/image.png", vec![1; 9 * MIB]);
    project.write("package/file with spaces äöü", "x");
    fs_err::create_dir_all(project.path("data/empty/inner")).expect("made");
    symlink("../run.py", project.path("data/link")).expect("linked");
    symlink("nowhere", project.path("weights/link")).expect("linked");

    let parts = project.build_as("other.yaml");
    assert_eq!(parts.len(), 4, "{:?}", names(&parts));
    let in_parts = project.content(&parts);
    project.limit = 1;
    let whole = project.build_as("other.yaml");
    assert_eq!(whole.len(), 1);
    let in_one = project.content(&whole);
    assert_eq!(
        in_parts.keys().collect::<Vec<_>>(),
        in_one.keys().collect::<Vec<_>>()
    );
    assert!(in_parts == in_one);

    let content = |path: &str| &in_parts[Path::new(path)].2;
    assert_eq!(content("src/cog.yaml"), b"run: run.py:Runner\n");
    assert_eq!(content("src/.cog/openapi_schema.json"), b"{}");
    assert_eq!(content("src/data/link"), b"../run.py");
    assert_eq!(*content("src/data/1/3"), vec![3; 2 * MIB]);
    assert!(in_parts.contains_key(Path::new("src/data/empty/inner")));
    assert!(in_parts.contains_key(Path::new("src/kept/this")));
    assert!(!in_parts.contains_key(Path::new("src/kept/that")));
    assert!(!in_parts.contains_key(Path::new("src/secret")));
    let mode = |path: &str| in_parts[Path::new(path)].0 & 0o7777;
    assert_eq!((mode("src/tool.sh"), mode("src/run.py")), (0o755, 0o644));
    assert_eq!((mode("src"), mode("src/package")), (0o755, 0o755));
    assert!(in_parts.values().all(|(_, time, _)| *time == 1));
}

#[test]
fn weights_that_are_asked_for_are_layers() {
    let mut project = Project::new();
    project.write("models/a.bin", vec![1; 11 * MIB]);
    project.write("models/config.json", "{}");
    project.write("root.bin", vec![2; 11 * MIB]);
    project.layers = SourceLayers::SeparateWeights;
    let built = project.build();
    assert_eq!(
        names(&built),
        [
            "cog: source root.bin",
            "cog: source models/",
            "cog: source weights/large.bin",
            "cog: source data/",
            "cog: source"
        ]
    );
    assert!(project.notices.take().is_empty());
    assert_eq!(project.build(), built);
    assert_eq!(
        project.notices.take(),
        ["Weights unchanged, skip rebuilding and use cached image..."]
    );
    let models = project.content(&built[1..2]);
    assert!(models.contains_key(Path::new("src/models/config.json")));
    project.layers = SourceLayers::BySize;
    let by_size = project.build();
    assert!(project.notices.take().is_empty());
    assert!(project.content(&by_size) == project.content(&built));
}
