//! Spans as OTLP wants them: the message `ExportTraceServiceRequest` in protobuf.
//!
//! Written by hand: it is a handful of fields of a frozen format, and a generator would bring more code
//! than the rest of the server's tracing.

use super::{Attribute, Span};

/// A protobuf message while it is written.
#[derive(Default)]
struct Message(Vec<u8>);

const ERROR: u64 = 2;

/// The message for some spans of a service.
pub(super) fn encode(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let resource = message(|attributes| {
        for (name, value) in resource {
            attributes.message(1, &text_attribute(name, value));
        }
    });
    let scope = message(|scope| {
        scope.bytes(1, b"coglet");
        scope.bytes(2, crate::VERSION.as_bytes());
    });
    let scope_spans = message(|scope_spans| {
        scope_spans.message(1, &scope);
        for span in spans {
            scope_spans.message(2, &self::span(span));
        }
    });
    let resource_spans = message(|resource_spans| {
        resource_spans.message(1, &resource);
        resource_spans.message(2, &scope_spans);
    });
    message(|request| request.message(1, &resource_spans)).0
}

fn span(span: &Span) -> Message {
    message(|fields| {
        fields.bytes(1, &span.trace.0);
        fields.bytes(2, &span.id.0);
        if let Some(parent) = span.parent {
            fields.bytes(4, &parent.0);
        }
        fields.bytes(5, span.name.as_bytes());
        fields.number(6, span.kind as u64);
        fields.fixed(7, span.start);
        fields.fixed(8, span.end);
        for (name, value) in &span.attributes {
            let attribute = match value {
                Attribute::Text(text) => text_attribute(name, text),
                Attribute::Number(number) => attribute(
                    name,
                    &message(|value| value.number(3, number.cast_unsigned())),
                ),
            };
            fields.message(9, &attribute);
        }
        if span.failed {
            fields.message(15, &message(|status| status.number(3, ERROR)));
        }
    })
}

fn text_attribute(name: &str, text: &str) -> Message {
    attribute(name, &message(|value| value.bytes(1, text.as_bytes())))
}

fn attribute(name: &str, value: &Message) -> Message {
    message(|pair| {
        pair.bytes(1, name.as_bytes());
        pair.message(2, value);
    })
}

fn message(write: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::default();
    write(&mut message);
    message
}

impl Message {
    const VARINT: u64 = 0;
    const FIXED: u64 = 1;
    const LENGTH: u64 = 2;

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | Self::LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | Self::VARINT);
        self.varint(number);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | Self::FIXED);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Seven bits at a time, the lowest first; all but the last are marked.
    fn varint(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_in_the_specification() {
        let encoded = |number| message(|fields| fields.number(1, number)).0;
        assert_eq!(encoded(0), [8, 0]);
        assert_eq!(encoded(127), [8, 127]);
        assert_eq!(encoded(150), [8, 0x96, 0x01]);
        assert_eq!(encoded(u64::MAX).len(), 11);
        assert_eq!(
            message(|fields| fields.bytes(2, b"testing")).0,
            b"\x12\x07testing"
        );
        assert_eq!(
            message(|fields| fields.fixed(15, 1)).0,
            [0x79, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(message(|fields| fields.number(16, 1)).0, [0x80, 1, 1]);
    }
}
