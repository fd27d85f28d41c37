//! Whether what Git takes for changed has changed. It knows no filters here, so it compares files that go through one
//! with what the filter made of them.
//!
//! What other filters make of a file is not known without running them: such a file does not count as changed. That of
//! Git LFS leaves a pointer with the file's hash, and so it can be compared.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;

use cog_files::open_project_file;
use sha2::{Digest as _, Sha256};

use super::{MAX_OUTPUT, View};

/// The filter of Git LFS.
const LFS: &str = "lfs";

/// The largest pointer that Git LFS takes for one.
const MAX_POINTER: usize = 1024;

/// Read at once.
const PIECE: usize = 1 << 20;

/// A file that differs from what the index has.
struct Modified<'a> {
    path: &'a [u8],
    /// What the index has.
    object: &'a str,
}

impl View {
    /// What Git is asked for changes with.
    pub(super) const STATUS: [&'static str; 6] = [
        "status",
        "--no-renames",
        "--porcelain=v2",
        "-z",
        "--untracked-files=no",
        "--ignore-submodules=dirty",
    ];

    /// Whether nothing has changed of what Git `listed`; nothing if that cannot be told.
    pub(super) fn is_clean(&self, listed: &[u8]) -> Option<bool> {
        // It may go on where it was cut off.
        if listed.len() >= MAX_OUTPUT {
            return Some(false);
        }
        let entries = listed.split(|byte| *byte == 0);
        let entries = entries.filter(|entry| !entry.is_empty()).map(modified);
        let Some(files) = entries.collect::<Option<Vec<Modified<'_>>>>() else {
            return Some(false);
        };
        if files.is_empty() {
            return Some(true);
        }
        let filters = self.filters_of(&files)?;
        let mut pointers = Vec::new();
        for file in files {
            match filters.get(file.path).map(String::as_str) {
                Some(LFS) => pointers.push(file),
                Some(filter) if self.filters.iter().any(|known| known == filter) => {}
                _ => return Some(false),
            }
        }
        self.are_as_pointers_say(&pointers)
    }

    /// The filters of those of the `files` that go through one. Only attributes that are in the index count, and those
    /// outside of the work tree.
    fn filters_of(&self, files: &[Modified<'_>]) -> Option<BTreeMap<Vec<u8>, String>> {
        let paths: Vec<&[u8]> = files.iter().map(|file| file.path).collect();
        let asked = ["check-attr", "--cached", "--stdin", "-z", "filter"];
        let said = self.answer(&asked, &paths.join(&0))?;
        let mut filters = BTreeMap::new();
        let mut words = said.split(|byte| *byte == 0);
        while let (Some(path), Some(_), Some(filter)) = (words.next(), words.next(), words.next()) {
            let filter = String::from_utf8_lossy(filter).into_owned();
            filters.insert(path.to_owned(), filter);
        }
        Some(filters)
    }

    fn are_as_pointers_say(&self, files: &[Modified<'_>]) -> Option<bool> {
        if files.is_empty() {
            return Some(true);
        }
        let objects: Vec<&[u8]> = files.iter().map(|file| file.object.as_bytes()).collect();
        let said = self.answer(&["cat-file", "--batch"], &objects.join(&b'\n'))?;
        let mut rest = said.as_slice();
        for file in files {
            let Some(pointer) = next_object(&mut rest).and_then(Pointer::read) else {
                return Some(false);
            };
            if !self.is_as_it_says(file.path, &pointer)? {
                return Some(false);
            }
        }
        Some(true)
    }

    fn is_as_it_says(&self, path: &[u8], pointer: &Pointer) -> Option<bool> {
        let path = Path::new(OsStr::from_bytes(path));
        let Ok(mut file) = open_project_file(&self.work_tree, path) else {
            return Some(false);
        };
        if file.metadata().ok()?.len() != pointer.size {
            return Some(false);
        }
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            if self.is_over() {
                return None;
            }
            match file.read(&mut piece).ok()? {
                0 => return Some(hex::encode(hasher.finalize()) == pointer.sha256),
                length => hasher.update(&piece[..length]),
            }
        }
    }

    /// What Git says to `arguments` if it reads `input`.
    fn answer(&self, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let path = self.folder.path().join("input");
        let mut written = fs_err::File::create(&path).ok()?;
        written.write_all(input).ok()?;
        written
            .write_all(if arguments.contains(&"-z") {
                b"\0"
            } else {
                b"\n"
            })
            .ok()?;
        let input = File::from(fs_err::File::open(&path).ok()?);
        let said = self.output(self.start(arguments, Stdio::from(input)))?;
        Some(said).filter(|said| said.len() < MAX_OUTPUT)
    }
}

/// The file of an entry of Git's list, unless more of it changed than the content, or it did so in the index.
fn modified(entry: &[u8]) -> Option<Modified<'_>> {
    // `1 XY SUBMODULE MODE-OF-HEAD MODE-OF-INDEX MODE-OF-FILE OBJECT-OF-HEAD OBJECT-OF-INDEX PATH`
    let words: Vec<&[u8]> = entry.splitn(9, |byte| *byte == b' ').collect();
    let [kind, b".M", b"N...", _, before, now, _, object, path] = words.as_slice() else {
        return None;
    };
    let object = std::str::from_utf8(object).ok()?;
    (*kind == b"1" && before == now).then_some(Modified { path, object })
}

/// The content of the next object of those that Git tells, if it is small.
fn next_object<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, content) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]);
    let size: usize = line.split(' ').nth(2)?.parse().ok()?;
    if size > MAX_POINTER {
        return None;
    }
    let object = content.get(..size)?;
    *rest = content.get(size + 1..)?;
    std::str::from_utf8(object).ok()
}

/// What Git LFS leaves in place of a file.
struct Pointer {
    sha256: String,
    size: u64,
}

impl Pointer {
    fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        };
        value("version").filter(|version| version.starts_with("https://"))?;
        Some(Self {
            sha256: value("oid")?.strip_prefix("sha256:")?.to_owned(),
            size: value("size")?.parse().ok()?,
        })
    }
}
