//! Package files in the cache, by their checksums. Programs in containers get copies, so they can neither see nor
//! change what other builds use.

use std::io::{self, Read, Write as _};
use std::path::Path;

use cog_files::Folder;
use sha2::{Digest as _, Sha256};

use super::fetch;
use super::lock::ListedPackage;
use super::release::is_sha256;
use hex::encode as hex;

/// A package file that an index promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// Name of the file, without a folder.
    pub name: String,
    /// Hexadecimal.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
}

/// The package files in a cache folder, as [`Request::cache_dir`](super::Request::cache_dir) names it.
#[derive(Debug)]
pub struct Downloads {
    folder: Folder,
}

impl PackageFile {
    /// Parses a line that `apt-get install --print-uris` prints: `'address' name size SHA256:checksum`. Nothing if it
    /// is another line, or the checksum is of another kind.
    pub fn from_apt(line: &str) -> Option<Self> {
        let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split_whitespace();
        let (name, size) = (words.next()?, words.next()?.parse().ok()?);
        let sha256 = words.next()?.strip_prefix("SHA256:")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-:%".contains(&byte);
        let is_name = !name.starts_with('.')
            && std::path::Path::new(name).extension() == Some("deb".as_ref())
            && name.bytes().all(is_plain);
        (is_name && is_sha256(sha256)).then(|| Self {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            size,
        })
    }

    /// Name and version of the package, as the name of its file tells: `name_version_architecture.deb`.
    pub fn package(&self) -> Option<ListedPackage> {
        let mut parts = self.name.split('_');
        let (name, version) = (parts.next()?, parts.next()?);
        // Colons are not welcome in names of files.
        let version = version.replace("%3a", ":").replace("%3A", ":");
        parts.next()?;
        Some(ListedPackage {
            name: name.to_owned(),
            version,
            sha256: self.sha256.clone(),
        })
    }
}

impl Downloads {
    /// The files below `cache_dir`, which is made if it is missing.
    pub fn open(cache_dir: &Path) -> io::Result<Self> {
        let folder = cache_dir.join(fetch::FOLDER);
        fs_err::create_dir_all(&folder)?;
        Ok(Self {
            folder: Folder::open(&folder)?,
        })
    }

    /// The file of `package`, if it is in the cache, under a name that tells which it is.
    pub fn find(&self, package: &ListedPackage) -> io::Result<Option<PackageFile>> {
        let ListedPackage {
            name,
            version,
            sha256,
        } = package;
        if !is_sha256(sha256) {
            return Ok(None);
        }
        let found = self.folder.open_file(sha256)?;
        Ok(found.map(|(_, size)| PackageFile {
            name: format!("{name}_{}_kept.deb", version.replace(':', "%3a")),
            sha256: sha256.clone(),
            size,
        }))
    }

    /// Copies the file to `target` under its name, if it is in the cache. Says whether it was.
    pub fn copy_out(&self, file: &PackageFile, target: &Path) -> io::Result<bool> {
        let target = Folder::open(target)?;
        copy(&self.folder, &file.sha256, &target, &file.name, file)
    }

    /// Takes a copy of the file under its name in the folder `source`, where anybody could have put anything: only
    /// what has the right checksum is taken. Says whether it was.
    pub fn keep(&self, file: &PackageFile, source: &Path) -> io::Result<bool> {
        let source = Folder::open(source)?;
        copy(&source, &file.name, &self.folder, &file.sha256, file)
    }
}

