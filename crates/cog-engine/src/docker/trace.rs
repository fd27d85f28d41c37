//! What BuildKit tells while it builds: messages in Protocol Buffers, of which we read the few fields that people want to
//! see. The messages are `moby.buildkit.v1.StatusResponse` of BuildKit's `control.proto`; fields never change their number.

/// What a build told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// An instruction begins, in BuildKit's words.
    Begun(String),
    /// Bytes that the command of an instruction printed.
    Printed(Vec<u8>),
}

/// Fields of `StatusResponse`.
const VERTEXES: u64 = 1;
const LOGS: u64 = 3;
/// Fields of `Vertex`.
const VERTEX_NAME: u64 = 3;
const VERTEX_STARTED: u64 = 5;
const VERTEX_COMPLETED: u64 = 6;
/// Fields of `VertexLog`.
const LOG_MESSAGE: u64 = 4;

/// What `message` tells; nothing of one that cannot be read.
pub(super) fn read(message: &[u8]) -> Vec<Told> {
    let mut told = Vec::new();
    for (number, value) in Fields(message) {
        match number {
            VERTEXES => told.extend(begun(value)),
            LOGS => {
                let text = bytes_of(value, LOG_MESSAGE);
                told.extend(text.map(|text| Told::Printed(text.to_vec())));
            }
            _ => {}
        }
    }
    told
}

/// A vertex is told of several times: when it is known, when it starts, and when it has ended.
fn begun(vertex: &[u8]) -> Option<Told> {
    let has = |field| bytes_of(vertex, field).is_some();
    if !has(VERTEX_STARTED) || has(VERTEX_COMPLETED) {
        return None;
    }
    let name = bytes_of(vertex, VERTEX_NAME)?;
    Some(Told::Begun(String::from_utf8_lossy(name).into_owned()))
}

/// The field `wanted` of a message, if it has it.
pub(super) fn bytes_of(message: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut found = Fields(message).filter(|(number, _)| *number == wanted);
    found.next().map(|(_, value)| value)
}

/// A field `number` with these bytes, at the end of `message`.
pub(super) fn push_bytes(message: &mut Vec<u8>, number: u8, value: &[u8]) {
    message.push((number << 3) | LENGTH_DELIMITED);
    let mut rest = value.len();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            message.push(low);
            break;
        }
        message.push(low | 0x80);
    }
    message.extend_from_slice(value);
}

const LENGTH_DELIMITED: u8 = 2;

/// The fields of a message that are texts, bytes or messages. Numbers are passed over; what is malformed ends it.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.number()?;
            match key & 7 {
                0 => drop(self.number()?),
                1 => drop(self.take(8)?),
                5 => drop(self.take(4)?),
                kind if kind == u64::from(LENGTH_DELIMITED) => {
                    let length = self.number()?;
                    let value = self.take(usize::try_from(length).ok()?)?;
                    return Some((key >> 3, value));
                }
                _ => return None,
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for position in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(7 * position)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (number, value) in fields {
            push_bytes(&mut message, *number, value);
        }
        message
    }

    #[test]
    fn beginnings_and_output_are_read() {
        let known = message(&[(1, b"sha256:0"), (3, b"RUN a")]);
        let begun = message(&[(3, b"RUN a"), (5, b"\x08\x01")]);
        let ended = message(&[(3, b"RUN a"), (5, b"\x08\x01"), (6, b"\x08\x02")]);
        let text = vec![b'x'; 300];
        let mut log = message(&[(1, b"sha256:0"), (2, b"\x08\x01")]);
        // The number of a stream.
        log.extend([3 << 3, 1]);
        push_bytes(&mut log, 4, &text);
        let all = message(&[(1, &known), (1, &begun), (1, &ended), (3, &log)]);
        assert_eq!(
            read(&all),
            [Told::Begun("RUN a".to_owned()), Told::Printed(text)]
        );
    }

    #[test]
    fn what_is_no_message_tells_nothing() {
        for bytes in [&b"\xff"[..], b"\x0a\x7f", b"\x0a", &[0xff; 30], b"\x0f"] {
            assert_eq!(read(bytes), [], "{bytes:?}");
        }
    }
}
