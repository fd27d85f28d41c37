//! Reads control files: stanzas of fields, separated by empty lines. One stanza is in memory at a time.

use std::io::{self, BufRead, Read as _};

/// No stanza of the archive is nearly as long; the longest are lists of checksums.
const MAX_STANZA: usize = 16 * 1024 * 1024;

/// Fields in their order. Continuation lines keep their first space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stanza {
    fields: Vec<(String, String)>,
}

impl Stanza {
    /// The value of the field `name`, whose case does not matter.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The only stanza of `text`.
    pub(super) fn parse_single(text: &[u8]) -> io::Result<Self> {
        let mut stanzas = Stanzas::new(text);
        let stanza = stanzas
            .next_stanza(|_| true)?
            .ok_or_else(|| malformed(1, "it is empty"))?;
        match stanzas.next_stanza(|_| true)? {
            None => Ok(stanza),
            Some(_) => Err(malformed(stanzas.line, "a second stanza begins")),
        }
    }
}

/// Reads stanzas one after another.
pub(super) struct Stanzas<R> {
    reader: R,
    buffer: Vec<u8>,
    line: usize,
    /// Of a stanza, in bytes.
    max_length: usize,
}

impl<R: BufRead> Stanzas<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            line: 0,
            max_length: MAX_STANZA,
        }
    }

    /// The next stanza with those of its fields that are `wanted`, or nothing at the end.
    pub(super) fn next_stanza(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Option<Stanza>> {
        let mut stanza = Stanza::default();
        let mut length = 0;
        let (mut seen, mut keep) = (false, false);
        while self.next_line()? {
            let line =
                std::str::from_utf8(&self.buffer).map_err(|_| malformed(self.line, "not UTF-8"))?;
            let line = line.trim_end();
            length += line.len();
            if length > self.max_length {
                return Err(malformed(self.line, "the stanza is too long"));
            }
            if line.is_empty() {
                if seen {
                    break;
                }
            } else if line.starts_with([' ', '\t']) {
                if !seen {
                    return Err(malformed(self.line, "a continuation of nothing"));
                }
                if keep && let Some((_, value)) = stanza.fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if !line.starts_with('#') {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| malformed(self.line, "a field without colon"))?;
                seen = true;
                keep = wanted(name);
                if keep {
                    stanza
                        .fields
                        .push((name.to_owned(), value.trim_start().to_owned()));
                }
            }
        }
        Ok(seen.then_some(stanza))
    }

    /// Reads a line into the buffer; false at the end.
    fn next_line(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        self.line += 1;
        let limit = self.max_length as u64 + 1;
        self.reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.buffer)
            .map(|length| length > 0)
    }
}

fn malformed(line: usize, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("line {line}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> io::Result<Vec<Vec<(String, String)>>> {
        let mut stanzas = Stanzas::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(stanza) = stanzas.next_stanza(|_| true)? {
            found.push(stanza.fields);
        }
        Ok(found)
    }

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn stanzas_are_separated_by_empty_lines() {
        let text = "\n\nPackage: a\nVersion:1\n\n \t\n# remark\nPackage: b\nDescription: short\n long\n .\n  more";
        assert_eq!(
            all(text).unwrap(),
            [
                pairs(&[("Package", "a"), ("Version", "1")]),
                pairs(&[
                    ("Package", "b"),
                    ("Description", "short\n long\n .\n  more")
                ]),
            ]
        );
        assert!(all("\n \n").unwrap().is_empty());
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let stanza = Stanza::parse_single(b"package: a\nVERSION: 2\n").unwrap();
        assert_eq!(stanza.field("Package"), Some("a"));
        assert_eq!(stanza.field("Version"), Some("2"));
        assert_eq!(stanza.field("Depends"), None);
    }

    #[test]
    fn unwanted_fields_are_dropped_with_their_continuations() {
        let text = "A: 1\nB: 2\n two\nC: 3\n";
        let stanza = Stanzas::new(text.as_bytes())
            .next_stanza(|name| name != "B")
            .unwrap()
            .unwrap();
        assert_eq!(stanza.fields, pairs(&[("A", "1"), ("C", "3")]));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, expected) in [
            ("A: 1\nnonsense\n", "line 2: a field without colon"),
            (" A: 1\n", "line 1: a continuation of nothing"),
        ] {
            // A line of spaces only would be an empty one.
            assert_eq!(all(text).unwrap_err().to_string(), expected);
        }
        assert!(Stanza::parse_single(b"A: 1\n\nB: 2\n").is_err());
        assert!(Stanza::parse_single(b"").is_err());
        assert!(Stanza::parse_single(b"A: \xff\n").is_err());
    }

    #[test]
    fn a_stanza_without_end_is_refused() {
        fn refused(reader: impl BufRead) -> bool {
            let mut stanzas = Stanzas {
                max_length: 1000,
                ..Stanzas::new(reader)
            };
            stanzas.next_stanza(|_| false).is_err()
        }
        assert!(refused(io::BufReader::new(io::repeat(b'x'))));
        assert!(refused("A: 1\n b\n".repeat(1000).as_bytes()));
        assert!(!refused("A: 1\n b\n\n".repeat(1000).as_bytes()));
    }
}
