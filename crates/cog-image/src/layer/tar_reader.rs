//! Reads tar archives that nobody vouches for.
//!
//! Understands ustar, GNU long names and PAX, which is what layers come in. Everything that could make
//! a reader allocate or loop without bound is limited. Names are handed out as they are: `unpack`
//! decides what is safe.

use std::io::{self, Read};

use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Extended headers hold names and attributes; the largest real ones have a few kilobytes.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// Extended headers for one entry: real ones have a PAX header, or a long name and a long link.
const MAX_EXTENSIONS: usize = 16;
/// Linux's `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// Why an archive could not be read, in words for [`crate::Error::BadArchive`].
pub(crate) type Reason = String;

/// An entry's header. Its content follows in [`TarReader::content`].
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: i64,
}

/// An archive being read from `input`.
pub(crate) struct TarReader<R> {
    input: R,
    /// Bytes of the current entry's content that were not read yet.
    content: u64,
    /// Bytes between the content's end and the next header.
    padding: u64,
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Overrides {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, skipping what is left of the current one. `None` at the archive's end.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, Reason> {
        let mut overrides = Overrides::default();
        for _ in 0..=MAX_EXTENSIONS {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| "a header has no valid size".to_owned())?;
            match header.entry_type() {
                EntryType::XHeader => overrides.apply_pax(&self.extension(size)?)?,
                EntryType::XGlobalHeader => {
                    self.extension(size)?;
                }
                EntryType::GNULongName => overrides.path = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => overrides.link = Some(until_nul(self.extension(size)?)),
                kind => return self.entry(&header, kind, size, overrides).map(Some),
            }
        }
        Err(format!(
            "an entry has more than {MAX_EXTENSIONS} extended headers"
        ))
    }

    /// The current entry's content.
    pub(crate) fn content(&mut self) -> Content<'_, R> {
        Content { reader: self }
    }

    /// The underlying reader; right after [`TarReader::next`], it is at the content.
    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        size: u64,
        overrides: Overrides,
    ) -> Result<TarEntry, Reason> {
        let size = overrides.size.unwrap_or(size);
        // Old archives mark directories by a trailing slash only. Links may carry a size, but no data.
        let path = overrides
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = overrides
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        if path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(format!("a name is longer than {MAX_PATH} bytes"));
        }
        let kind = match kind {
            EntryType::Regular if path.ends_with(b"/") => EntryType::Directory,
            EntryType::Continuous => EntryType::Regular,
            kind => kind,
        };
        let size = if kind == EntryType::Regular { size } else { 0 };
        self.begin(size);
        let number = |value: io::Result<u64>| value.unwrap_or(0);
        Ok(TarEntry {
            path,
            link,
            kind,
            size,
            mode: header
                .mode()
                .map_err(|_| "a header has no valid mode".to_owned())?
                & 0o7777,
            uid: overrides.uid.unwrap_or_else(|| number(header.uid())),
            gid: overrides.gid.unwrap_or_else(|| number(header.gid())),
            mtime: overrides
                .mtime
                .unwrap_or_else(|| i64::try_from(number(header.mtime())).unwrap_or(i64::MAX)),
        })
    }

    fn begin(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn header(&mut self) -> Result<Option<Header>, Reason> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err("it ends within a header".into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        // One zero block is enough of an end: some writers leave the second one out.
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum counts its own field as spaces.
        let sum: u32 = block[..148]
            .iter()
            .chain(&block[156..])
            .copied()
            .map(u32::from)
            .sum();
        if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
            return Err("a header's checksum is wrong".into());
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Reason> {
        if size > MAX_EXTENSION {
            return Err(format!("an extended header has {size} bytes"));
        }
        self.begin(size);
        let mut bytes = Vec::new();
        self.content()
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), Reason> {
        let left = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        if left > 0 {
            let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink());
            if skipped.map_err(|error| error.to_string())? < left {
                return Err("it ends within an entry".into());
            }
        }
        Ok(())
    }
}

