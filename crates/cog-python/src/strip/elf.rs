//! The tables of an ELF file, as far as taking sections out of it needs them: 64 bits, little endian, for a loader.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

pub(super) const HEADER_SIZE: usize = 64;
const SEGMENT_SIZE: usize = 56;
pub(super) const SECTION_SIZE: usize = 64;

/// A file of this kind can be loaded anywhere: libraries, and most programs.
const SHARED: u64 = 3;
/// From here on, numbers of sections have other meanings.
const MAX_SECTIONS: u64 = 0xff00;
const MANY_SEGMENTS: u64 = 0xffff;
/// Longer names of sections are no names.
const MAX_NAMES: u64 = 16 << 20;

const LOADED_SEGMENT: u64 = 1;

const SYMBOLS: u64 = 2;
const STRINGS: u64 = 3;
const RELOCATIONS: [u64; 2] = [4, 9];
const NOT_IN_FILE: u64 = 8;
const GROUP: u64 = 17;
const SYMBOL_SECTIONS: u64 = 18;

const LOADED: u64 = 0x2;
const INFO_IS_SECTION: u64 = 0x40;

/// A file's tables. Ranges are inside the file, numbers of sections are those of sections.
#[derive(Debug)]
pub(super) struct Library {
    header: [u8; HEADER_SIZE],
    pub(super) length: u64,
    pub(super) segments_at: u64,
    sections_at: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
    /// The section with the names of sections.
    pub(super) names: usize,
}

/// What the loader maps, or reads.
#[derive(Debug)]
pub(super) struct Segment {
    bytes: [u8; SEGMENT_SIZE],
    kind: u64,
    pub(super) file: Range<u64>,
    alignment: u64,
}

#[derive(Debug)]
pub(super) struct Section {
    bytes: [u8; SECTION_SIZE],
    name: String,
    kind: u64,
    flags: u64,
    pub(super) file: Range<u64>,
    /// A section that belongs to it; 0 for none.
    pub(super) link: usize,
    info: usize,
    /// A power of two.
    pub(super) alignment: u64,
}

impl Library {
    /// The tables of `file`; nothing if it is something else, or contradicts itself.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut header = [0; HEADER_SIZE];
        if length < HEADER_SIZE as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        // The magic number, 64 bits, little endian, the only version.
        if !header.starts_with(b"\x7fELF\x02\x01\x01") || number(&header, 16, 2) != SHARED {
            return Ok(None);
        }
        let sizes = [(52, HEADER_SIZE), (54, SEGMENT_SIZE), (58, SECTION_SIZE)];
        let count = number(&header, 60, 2);
        let names = number(&header, 62, 2);
        if sizes
            .iter()
            .any(|&(at, size)| number(&header, at, 2) != size as u64)
            || count >= MAX_SECTIONS
            || names >= count
        {
            return Ok(None);
        }
        // Programs that have no segments are no programs; with this many, the number is elsewhere.
        let segment_count = number(&header, 56, 2);
        if segment_count == 0 || segment_count == MANY_SEGMENTS {
            return Ok(None);
        }
        let segments_at = number(&header, 32, 8);
        let sections_at = number(&header, 40, 8);
        let Some(segments) = table(file, length, segments_at, segment_count)? else {
            return Ok(None);
        };
        let Some(sections) = table(file, length, sections_at, count)? else {
            return Ok(None);
        };
        let segments = segments.iter().map(|bytes| Segment::read(bytes, length));
        let Some(segments) = segments.collect() else {
            return Ok(None);
        };
        let names = as_index(names);
        let Some(texts) = names_of(file, length, &sections[names])? else {
            return Ok(None);
        };
        let sections = sections
            .iter()
            .map(|bytes| Section::read(bytes, length, as_index(count), &texts));
        let Some(sections) = sections.collect() else {
            return Ok(None);
        };
        Ok(Some(Self {
            header,
            length,
            segments_at,
            sections_at,
            segments,
            sections,
            names,
        }))
    }

    /// What the places of segments in memory and in the file have in common.
    pub(super) fn page(&self) -> u64 {
        let loaded = self
            .segments
            .iter()
            .filter(|one| one.kind == LOADED_SEGMENT);
        loaded.map(|one| one.alignment).fold(8, u64::max)
    }

    pub(super) fn segment_table(&self) -> Range<u64> {
        self.segments_at..self.segments_at + (self.segments.len() * SEGMENT_SIZE) as u64
    }

    pub(super) fn section_table(&self) -> Range<u64> {
        self.sections_at..self.sections_at + (self.sections.len() * SECTION_SIZE) as u64
    }

    /// The header with other places of the tables.
    pub(super) fn header_with(
        &self,
        segments_at: u64,
        sections_at: u64,
        sections: usize,
        names: usize,
    ) -> [u8; HEADER_SIZE] {
        let mut header = self.header;
        set(&mut header, 32, 8, segments_at);
        set(&mut header, 40, 8, sections_at);
        set(&mut header, 60, 2, sections as u64);
        set(&mut header, 62, 2, names as u64);
        header
    }
}

