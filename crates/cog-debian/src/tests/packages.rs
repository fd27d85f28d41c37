//! Makes package files, proper and hostile ones.

use std::io::Write as _;

/// What a package consists of.
pub(crate) struct DebFile<'a> {
    pub(crate) entries: &'a [Entry<'a>],
    pub(crate) control: &'a str,
    /// Further files of the control data.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// Names of the members, which say how they are compressed.
    pub(crate) control_name: &'a str,
    pub(crate) data_name: &'a str,
}

impl Default for DebFile<'_> {
    fn default() -> Self {
        Self {
            entries: &[],
            control: "Package: a\nVersion: 1\nArchitecture: all\n",
            files: &[],
            control_name: "control.tar",
            data_name: "data.tar",
        }
    }
}

/// An entry of a `tar` archive, however odd.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) path: &'a str,
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) target: &'a str,
    pub(crate) content: &'a str,
}

impl<'a> Entry<'a> {
    pub(crate) fn file(path: &'a str, content: &'a str) -> Self {
        Self {
            content,
            ..Self::new(path, b'0')
        }
    }

    pub(crate) fn directory(path: &'a str, mode: u32) -> Self {
        Self {
            mode,
            ..Self::new(path, b'5')
        }
    }

    pub(crate) fn link(path: &'a str, target: &'a str) -> Self {
        Self {
            target,
            ..Self::new(path, b'2')
        }
    }

    pub(crate) fn hard_link(path: &'a str, target: &'a str) -> Self {
        Self {
            target,
            ..Self::new(path, b'1')
        }
    }

    pub(crate) fn special(path: &'a str, kind: u8) -> Self {
        Self::new(path, kind)
    }

    fn new(path: &'a str, kind: u8) -> Self {
        Self {
            path,
            kind,
            mode: 0o644,
            target: "",
            content: "",
        }
    }

    /// Header and content. Written by hand, as the crate refuses to write paths that it would refuse to read.
    fn bytes(&self) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(self.mode);
        header.set_size(self.content.len() as u64);
        header.set_entry_type(tar::EntryType::new(self.kind));
        let raw = header.as_mut_bytes();
        raw[..self.path.len()].copy_from_slice(self.path.as_bytes());
        raw[157..157 + self.target.len()].copy_from_slice(self.target.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(self.content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// The bytes of a package file.
pub(crate) fn deb(package: &DebFile<'_>) -> Vec<u8> {
    let mut control = vec![Entry::file("./control", package.control)];
    control.extend(
        package
            .files
            .iter()
            .map(|(name, content)| Entry::file(name, content)),
    );
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        (
            package.control_name,
            compressed(package.control_name, archive(&control)),
        ),
        (
            package.data_name,
            compressed(package.data_name, archive(package.entries)),
        ),
    ] {
        let size = content.len();
        writeln!(
            bytes,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
            0, 0, 0, 100_644
        )
        .unwrap();
        bytes.extend_from_slice(&content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn compressed(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    match name.rsplit('.').next() {
        Some("gz") => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("xz") => xz(&bytes),
        Some("zst") => zstd::encode_all(bytes.as_slice(), 1).unwrap(),
        _ => bytes,
    }
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
