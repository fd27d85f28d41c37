//! The names of traces and spans, and how they travel: W3C Trace Context.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use http::{HeaderMap, HeaderValue};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) [u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanId(pub(super) [u8; 8]);

/// The span that a request comes from, according to its `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) sampled: bool,
}

impl TraceId {
    pub(super) fn random() -> Self {
        let [high, low] = [random(), random()].map(u64::to_be_bytes);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high);
        id[8..].copy_from_slice(&low);
        Self(id)
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(random().to_be_bytes())
    }
}

impl Parent {
    /// None if there is no header, or one that the specification tells to ignore.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut fields = text.split('-');
        let [version] = bytes(fields.next()?)?;
        let trace = TraceId(bytes(fields.next()?)?);
        let span = SpanId(bytes(fields.next()?)?);
        let [flags] = bytes(fields.next()?)?;
        // Later versions may add fields.
        let is_known = version != 0xff && (version > 0 || fields.next().is_none());
        let is_set = trace.0 != [0; 16] && span.0 != [0; 8];
        (is_known && is_set).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }
}

/// The header for a request that a span of ours makes.
pub(super) fn traceparent(trace: TraceId, span: SpanId) -> HeaderValue {
    let mut text = String::from("00-");
    hexadecimal(&trace.0, &mut text);
    text.push('-');
    hexadecimal(&span.0, &mut text);
    text.push_str("-01");
    HeaderValue::try_from(text).expect("digits and dashes are a header")
}

fn hexadecimal(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

/// Exactly so many bytes, in lower-case digits.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Not for secrets: names only have to differ. The standard library seeds its hashers from the system
/// and changes the seed for each.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(text: &'static str) -> Option<Parent> {
        let value = HeaderValue::from_static(text);
        let name = http::HeaderName::from_static("traceparent");
        Parent::of(&HeaderMap::from_iter([(name, value)]))
    }

    #[test]
    fn parents() {
        let known = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert!(known.sampled);
        assert_eq!(known.span.0[..2], [0xb7, 0xad]);
        assert_eq!(
            traceparent(known.trace, known.span),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        );
        let unsampled = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert!(!unsampled.sampled);
        assert!(parent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for ignored in [
            "",
            "nonsense",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parent(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<_> = (0..10_000).map(|_| SpanId::random().0).collect();
        assert_eq!(names.len(), 10_000);
        assert_ne!(TraceId::random(), TraceId::random());
    }
}
