//! Server-sent events, as the HTML standard has them, out of the pieces in which they arrive.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::BufRead as _;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Connection;

/// Something that has happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// An answer that lasts as long as what it tells of. Dropping it hangs up.
pub(crate) struct EventStream {
    body: Incoming,
    decoder: Decoder,
    _connection: Connection,
}

impl EventStream {
    pub(super) fn new(body: Incoming, connection: Connection) -> Self {
        Self {
            body,
            decoder: Decoder::default(),
            _connection: connection,
        }
    }

    /// The next event; nothing when the server has ended the stream. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(event) = self.decoder.next() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.context("the server's event stream broke off")?;
            if let Some(piece) = frame.data_ref() {
                self.decoder.add(piece);
            }
        }
    }
}

/// Cuts a stream into events. An event that has no end is none.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Has begun in the middle of a line.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Option<Vec<u8>>,
    /// The last byte was one, and a line feed that follows belongs to it.
    carriage_return: bool,
    has_begun: bool,
    ready: VecDeque<Event>,
}

impl Decoder {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let piece = self.with_line_feeds(piece);
        let mut rest = piece.as_ref();
        while !rest.is_empty() {
            // Reading from memory does not fail.
            let _ = rest.read_until(b'\n', &mut self.line);
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                let line = std::mem::take(&mut self.line);
                self.end_line(&line);
            }
        }
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Lines may end in three ways. Ours end in one, so nothing is copied.
    fn with_line_feeds<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.carriage_return && !piece.contains(&b'\r') {
            return Cow::Borrowed(piece);
        }
        let mut text = Vec::with_capacity(piece.len());
        for byte in piece {
            let after_return = std::mem::replace(&mut self.carriage_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\r' => text.push(b'\n'),
                other => text.push(*other),
            }
        }
        Cow::Owned(text)
    }

    fn end_line(&mut self, mut line: &[u8]) {
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = value.to_vec(),
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            // A comment, or a field that says nothing here.
            _ => {}
        }
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            let (name, data) = (text(name), text(data));
            self.ready.push_back(Event { name, data });
        }
    }
}

/// A stream is UTF-8, and what is none is replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in pieces {
            decoder.add(piece);
            found.extend(std::iter::from_fn(|| decoder.next()));
        }
        found
            .into_iter()
            .map(|event| (event.name, event.data))
            .collect()
    }

    fn check(stream: &[u8], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
            .collect();
        assert_eq!(events(&[stream]), expected, "at once");
        let bytes: Vec<_> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), expected, "byte by byte");
        for middle in 0..=stream.len() {
            let (start, end) = stream.split_at(middle);
            assert_eq!(events(&[start, end]), expected, "cut at {middle}");
        }
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        check(
            b"event: start\ndata: {\"id\":1}\n\n: keep-alive\n\nevent: log\ndata: {}\n\n",
            &[("start", "{\"id\":1}"), ("log", "{}")],
        );
    }

    #[test]
    fn lines_end_in_three_ways() {
        check(
            b"event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\revent: c\ndata: 3\n\n\r\n",
            &[("a", "1"), ("b", "2"), ("c", "3")],
        );
    }

    #[test]
    fn fields_are_as_the_standard_has_them() {
        check(
            "\u{feff}data:one\ndata:  two\ndata\n\nid: 7\nretry: 1\nevent: alone\n\nevent\ndata: last\n\n"
                .as_bytes(),
            &[("", "one\n two\n"), ("", "last")],
        );
    }

    #[test]
    fn what_has_no_end_is_no_event() {
        check(b"event: a\ndata: 1\n\nevent: b\ndata: 2\n", &[("a", "1")]);
        check(b"event: a\ndata: 1", &[]);
    }

    #[test]
    fn what_is_no_utf8_is_replaced_and_what_is_cut_is_not() {
        check(
            b"event: \xff\ndata: \xc3\xa9\xff\n\n",
            &[("\u{fffd}", "é\u{fffd}")],
        );
    }

    #[test]
    fn large_events_come_whole() {
        let text = "x".repeat(3 << 20);
        let stream = format!("event: output\ndata: {text}\n\n");
        let pieces: Vec<_> = stream.as_bytes().chunks(100_000).collect();
        assert_eq!(events(&pieces), [("output".to_owned(), text)]);
    }
}
