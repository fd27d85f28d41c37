//! Takes out of shared libraries what only debuggers and linkers read, as `strip` does; images have no such program.
//!
//! What is loaded keeps its bytes, and its place on its pages. A file that is not understood in all its parts stays as
//! it is: the result could be a library that does not load. Files come from anywhere, so every number in them is
//! checked before it is used.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

mod elf;
mod layout;

use elf::{Library, SECTION_SIZE, Section};
use layout::{Block, Layout};

/// A library as it will be.
#[derive(Debug)]
pub struct Stripped {
    library: Library,
    removed: Vec<bool>,
    /// Numbers of the sections that keep an entry in the table.
    listed: Vec<usize>,
    layout: Layout,
}

/// Whether the name is one that shared libraries have: `a.so`, `a.so.1.2`.
pub fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let versions = match name.rsplit_once(".so") {
        Some((stem, versions)) if !stem.is_empty() => versions,
        _ => return false,
    };
    let mut parts = versions.split('.');
    parts.next() == Some("")
        && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Stripped {
    /// What becomes of the library in `file`; nothing if it is none, not understood, or has nothing to take out.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let Some(library) = Library::read(file)? else {
            return Ok(None);
        };
        let removed = removed(&library);
        if !removed.contains(&true) || !can_be_left_out(&library, &removed) {
            return Ok(None);
        }
        // The loader's symbols name sections by their numbers: below the last section that is loaded, those that go
        // leave an empty entry.
        let loaded = library.sections.iter().rposition(Section::is_loaded);
        let listed: Vec<usize> = (0..library.sections.len())
            .filter(|&number| !removed[number] || loaded.is_some_and(|last| number < last))
            .collect();
        let size = listed.len() * SECTION_SIZE;
        let Some(layout) = Layout::new(blocks(&library, &removed), size) else {
            return Ok(None);
        };
        let nothing_lost = only_zeros(file, &unknown(&library, &removed, layout.blocks()))?;
        if !nothing_lost || layout.length() >= library.length {
            return Ok(None);
        }
        Ok(Some(Self {
            library,
            removed,
            listed,
            layout,
        }))
    }

    /// Writes the library that was read from `file` to the empty file `target`.
    pub fn write(&self, file: &File, target: &mut File) -> io::Result<()> {
        for block in self.layout.blocks() {
            target.seek(SeekFrom::Start(block.target))?;
            let mut source = file;
            source.seek(SeekFrom::Start(block.source.start))?;
            let length = block.source.end - block.source.start;
            let copied = io::copy(&mut source.take(length), target)?;
            if copied != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.write_headers(target)?;
        target.flush()
    }

    fn write_headers(&self, target: &File) -> io::Result<()> {
        let library = &self.library;
        let number = |old: usize| self.listed.partition_point(|&listed| listed < old);
        let header = library.header_with(
            self.layout.moved(library.segments_at),
            self.layout.sections_at(),
            self.listed.len(),
            number(library.names),
        );
        target.write_all_at(&header, 0)?;
        let mut segments = Vec::new();
        for segment in &library.segments {
            segments.extend(segment.bytes_at(self.layout.moved(segment.file.start)));
        }
        target.write_all_at(&segments, self.layout.moved(library.segments_at))?;
        let mut sections = Vec::new();
        for &listed in &self.listed {
            let section = &library.sections[listed];
            let offset = self.layout.moved(section.file.start);
            sections.extend(if self.removed[listed] {
                [0; SECTION_SIZE]
            } else {
                section.bytes_at(offset, number)
            });
        }
        target.write_all_at(&sections, self.layout.sections_at())
    }
}

/// Which sections are for debuggers and linkers alone.
fn removed(library: &Library) -> Vec<bool> {
    let sections = &library.sections;
    let mut removed: Vec<bool> = sections
        .iter()
        .map(|section| !section.is_loaded() && (section.is_symbols() || section.is_debugging()))
        .collect();
    let of_removed: Vec<bool> = sections
        .iter()
        .map(|section| {
            !section.is_loaded() && section.target().is_some_and(|number| removed[number])
        })
        .collect();
    for (number, is) in of_removed.into_iter().enumerate() {
        removed[number] |= is;
    }
    // Names of symbols, if all these symbols go.
    let mut users = vec![Users::None; sections.len()];
    for (section, &goes) in sections.iter().zip(&removed) {
        let user = &mut users[section.link];
        *user = match (*user, goes) {
            (Users::None | Users::Go, true) => Users::Go,
            _ => Users::Stay,
        };
    }
    for (number, section) in sections.iter().enumerate() {
        removed[number] |= users[number] == Users::Go
            && section.is_strings()
            && !section.is_loaded()
            && number != library.names;
    }
    removed
}

/// What becomes of the sections that a section belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Users {
    /// There are none.
    None,
    /// All go.
    Go,
    /// Some stay.
    Stay,
}

/// Whether nothing that stays speaks of what goes.
fn can_be_left_out(library: &Library, removed: &[bool]) -> bool {
    let sections = library.sections.iter().zip(removed);
    let mut kept = sections.filter(|(_, removed)| !**removed);
    kept.all(|(section, _)| {
        !removed[section.link]
            && section.target().is_none_or(|target| !removed[target])
            && !section.is_group()
    })
}

/// The parts of the file that stay.
fn blocks(library: &Library, removed: &[bool]) -> Vec<Block> {
    let page = library.page();
    let headers = [
        Block::new(0..elf::HEADER_SIZE as u64, page),
        Block::new(library.segment_table(), page),
    ];
    let segments = library.segments.iter().filter(|one| one.is_in_file());
    let segments = segments.map(|segment| Block::new(segment.file.clone(), page));
    let sections = kept_sections(library, removed)
        .map(|section| Block::new(section.file.clone(), section.alignment));
    headers
        .into_iter()
        .chain(segments)
        .chain(sections)
        .collect()
}

fn kept_sections<'a>(
    library: &'a Library,
    removed: &'a [bool],
) -> impl Iterator<Item = &'a Section> {
    let sections = library.sections.iter().zip(removed);
    sections
        .filter(|(section, removed)| !**removed && section.is_in_file())
        .map(|(section, _)| section)
}

/// The parts of the file that nothing describes.
fn unknown(library: &Library, removed: &[bool], blocks: &[Block]) -> Vec<Range<u64>> {
    let going = library.sections.iter().zip(removed);
    let going = going
        .filter(|(section, removed)| **removed && section.is_in_file())
        .map(|(section, _)| section.file.clone());
    let mut known: Vec<Range<u64>> = blocks
        .iter()
        .map(|block| block.source.clone())
        .chain(going)
        .chain([library.section_table()])
        .collect();
    known.sort_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut end = 0;
    for range in known {
        if range.start > end {
            gaps.push(end..range.start);
        }
        end = end.max(range.end);
    }
    if end < library.length {
        gaps.push(end..library.length);
    }
    gaps
}

fn only_zeros(file: &File, ranges: &[Range<u64>]) -> io::Result<bool> {
    const PIECE: u64 = 64 * 1024;
    let mut buffer = Vec::new();
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(PIECE);
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            file.read_exact_at(&mut buffer, at)?;
            if buffer.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += length;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
