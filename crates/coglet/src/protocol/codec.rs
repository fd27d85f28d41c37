//! Frames: a length, then JSON.

use bytes::{Buf, Bytes, BytesMut};

use crate::json::object_with;
use crate::protocol::ToWorker;

const HEADER: usize = 4;
/// Values over 1 MiB travel as files and a log item is at most a few MiB, so a longer frame means that
/// the other side has lost its place.
const MAX_FRAME: usize = 64 << 20;
/// Enough for many small frames in one read.
const READ_SIZE: usize = 16 << 10;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a frame of {0} bytes")]
pub(crate) struct OversizedFrame(usize);

/// A whole frame. `input` becomes the member of that name, unparsed.
pub(crate) fn encode(message: &ToWorker<'_>, input: Option<&Bytes>) -> Vec<u8> {
    let members: Vec<_> = input
        .map(|text| ("input", text.clone()))
        .into_iter()
        .collect();
    let pieces = object_with(message, &members).into_pieces();
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let mut frame = Vec::with_capacity(HEADER + length);
    let header = u32::try_from(length).expect("large inputs travel as files");
    frame.extend_from_slice(&header.to_le_bytes());
    for piece in pieces {
        frame.extend_from_slice(&piece);
    }
    frame
}

/// Cuts what arrives into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// Where to read to. There is always room.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        let missing = self.frame_length().map_or(0, |length| {
            (HEADER + length).saturating_sub(self.buffer.len())
        });
        self.buffer.reserve(missing.clamp(READ_SIZE, MAX_FRAME));
        &mut self.buffer
    }

    /// The body of the next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, OversizedFrame> {
        let Some(length) = self.frame_length() else {
            return Ok(None);
        };
        if length > MAX_FRAME {
            return Err(OversizedFrame(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn frame_length(&self) -> Option<usize> {
        let header = self.buffer.get(..HEADER)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(header)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::{FromWorker, Key, WireId};

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..50),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
            let mut reader = FrameReader::default();
            let mut read = Vec::new();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cuts.next().unwrap()).min(stream.len());
                reader.space().extend_from_slice(&stream[at..end]);
                at = end;
                while let Some(body) = reader.next().unwrap() {
                    read.push(body.to_vec());
                }
            }
            prop_assert_eq!(read, bodies);
        }

        #[test]
        fn what_is_sent_arrives_as_it_was(
            id in any::<u64>(),
            names in prop::collection::vec(("[a-z]{1,5}", ".{0,10}"), 0..4),
            input in prop::option::of(prop::collection::hash_map(".{0,10}", any::<i64>(), 0..5)),
            cut in 1_usize..30,
        ) {
            let context: BTreeMap<String, String> = names.into_iter().collect();
            let raw = serde_json::value::to_raw_value(&context).unwrap();
            let input = input.map(|input| serde_json::to_value(input).unwrap());
            let message = ToWorker::Predict {
                id: WireId(Key(id)),
                input_file: None,
                context: &raw,
                files: &BTreeMap::new(),
            };
            let text = input.as_ref().map(|input| Bytes::from(input.to_string()));
            let mut reader = FrameReader::default();
            for piece in encode(&message, text.as_ref()).chunks(cut) {
                prop_assert_eq!(reader.next(), Ok(None));
                reader.space().extend_from_slice(piece);
            }
            let body = reader.next().unwrap().unwrap();
            let mut expected = json!({
                "type": "predict", "id": id.to_string(), "context": context, "files": {},
            });
            if let Some(input) = input {
                expected["input"] = input;
            }
            let received: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(received, expected);
            prop_assert_eq!(reader.next(), Ok(None));
        }

        /// Objects that look like messages, with members that are missing or of the wrong type.
        #[test]
        fn any_message_is_survived(
            kind in prop_oneof![
                Just("loaded"), Just("ready"), Just("setup_failed"), Just("log"), Just("metric"),
                Just("chunk"), Just("done"), Just("health"), Just("unheard of"),
            ],
            members in prop::collection::hash_map(
                prop_oneof![
                    Just("id"), Just("source"), Just("data"), Just("name"), Just("value"), Just("value_file"),
                    Just("mode"), Just("status"), Just("output"), Just("raw"), Just("files"), Just("seq"),
                    Just("signature"),
                ],
                prop_oneof![
                    Just(json!(null)), Just(json!("1")), Just(json!(1)), Just(json!(-1.5)), Just(json!(true)),
                    Just(json!([1, "x", null])), Just(json!({"x": "path"})), Just(json!("stdout")),
                    Just(json!("replace")), Just(json!("succeeded")),
                ],
                0..6,
            ),
        ) {
            let mut message = json!(members);
            message["type"] = kind.into();
            let parsed = FromWorker::parse(&message.to_string().into());
            prop_assert!(kind != "unheard of" || parsed.is_err());
            if kind == "ready" && let Ok(parsed) = parsed {
                prop_assert_eq!(parsed, FromWorker::Ready);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::default();
            reader.space().extend_from_slice(&bytes);
            while let Ok(Some(body)) = reader.next() {
                // Most are no messages; none may bring the server down.
                let _ = FromWorker::parse(&body);
            }
        }
    }

    #[test]
    fn a_lost_place_is_noticed() {
        let mut reader = FrameReader::default();
        reader.space().extend_from_slice(b"Traceback");
        assert_eq!(reader.next(), Err(OversizedFrame(0x6361_7254)));
    }

    #[test]
    fn a_large_frame_gets_its_room_at_once() {
        let mut reader = FrameReader::default();
        reader
            .space()
            .extend_from_slice(&(1_u32 << 20).to_le_bytes());
        assert!(reader.space().capacity() >= 1 << 20);
    }
}
