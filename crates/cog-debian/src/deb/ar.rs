//! The outer archive of a package file.

use std::io::{Read, Seek, SeekFrom};

use super::DebError;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
/// A package has three.
const MAX_MEMBERS: usize = 16;

/// Where a member's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// From the start of the file.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) size: u64,
}

/// The members of the archive, in their order. All of them lie within the file.
pub(super) fn members(reader: &mut (impl Read + Seek)) -> Result<Vec<Member>, DebError> {
    let wrong = |reason| DebError::Container { reason };
    let end = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    let mut magic = [0; MAGIC.len()];
    if reader.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Err(wrong("it does not begin like one"));
    }
    let mut members = Vec::new();
    let mut position = MAGIC.len() as u64;
    while position < end {
        let mut header = [0; HEADER];
        reader.seek(SeekFrom::Start(position))?;
        reader
            .read_exact(&mut header)
            .map_err(|_| wrong("it is cut off"))?;
        let member =
            parse(&header, position).ok_or_else(|| wrong("a member's header is malformed"))?;
        let after = member
            .offset
            .checked_add(member.size)
            .filter(|after| *after <= end);
        // Members start at even positions.
        position = after
            .ok_or_else(|| wrong("it is cut off"))?
            .next_multiple_of(2);
        members.push(member);
        if members.len() > MAX_MEMBERS {
            return Err(wrong("it has too many members"));
        }
    }
    Ok(members)
}

fn parse(header: &[u8; HEADER], position: u64) -> Option<Member> {
    let text = std::str::from_utf8(header).ok()?;
    let (fields, end) = text.split_at_checked(58)?;
    let name = fields.get(..16)?.trim_end().trim_end_matches('/');
    let size = fields.get(48..58)?.trim_end().parse().ok()?;
    (end == "`\n" && !name.is_empty()).then(|| Member {
        name: name.to_owned(),
        offset: position + HEADER as u64,
        size,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn header(name: &str, size: &str) -> Vec<u8> {
        format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
            0, 0, 0, 100_644
        )
        .into_bytes()
    }

    fn archive(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<(String, u64, u64)>, String> {
        let members = members(&mut Cursor::new(bytes)).map_err(|error| error.to_string())?;
        Ok(members
            .into_iter()
            .map(|member| (member.name, member.offset, member.size))
            .collect())
    }

    #[test]
    fn members_start_at_even_positions() {
        let bytes = archive(&[&header("a/", "3"), b"123\n", &header("b", "2"), b"45"]);
        assert_eq!(
            read(bytes).unwrap(),
            [("a".to_owned(), 68, 3), ("b".to_owned(), 132, 2)]
        );
    }

    #[test]
    fn malformed_archives_are_refused() {
        let long = header("a", "9999999999");
        for (bytes, expected) in [
            (b"".to_vec(), "does not begin"),
            (b"PK\x03\x04 something".to_vec(), "does not begin"),
            (archive(&[b"short"]), "cut off"),
            (archive(&[&long, b"123"]), "cut off"),
            (archive(&[&header("a", "-1")]), "header is malformed"),
            (archive(&[&header("a", "x")]), "header is malformed"),
            (archive(&[&header("", "0")]), "header is malformed"),
            (archive(&[&[b' '; 60]]), "header is malformed"),
            (archive(&[&header("a", "0").repeat(40)]), "too many members"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