/// Content of the current entry. Ending early is an error, not an end.
pub(crate) struct Content<'a, R> {
    reader: &'a mut TarReader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.reader.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if left == 0 {
            return Ok(0);
        }
        let read = self.reader.input.read(&mut buffer[..left])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it ends within an entry",
            ));
        }
        self.reader.content -= read as u64;
        Ok(read)
    }
}

impl Overrides {
    fn apply_pax(&mut self, mut records: &[u8]) -> Result<(), Reason> {
        while !records.is_empty() {
            let (record, rest) = split_record(records).ok_or("a PAX header is malformed")?;
            records = rest;
            let at = record
                .iter()
                .position(|b| *b == b'=')
                .ok_or("a PAX header is malformed")?;
            let (key, value) = (&record[..at], &record[at + 1..]);
            let text = || std::str::from_utf8(value).ok();
            let number = || {
                text()
                    .and_then(|text| text.parse().ok())
                    .ok_or("a PAX number is malformed")
            };
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.mtime = text().and_then(whole_seconds),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err("sparse files are not supported".into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Splits `<length> <key>=<value>\n` off.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(8).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let (record, rest) = (length <= records.len()).then(|| records.split_at(length))?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

fn whole_seconds(text: &str) -> Option<i64> {
    text.split('.').next()?.parse().ok()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tar_writer::{Meta, TarWriter};

    fn names(archive: &[u8]) -> Result<Vec<String>, Reason> {
        let mut reader = TarReader::new(archive);
        let mut names = Vec::new();
        while let Some(entry) = reader.next()? {
            names.push(String::from_utf8(entry.path).unwrap());
        }
        Ok(names)
    }

    #[test]
    fn reads_gnu_and_pax_archives() {
        let long = "directory/".repeat(30) + "file";
        let mut gnu = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o600);
        gnu.append_data(&mut header, &long, &b"abc"[..]).unwrap();
        assert_eq!(
            names(&gnu.into_inner().unwrap()).unwrap(),
            std::slice::from_ref(&long)
        );

        let mut ours = TarWriter::new(Vec::new());
        let meta = Meta {
            mode: 0o600,
            uid: 3_000_000,
            gid: 2,
            mtime: 5,
        };
        ours.bytes(long.as_bytes(), meta, b"abc").unwrap();
        let ours = ours.finish().unwrap();
        let mut reader = TarReader::new(&ours[..]);
        let entry = reader.next().unwrap().unwrap();
        assert_eq!(
            (entry.uid, entry.gid, entry.mode, entry.mtime),
            (3_000_000, 2, 0o600, 5)
        );
        let mut content = String::new();
        reader.content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "abc");
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn damage_is_noticed() {
        let mut writer = TarWriter::new(Vec::new());
        let meta = Meta {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        writer.bytes(b"a", meta, &[7; 1000]).unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(
            names(&archive[..100]).unwrap_err(),
            "it ends within a header"
        );
        assert_eq!(
            names(&archive[..900]).unwrap_err(),
            "it ends within an entry"
        );
        let mut flipped = archive.clone();
        flipped[3] ^= 1;
        assert_eq!(names(&flipped).unwrap_err(), "a header's checksum is wrong");
        assert_eq!(names(&archive[..512 + 1024]).unwrap(), ["a"]);
    }

    #[test]
    fn an_extension_cannot_fill_the_memory() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let error = names(header.as_bytes()).unwrap_err();
        assert_eq!(error, "an extended header has 1099511627776 bytes");
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for records in [
            "path",
            "99 path=a\n",
            "9 path=a\n\n\n",
            "x path=a\n",
            "10 size=ab\n",
            " =\n",
        ] {
            assert!(
                Overrides::default().apply_pax(records.as_bytes()).is_err(),
                "{records:?}"
            );
        }
        let mut overrides = Overrides::default();
        overrides
            .apply_pax(b"10 path=a\n18 mtime=12.34567\n")
            .unwrap();
        assert_eq!(overrides.path.as_deref(), Some(&b"a"[..]));
        assert_eq!(overrides.mtime, Some(12));
    }
}