impl Segment {
    fn read(bytes: &[u8; SEGMENT_SIZE], length: u64) -> Option<Self> {
        let start = number(bytes, 8, 8);
        let size = number(bytes, 32, 8);
        let kind = number(bytes, 0, 4);
        let alignment = number(bytes, 48, 8).max(1);
        let file = start..start.checked_add(size)?;
        let is_there = size == 0 || file.end <= length;
        (is_there && alignment.is_power_of_two()).then_some(Self {
            bytes: *bytes,
            kind,
            file,
            alignment,
        })
    }

    /// Whether its place in the file counts.
    pub(super) fn is_in_file(&self) -> bool {
        !self.file.is_empty() || self.kind == LOADED_SEGMENT
    }

    pub(super) fn bytes_at(&self, offset: u64) -> [u8; SEGMENT_SIZE] {
        let mut bytes = self.bytes;
        set(&mut bytes, 8, 8, offset);
        bytes
    }
}

impl Section {
    fn read(bytes: &[u8; SECTION_SIZE], length: u64, count: usize, names: &[u8]) -> Option<Self> {
        let kind = number(bytes, 4, 4);
        let start = number(bytes, 24, 8);
        let size = if kind == NOT_IN_FILE {
            0
        } else {
            number(bytes, 32, 8)
        };
        let name = names.get(as_index(number(bytes, 0, 4))..)?;
        let name = name.split(|&byte| byte == 0).next()?;
        let section = Self {
            bytes: *bytes,
            name: String::from_utf8_lossy(name).into_owned(),
            kind,
            flags: number(bytes, 8, 8),
            file: start..start.checked_add(size)?,
            link: as_index(number(bytes, 40, 4)),
            info: as_index(number(bytes, 44, 4)),
            alignment: number(bytes, 48, 8).max(1),
        };
        let is_there = size == 0 || section.file.end <= length;
        let is_sound = section.link < count
            && section.target().is_none_or(|target| target < count)
            && section.alignment.is_power_of_two();
        (is_there && is_sound).then_some(section)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.flags & LOADED != 0
    }

    pub(super) fn is_in_file(&self) -> bool {
        !self.file.is_empty()
    }

    pub(super) fn is_strings(&self) -> bool {
        self.kind == STRINGS
    }

    pub(super) fn is_group(&self) -> bool {
        self.kind == GROUP
    }

    pub(super) fn is_symbols(&self) -> bool {
        matches!(self.kind, SYMBOLS | SYMBOL_SECTIONS)
    }

    pub(super) fn is_debugging(&self) -> bool {
        const BEGINNINGS: [&str; 3] = [".debug_", ".zdebug_", ".gnu.debuglto_"];
        let begins = |beginning: &&str| self.name.starts_with(beginning);
        self.name == ".gdb_index" || BEGINNINGS.iter().any(begins)
    }

    /// The section that it is about.
    pub(super) fn target(&self) -> Option<usize> {
        let names_one = self.flags & INFO_IS_SECTION != 0 || RELOCATIONS.contains(&self.kind);
        (names_one && self.info != 0).then_some(self.info)
    }

    /// The entry with another place, and the numbers that sections have now.
    pub(super) fn bytes_at(
        &self,
        offset: u64,
        renumbered: impl Fn(usize) -> usize,
    ) -> [u8; SECTION_SIZE] {
        let mut bytes = self.bytes;
        set(&mut bytes, 24, 8, offset);
        set(&mut bytes, 40, 4, renumbered(self.link) as u64);
        if let Some(target) = self.target() {
            set(&mut bytes, 44, 4, renumbered(target) as u64);
        }
        bytes
    }
}

/// The entries of a table; nothing if it is not in the file.
fn table<const SIZE: usize>(
    file: &File,
    length: u64,
    at: u64,
    count: u64,
) -> io::Result<Option<Vec<[u8; SIZE]>>> {
    let end = at.checked_add(count * SIZE as u64);
    if end.is_none_or(|end| end > length) {
        return Ok(None);
    }
    let mut bytes = vec![0; as_index(count) * SIZE];
    file.read_exact_at(&mut bytes, at)?;
    let entries = bytes.chunks_exact(SIZE);
    let entries = entries.map(|entry| entry.try_into().expect("it is as long"));
    Ok(Some(entries.collect()))
}

fn names_of(file: &File, length: u64, section: &[u8; SECTION_SIZE]) -> io::Result<Option<Vec<u8>>> {
    let (start, size) = (number(section, 24, 8), number(section, 32, 8));
    let end = start.checked_add(size);
    let is_there = end.is_some_and(|end| end <= length) && size <= MAX_NAMES;
    if !is_there || number(section, 4, 4) != STRINGS {
        return Ok(None);
    }
    let mut names = vec![0; as_index(size)];
    file.read_exact_at(&mut names, start)?;
    Ok(Some(names))
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let digits = bytes[at..at + size].iter().rev();
    digits.fold(0, |number, &digit| number << 8 | u64::from(digit))
}

fn set(bytes: &mut [u8], at: usize, size: usize, value: u64) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// A number of at most four bytes.
fn as_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
