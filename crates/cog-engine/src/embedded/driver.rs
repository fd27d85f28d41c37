//! Makes the libraries of a GPU's driver known inside a container: links, and the loader's cache.
//!
//! The image's own files may be in the way in every form. All is done beneath the root and on its overlay alone: no
//! name leads into a mount of the host's files, and what is written replaces what is there, never goes through it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat, renameat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::beneath::{Inside, Reach};
use crate::gpus::{Gpus, Link, LoaderCache};
use crate::supervisor::Failure;

const CACHE_FOLDER: &str = "/etc";
const CACHE: &str = "ld.so.cache";
const NEW_CACHE: &str = ".ld.so.cache.new";
/// Caches of whole distributions have some hundred kilobytes.
const MAX_CACHE: u64 = 16 << 20;

/// What is looked up in a folder is in it.
const HERE: ResolveFlags = ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS);

/// In the container's root, when all mounts are in their places.
pub(super) fn make_known(gpus: &Gpus) -> Result<(), Failure> {
    if gpus.links.is_empty() && gpus.libraries.is_empty() {
        return Ok(());
    }
    let inside = Inside::open().map_err(Failure::at("open the root"))?;
    for wanted in &gpus.links {
        link(&inside, wanted).map_err(Failure::at(format!("link `{}`", wanted.path)))?;
    }
    let mut known = Vec::new();
    for library in &gpus.libraries {
        let path = Path::new(&library.path);
        let by_name = path
            .with_file_name(&library.name)
            .to_string_lossy()
            .into_owned();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let linked = by_name == library.path
            || link(
                &inside,
                &Link {
                    path: by_name.clone(),
                    target: file,
                },
            )
            .map_err(Failure::at(format!("link `{by_name}`")))?;
        let path = if linked {
            by_name
        } else {
            library.path.clone()
        };
        known.push((&library.name, path, library.flags));
    }
    if known.is_empty() {
        return Ok(());
    }
    update_cache(&inside, |cache| {
        for (name, path, flags) in known.iter().rev() {
            cache.add(name, path, *flags);
        }
    })
    .map_err(Failure::at(
        "list the driver's libraries in `/etc/ld.so.cache`",
    ))
}

/// Makes a link, or replaces what is there unless that is a folder. Whether it is there now: a folder of the host keeps
/// what it has.
fn link(inside: &Inside, link: &Link) -> io::Result<bool> {
    let path = Path::new(&link.path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it is no path of a file"));
    };
    let folder = match inside.directory(parent, Reach::Overlay) {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => return Ok(false),
        other => other?,
    };
    if readlinkat(&folder, name, Vec::new())
        .is_ok_and(|there| there.as_bytes() == link.target.as_bytes())
    {
        return Ok(true);
    }
    match symlinkat(&link.target, &folder, name) {
        Err(Errno::EXIST) => {
            match unlinkat(&folder, name, AtFlags::empty()) {
                // A mount, which is a library itself.
                Err(Errno::BUSY) => return Ok(true),
                other => other?,
            }
            symlinkat(&link.target, &folder, name)?;
        }
        other => other?,
    }
    Ok(true)
}

fn update_cache(inside: &Inside, change: impl FnOnce(&mut LoaderCache)) -> io::Result<()> {
    let folder = inside.directory(Path::new(CACHE_FOLDER), Reach::Overlay)?;
    let mut cache = LoaderCache::parse(&read(&folder)?);
    change(&mut cache);
    // What an image planted under the name is not written to.
    let _ = unlinkat(&folder, NEW_CACHE, AtFlags::empty());
    let file = openat2(
        &folder,
        NEW_CACHE,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
        HERE,
    )?;
    std::fs::File::from(file).write_all(&cache.to_bytes())?;
    renameat(&folder, NEW_CACHE, &folder, CACHE)?;
    Ok(())
}

/// The image's cache; nothing if it is none, or no file at all.
fn read(folder: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat2(folder, CACHE, flags, Mode::empty(), HERE) else {
        return Ok(content);
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile {
        std::fs::File::from(file)
            .take(MAX_CACHE)
            .read_to_end(&mut content)?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Inside) {
        let place = tempfile::tempdir().unwrap();
        let inside = Inside::at(place.path()).unwrap();
        (place, inside)
    }

    fn wanted(path: &str) -> Link {
        Link {
            path: path.into(),
            target: "real.so.1".into(),
        }
    }

    #[test]
    fn links_stay_beneath_the_root_whatever_is_planted() {
        let outside = tempfile::tempdir().unwrap();
        let (place, inside) = root();
        let at = |name: &str| place.path().join(name);
        fs_err::write(outside.path().join("kept"), "text").unwrap();
        // A folder that leads out by an absolute path, one that leads up, and a file that leads out.
        std::os::unix::fs::symlink(outside.path(), at("absolute")).unwrap();
        fs_err::create_dir(at("up")).unwrap();
        std::os::unix::fs::symlink("../../../../..", at("up/away")).unwrap();
        fs_err::create_dir(at("usr")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("kept"), at("usr/lib.so")).unwrap();
        assert!(link(&inside, &wanted("/absolute/lib.so")).unwrap());
        assert!(link(&inside, &wanted("/up/away/lib.so")).unwrap());
        assert!(link(&inside, &wanted("/usr/lib.so")).unwrap());
        assert!(link(&inside, &wanted("/new/folder/lib.so")).unwrap());
        assert!(link(&inside, &wanted("/../..//new/./lib.so")).unwrap());
        for name in ["lib.so", "usr/lib.so", "new/folder/lib.so", "new/lib.so"] {
            assert_eq!(
                fs_err::read_link(at(name)).unwrap(),
                Path::new("real.so.1"),
                "{name}"
            );
        }
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(
            fs_err::read_to_string(outside.path().join("kept")).unwrap(),
            "text"
        );
        assert!(
            link(&inside, &wanted("/usr")).is_err(),
            "a folder is not replaced"
        );
    }

    #[test]
    fn the_cache_replaces_what_is_planted_in_its_place() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("victim");
        fs_err::write(&target, "kept").unwrap();
        let (place, inside) = root();
        let add = |cache: &mut LoaderCache| cache.add("libx.so.1", "/lib/libx.so.1", 0x303);
        fs_err::create_dir(place.path().join("etc")).unwrap();
        for planted in [CACHE, NEW_CACHE] {
            let _ = fs_err::remove_file(place.path().join("etc").join(planted));
            std::os::unix::fs::symlink(&target, place.path().join("etc").join(planted)).unwrap();
        }
        update_cache(&inside, add).unwrap();
        assert_eq!(fs_err::read_to_string(&target).unwrap(), "kept");
        let bytes = fs_err::read(place.path().join("etc/ld.so.cache")).unwrap();
        assert_eq!(LoaderCache::parse(&bytes).libraries().count(), 1);
        // A pipe would keep whoever opens it waiting.
        fs_err::remove_file(place.path().join("etc/ld.so.cache")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path().join("etc/ld.so.cache"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        update_cache(&inside, add).unwrap();
        let bytes = fs_err::read(place.path().join("etc/ld.so.cache")).unwrap();
        assert_eq!(LoaderCache::parse(&bytes).libraries().count(), 1);
    }
}
