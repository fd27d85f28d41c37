//! Compares two unpacked trees, content and all.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{overlay, system};
use crate::error::Result;

/// Where `actual` first differs from `expected`, and how; `None` if they are equal. Times and owners do
/// not count: an ordinary user cannot set the latter.
pub(crate) fn difference(
    expected: &Path,
    actual: &Path,
) -> Result<Option<(PathBuf, &'static str)>> {
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let (wanted, found) = (names(&expected.join(&dir))?, names(&actual.join(&dir))?);
        if let Some(name) = wanted.symmetric_difference(&found).next() {
            let what = if wanted.contains(name) {
                "is missing"
            } else {
                "should not be there"
            };
            return Ok(Some((dir.join(name), what)));
        }
        for name in wanted {
            let path = dir.join(name);
            if let Some(what) = file_difference(&expected.join(&path), &actual.join(&path))? {
                return Ok(Some((path, what)));
            }
            if fs_err::symlink_metadata(expected.join(&path))?.is_dir() {
                pending.push(path);
            }
        }
    }
    Ok(None)
}

fn names(dir: &Path) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs_err::read_dir(dir)? {
        names.insert(entry?.file_name());
    }
    Ok(names)
}

fn file_difference(expected: &Path, actual: &Path) -> Result<Option<&'static str>> {
    let (wanted, found) = (
        fs_err::symlink_metadata(expected)?,
        fs_err::symlink_metadata(actual)?,
    );
    // First the marks: a whiteout has two forms.
    let mark = overlay::mark(expected, &wanted)?;
    if mark != overlay::mark(actual, &found)? {
        return Ok(Some("deletes something else"));
    }
    if mark == overlay::Mark::Whiteout {
        return Ok(None);
    }
    if wanted.file_type() != found.file_type() {
        return Ok(Some("is of another kind"));
    }
    if wanted.is_symlink() {
        let equal = fs_err::read_link(expected)? == fs_err::read_link(actual)?;
        return Ok((!equal).then_some("links to something else"));
    }
    if wanted.mode() != found.mode() {
        return Ok(Some("has other permissions"));
    }
    if wanted.is_file() && (wanted.len() != found.len() || !equal_content(expected, actual)?) {
        return Ok(Some("has other content"));
    }
    Ok(None)
}

fn equal_content(expected: &Path, actual: &Path) -> Result<bool> {
    let mut expected = system::open_even_if_unreadable(expected)?;
    let mut actual = system::open_even_if_unreadable(actual)?;
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let read = expected.read(&mut left)?;
        if read == 0 {
            return Ok(actual.read(&mut right)? == 0);
        }
        if actual.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return Ok(false);
        }
    }
}