/// Copies a file whose content is known.
fn copy(
    from: &Folder,
    name: &str,
    to: &Folder,
    new_name: &str,
    expected: &PackageFile,
) -> io::Result<bool> {
    let Some((source, length)) = from.open_file(name)? else {
        return Ok(false);
    };
    if length != expected.size {
        return Ok(false);
    }
    // Nobody takes a file for whole that is still being written.
    let temporary = format!(".{}-{}", std::process::id(), &expected.sha256);
    let mut target = to.create_file(&temporary)?;
    let copied = (|| {
        let mut source = source.take(expected.size);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match source.read(&mut buffer)? {
                0 => break,
                length => {
                    hasher.update(&buffer[..length]);
                    target.write_all(&buffer[..length])?;
                }
            }
        }
        Ok(hex(hasher.finalize()) == expected.sha256)
    })();
    match copied {
        Ok(true) => to.rename(&temporary, new_name).map(|()| true),
        other => {
            to.remove(&temporary)?;
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> PackageFile {
        PackageFile {
            name: "a_1%3a2_amd64.deb".to_owned(),
            sha256: hex(Sha256::digest(content)),
            size: content.len() as u64,
        }
    }

    #[test]
    fn lines_of_apt_are_understood() {
        let sum = "ab".repeat(32);
        let line = format!(
            "'http://a.example/pool/a_1%3a2-3%2bb1_amd64.deb' a_1%3a2-3+b1_amd64.deb 120 SHA256:{sum}"
        );
        let expected = PackageFile {
            name: "a_1%3a2-3+b1_amd64.deb".to_owned(),
            sha256: sum.clone(),
            size: 120,
        };
        let listed = expected.package().unwrap();
        assert_eq!(
            (listed.name.as_str(), listed.version.as_str()),
            ("a", "1:2-3+b1")
        );
        assert_eq!(PackageFile::from_apt(&line), Some(expected));
        for wrong in [
            "Reading package lists...".to_owned(),
            format!("'x' ../a.deb 1 SHA256:{sum}"),
            format!("'x' .a.deb 1 SHA256:{sum}"),
            format!("'x' a.txt 1 SHA256:{sum}"),
            format!("'x' a.deb -1 SHA256:{sum}"),
            format!("'x' a.deb 1 MD5Sum:{sum}"),
            "'x' a.deb 1 SHA256:../../x".to_owned(),
        ] {
            assert_eq!(PackageFile::from_apt(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_has_the_right_checksum_goes_in_and_out() {
        let (cache, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let downloads = Downloads::open(cache.path()).unwrap();
        let file = file("right");
        let place = work.path().join(&file.name);
        assert!(!downloads.copy_out(&file, work.path()).unwrap());
        assert!(!downloads.keep(&file, work.path()).unwrap());
        // The same size, as a foreign base could plant it for others.
        fs_err::write(&place, "wrong").unwrap();
        assert!(!downloads.keep(&file, work.path()).unwrap());
        assert!(!downloads.copy_out(&file, work.path()).unwrap());
        fs_err::remove_file(&place).unwrap();
        let elsewhere = work.path().join("elsewhere");
        fs_err::write(&elsewhere, "right").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        assert!(!downloads.keep(&file, work.path()).unwrap(), "a link");

        fs_err::remove_file(&place).unwrap();
        fs_err::write(&place, "right").unwrap();
        assert!(downloads.keep(&file, work.path()).unwrap());
        // What becomes of the original does not matter.
        fs_err::write(&place, "wrong").unwrap();
        assert!(downloads.copy_out(&file, work.path()).unwrap());
        assert_eq!(fs_err::read_to_string(&place).unwrap(), "right");
        let package = file.package().unwrap();
        let found = downloads.find(&package).unwrap().unwrap();
        assert_eq!((found.size, found.package()), (5, Some(package.clone())));
        let missing = ListedPackage {
            sha256: "00".repeat(32),
            ..package
        };
        assert_eq!(downloads.find(&missing).unwrap(), None);
        let cached = cache.path().join("files").join(&file.sha256);
        fs_err::write(cached, "wrong").unwrap();
        assert!(!downloads.copy_out(&file, work.path()).unwrap());
        assert_eq!(fs_err::read_to_string(&place).unwrap(), "right");
        let left = fs_err::read_dir(cache.path().join("files")).unwrap();
        assert_eq!(left.count(), 1);
    }
}
