//! Shared libraries of a driver: the name by which programs ask for each, read from the file.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Entries of a header or a dynamic section that are looked at; real files have some dozens.
const MAX_ENTRIES: usize = 4096;
const MAX_NAME: usize = 255;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const ET_DYN: u16 = 3;

/// A library in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Library {
    /// What programs ask for, such as `libcuda.so.1`.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: String,
    /// What the loader's cache says of its machine.
    pub(crate) flags: u32,
}

impl Library {
    /// The library `source`, which the container has at `target`; `None` for anything else.
    pub(super) fn read(source: &Path, target: &Path) -> Option<Self> {
        let name = target.file_name()?.to_str()?;
        if !name.contains(".so") {
            return None;
        }
        let file = fs_err::File::open(source).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let (flags, soname) = Elf::read(&file.into())?;
        Some(Self {
            name: soname.unwrap_or_else(|| name.to_owned()),
            path: target.to_str()?.to_owned(),
            flags,
        })
    }

    /// All libraries right in a folder.
    pub(super) fn read_folder(source: &Path, target: &Path) -> Vec<Self> {
        let Ok(entries) = fs_err::read_dir(source) else {
            return Vec::new();
        };
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Self::read(&entry.path(), &target.join(entry.file_name()))
            })
            .collect();
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }
}

struct Elf<'a> {
    file: &'a std::fs::File,
    /// Of each loaded part: address, place in the file, size.
    loaded: Vec<(u64, u64, u64)>,
}

impl<'a> Elf<'a> {
    /// The cache's flags for the machine that the library is for, and the name it gives itself.
    fn read(file: &'a std::fs::File) -> Option<(u32, Option<String>)> {
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0).ok()?;
        // ELF, 64 bits, little-endian.
        if header[..6] != *b"\x7fELF\x02\x01" || u16_at(&header, 16) != ET_DYN {
            return None;
        }
        let flags = match u16_at(&header, 18) {
            62 => 0x0303,  // x86-64
            183 => 0x0a03, // aarch64
            _ => return None,
        };
        let mut elf = Elf {
            file,
            loaded: Vec::new(),
        };
        let dynamic = elf.read_parts(&header)?;
        Some((flags, elf.soname(dynamic)))
    }

    /// Notes what is loaded; gives place and size of the dynamic section.
    fn read_parts(&mut self, header: &[u8; 64]) -> Option<(u64, u64)> {
        let (start, size, count) = (
            u64_at(header, 32),
            u64::from(u16_at(header, 54)),
            usize::from(u16_at(header, 56)),
        );
        let mut dynamic = None;
        for index in 0..count.min(MAX_ENTRIES) as u64 {
            let mut part = [0; 56];
            let place = start.checked_add(index * size)?;
            self.file.read_exact_at(&mut part, place).ok()?;
            let (offset, address, length) =
                (u64_at(&part, 8), u64_at(&part, 16), u64_at(&part, 32));
            match u32_at(&part, 0) {
                PT_LOAD => self.loaded.push((address, offset, length)),
                PT_DYNAMIC => dynamic = Some((offset, length)),
                _ => {}
            }
        }
        dynamic
    }

    fn soname(&self, (start, size): (u64, u64)) -> Option<String> {
        let (mut strings, mut name) = (None, None);
        for index in 0..(size / 16).min(MAX_ENTRIES as u64) {
            let mut entry = [0; 16];
            let place = start.checked_add(index * 16)?;
            self.file.read_exact_at(&mut entry, place).ok()?;
            match u64_at(&entry, 0) {
                0 => break,
                DT_STRTAB => strings = Some(u64_at(&entry, 8)),
                DT_SONAME => name = Some(u64_at(&entry, 8)),
                _ => {}
            }
        }
        let place = self.place(strings?)?.checked_add(name?)?;
        let mut text = [0; MAX_NAME + 1];
        let length = self.file.read_at(&mut text, place).ok()?;
        let end = text[..length].iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&text[..end]).ok()?;
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    }

    /// Where in the file an address is.
    fn place(&self, address: u64) -> Option<u64> {
        self.loaded
            .iter()
            .find(|(start, _, size)| address >= *start && address - start < *size)
            .and_then(|(start, offset, _)| offset.checked_add(address - start))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The smallest library with a name of its own, for tests.
#[cfg(test)]
pub(super) fn fake(soname: &str) -> Vec<u8> {
    let mut file = vec![0; 64 + 2 * 56 + 3 * 16];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    put(16, &ET_DYN.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    // Everything is loaded at 0x1000.
    put(64, &PT_LOAD.to_le_bytes());
    put(64 + 16, &0x1000_u64.to_le_bytes());
    put(64 + 32, &0x1000_u64.to_le_bytes());
    let dynamic = 64 + 2 * 56_u64;
    put(120, &PT_DYNAMIC.to_le_bytes());
    put(120 + 8, &dynamic.to_le_bytes());
    put(120 + 32, &48_u64.to_le_bytes());
    let strings = 0x1000 + dynamic + 48;
    for (index, word) in [DT_STRTAB, strings, DT_SONAME, 1].into_iter().enumerate() {
        put(176 + 8 * index, &word.to_le_bytes());
    }
    file.push(0);
    file.extend(soname.as_bytes());
    file.push(0);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], name: &str) -> Option<Library> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, content).unwrap();
        Library::read(&path, &Path::new("/lib").join(name))
    }

    #[test]
    fn a_library_says_its_name() {
        let library = read(&fake("libcuda.so.1"), "libcuda.so.550.54.15").unwrap();
        assert_eq!(
            (library.name.as_str(), library.path.as_str()),
            ("libcuda.so.1", "/lib/libcuda.so.550.54.15")
        );
        assert_eq!(read(&fake("libcuda.so.1"), "notes.txt"), None);
        assert_eq!(read(b"#!/bin/sh", "x.so"), None);
    }

    #[test]
    fn a_real_library_is_read() {
        let cache = LoaderCacheOfHost::names();
        for (name, path) in cache.iter().filter(|(name, _)| name.starts_with("libc.so")) {
            let library = Library::read(Path::new(path), Path::new(path)).unwrap();
            assert_eq!(library.name, *name);
        }
    }

    struct LoaderCacheOfHost;

    impl LoaderCacheOfHost {
        fn names() -> Vec<(String, String)> {
            let Ok(bytes) = fs_err::read("/etc/ld.so.cache") else {
                return Vec::new();
            };
            super::super::LoaderCache::parse(&bytes)
                .libraries()
                .map(|(name, path, _)| (name.to_owned(), path.to_owned()))
                .collect()
        }
    }

    #[test]
    fn no_broken_file_does_harm() {
        let whole = fake("libcuda.so.1");
        for length in 0..whole.len() {
            let _ = read(&whole[..length], "x.so");
        }
        for at in 16..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = read(&broken, "x.so");
            }
        }
    }
}
