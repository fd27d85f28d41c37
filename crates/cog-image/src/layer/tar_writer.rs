//! Writes tar archives whose bytes depend on nothing but the entries given.
//!
//! POSIX ustar headers; an extended (PAX) header only for a name or link target that does not fit, so
//! that ordinary layers stay readable by anything. Not the `tar` crate's builder: that writes GNU
//! extensions and decides by itself.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

const BLOCK: usize = 512;
const NAME: std::ops::Range<usize> = 0..100;
const LINK: std::ops::Range<usize> = 157..257;
const PREFIX: std::ops::Range<usize> = 345..500;

/// Permissions, owner and time of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch; times before it are written as the epoch.
    pub(crate) mtime: i64,
}

/// A tar archive being written to `out`.
pub(crate) struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// `path` has no trailing slash.
    pub(crate) fn directory(&mut self, path: &[u8], meta: Meta) -> io::Result<()> {
        let mut name = path.to_vec();
        name.push(b'/');
        self.header(EntryType::Directory, &name, b"", 0, meta)
    }

    pub(crate) fn symlink(&mut self, path: &[u8], target: &[u8], meta: Meta) -> io::Result<()> {
        self.header(EntryType::Symlink, path, target, 0, meta)
    }

    pub(crate) fn hard_link(&mut self, path: &[u8], target: &[u8], meta: Meta) -> io::Result<()> {
        self.header(EntryType::Link, path, target, 0, meta)
    }

    pub(crate) fn fifo(&mut self, path: &[u8], meta: Meta) -> io::Result<()> {
        self.header(EntryType::Fifo, path, b"", 0, meta)
    }

    pub(crate) fn bytes(&mut self, path: &[u8], meta: Meta, content: &[u8]) -> io::Result<()> {
        self.header(EntryType::Regular, path, b"", content.len() as u64, meta)?;
        self.out.write_all(content)?;
        self.pad(content.len() as u64)
    }

    /// Only the header of a file: the caller writes content and padding.
    pub(crate) fn file_header(&mut self, path: &[u8], meta: Meta, size: u64) -> io::Result<()> {
        self.header(EntryType::Regular, path, b"", size, meta)
    }

    /// Writes `size` bytes of `content`. Returns whether it had exactly that many; if not, the archive
    /// is of no use.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        meta: Meta,
        size: u64,
        content: &mut impl Read,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        self.header(EntryType::Regular, path, b"", size, meta)?;
        let mut written = 0;
        loop {
            match content.read(buffer) {
                Ok(0) => break,
                Ok(read) => {
                    written += read as u64;
                    if written > size {
                        return Ok(false);
                    }
                    self.out.write_all(&buffer[..read])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)?;
        Ok(written == size)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
        size: u64,
        meta: Meta,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        if !put_name(&mut header, path) {
            push_record(&mut records, "path", path);
        }
        let room = LINK.len();
        header.as_mut_bytes()[LINK][..link.len().min(room)]
            .copy_from_slice(&link[..link.len().min(room)]);
        if link.len() > room {
            push_record(&mut records, "linkpath", link);
        }
        if !records.is_empty() {
            self.extended_header(path, &records, meta)?;
        }
        self.block(&mut header, kind, size, meta)
    }

    fn extended_header(&mut self, path: &[u8], records: &[u8], meta: Meta) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let base = path
            .strip_suffix(b"/")
            .unwrap_or(path)
            .rsplit(|b| *b == b'/')
            .next()
            .unwrap_or(path);
        let mut name = b"PaxHeaders.0/".to_vec();
        name.extend(base.iter().take(NAME.len() - name.len()));
        header.as_mut_bytes()[NAME][..name.len()].copy_from_slice(&name);
        let meta = Meta {
            mode: 0o644,
            ..meta
        };
        self.block(&mut header, EntryType::XHeader, records.len() as u64, meta)?;
        self.out.write_all(records)?;
        self.pad(records.len() as u64)
    }

    /// Numbers too large for their octal field are written in base 256, which all readers know.
    fn block(
        &mut self,
        header: &mut Header,
        kind: EntryType,
        size: u64,
        meta: Meta,
    ) -> io::Result<()> {
        header.set_entry_type(kind);
        header.set_mode(meta.mode & 0o7777);
        header.set_uid(meta.uid.into());
        header.set_gid(meta.gid.into());
        header.set_mtime(meta.mtime.try_into().unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

/// Writes `path` into the name and prefix fields, cut short where it does not fit. Returns whether it
/// did.
fn put_name(header: &mut Header, path: &[u8]) -> bool {
    let bytes = header.as_mut_bytes();
    if path.len() <= NAME.len() {
        bytes[NAME][..path.len()].copy_from_slice(path);
        return true;
    }
    // Any slash that leaves both parts short enough will do; the last one is the canonical choice. A
    // trailing slash belongs to the name.
    let split = path[..path.len() - 1]
        .iter()
        .rposition(|b| *b == b'/')
        .filter(|at| (1..=PREFIX.len()).contains(at) && path.len() - at - 1 <= NAME.len());
    if let Some(at) = split {
        bytes[PREFIX][..at].copy_from_slice(&path[..at]);
        bytes[NAME][..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
        return true;
    }
    bytes[NAME].copy_from_slice(&path[..NAME.len()]);
    false
}

/// A PAX record is `<length> <key>=<value>\n`, where the length counts its own digits.
fn push_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").bytes());
    records.extend(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
    };

    #[test]
    fn record_length_counts_itself() {
        for value in [1, 89, 90, 91, 92, 93, 989, 990, 991, 992, 993] {
            let mut records = Vec::new();
            push_record(&mut records, "path", &vec![b'x'; value]);
            let text = String::from_utf8(records).unwrap();
            let length: usize = text.split_once(' ').unwrap().0.parse().unwrap();
            assert_eq!(length, text.len());
        }
    }

    #[test]
    fn other_readers_see_the_same_names() {
        let names = [
            "short".to_owned(),
            "d/".repeat(49) + "exactly-100-or-less",
            "a".repeat(100),
            "a".repeat(101),
            format!("{}/{}", "p".repeat(155), "n".repeat(100)),
            format!("{}/{}", "p".repeat(156), "n".repeat(100)),
            "deep/".repeat(200) + "file",
        ];
        let mut writer = TarWriter::new(Vec::new());
        for name in &names {
            writer
                .bytes(name.as_bytes(), META, name.as_bytes())
                .unwrap();
        }
        writer
            .symlink(b"link", "t".repeat(300).as_bytes(), META)
            .unwrap();
        writer.directory("d".repeat(100).as_bytes(), META).unwrap();
        let bytes = writer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            seen.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
            if entry.header().entry_type() == EntryType::Symlink {
                assert_eq!(entry.link_name_bytes().unwrap().len(), 300);
            } else if entry.header().entry_type() == EntryType::Regular {
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                assert_eq!(content, *seen.last().unwrap());
            }
        }
        assert_eq!(seen[..names.len()], names);
        assert_eq!(
            seen[names.len()..],
            ["link".to_owned(), "d".repeat(100) + "/"]
        );
    }

    #[test]
    fn a_file_of_another_size_is_noticed() {
        for (size, exact) in [(3, false), (4, true), (5, false)] {
            let mut writer = TarWriter::new(io::sink());
            let written = writer
                .file(b"f", META, size, &mut &b"four"[..], &mut [0; 3])
                .unwrap();
            assert_eq!(written, exact, "{size}");
        }
    }
}
