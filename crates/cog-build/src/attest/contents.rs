//! Which packages an image holds, read from its files.
//!
//! Whoever made them: packages of the base count as much as ours. What is read is foreign text, so what can't be
//! understood is left out.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use cog_debian::{InstalledPackage, installed};
use cog_image::{Rootfs, Store, StoredImage};
use cog_python::freeze::Freeze;
use cog_python::installations;
use sha2::{Digest as _, Sha256};

use crate::error::Result;
use crate::image_files::{ImageFiles, is_word};
use crate::sdk::VERSION;

/// Databases of packages are much smaller.
const MAX_TEXT: u64 = 64 << 20;

/// The server's program.
const SERVER: &str = "usr/local/bin/coglet";

/// The packages of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) distribution: Option<Distribution>,
    pub(super) system: Vec<InstalledPackage>,
    /// Sorted; the same in several places counts once.
    pub(super) python: Vec<Freeze>,
    pub(super) server: Option<Server>,
}

/// What the base calls itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    /// Such as `debian`.
    pub(super) id: String,
    /// Such as `12`.
    pub(super) version: String,
}

/// Our server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// Of the program, hexadecimal.
    pub(super) sha256: String,
}

impl Contents {
    /// Layers that are in a registry are fetched, those that are packed are unpacked.
    pub(super) fn of(store: &Store, image: &StoredImage) -> Result<Self> {
        let root = store.rootfs(&image.layers)?;
        Ok(Self {
            distribution: Distribution::of(&root),
            system: system(&root),
            python: python(&root),
            server: server(&root)?,
        })
    }
}

impl Distribution {
    fn of(root: &Rootfs) -> Option<Self> {
        let file = root.resolve("etc/os-release")?;
        let text = String::from_utf8(root.read(file, MAX_TEXT)?).ok()?;
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            Some(value.trim_matches(['"', '\'']).to_owned())
        };
        Some(Self {
            id: field("ID")?,
            version: field("VERSION_ID").unwrap_or_default(),
        })
    }
}

fn system(root: &Rootfs) -> Vec<InstalledPackage> {
    let folder = Path::new("var/lib/dpkg/status.d");
    let single = root.names(folder).into_iter().map(|name| folder.join(name));
    let files = [PathBuf::from("var/lib/dpkg/status")]
        .into_iter()
        .chain(single);
    let texts = files.filter_map(|file| root.read(file, MAX_TEXT));
    let mut found: Vec<InstalledPackage> = texts.flat_map(|text| installed(&text)).collect();
    found.retain(|one| {
        [&one.name, &one.version, &one.architecture]
            .into_iter()
            .all(|word| is_word(word))
    });
    found.sort();
    found.dedup();
    found
}

fn python(root: &Rootfs) -> Vec<Freeze> {
    let mut found = installations::everything(&ImageFiles(root));
    found.retain(|one| is_word(&one.name) && is_word(&one.version));
    found
}

/// The server is ours if it is where builds put it.
fn server(root: &Rootfs) -> Result<Option<Server>> {
    let Some(file) = root.find(SERVER) else {
        return Ok(None);
    };
    let mut file = fs_err::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(Some(Server {
        version: VERSION.to_owned(),
        sha256: hex::encode(hash.finalize()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_does_not_become_one() {
        assert!(is_word("torch") && is_word("2.5.1+cu124") && is_word("1:2.36-9+deb12u10"));
        for word in ["a\u{1b}[31m", "a\nb", &"9".repeat(10_000_000)] {
            assert!(!is_word(word));
        }
    }
}
