//! Small things about JSON text that `serde_json` leaves to its user.

use std::fmt;

use bytes::Bytes;
use cog_inputs::each_member;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep arrays and objects may be nested: what `serde_json` itself allows when it builds values.
const MAX_DEPTH: usize = 127;
/// With as many digits, and less than 100 in the exponent, a number is one of Python's floats, not its infinity.
const MAX_NUMBER_LENGTH: usize = 200;

/// A JSON object anew, its members with the values that `write` adds to the text.
pub(crate) fn rewritten(
    object: &Bytes,
    mut write: impl FnMut(&str, &RawValue, &mut Vec<u8>),
) -> Bytes {
    let mut text = vec![b'{'];
    let object = std::str::from_utf8(object).unwrap_or_default();
    each_member(object, |name, value| {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
        text.push(b':');
        write(name, value, &mut text);
    });
    text.push(b'}');
    text.into()
}

/// Whether a text that is syntactically JSON is also readable by every JSON reader down the line.
///
/// Inputs reach the worker unparsed. What its parser would stumble over (bottomless nesting, endless
/// digits, half a surrogate pair) has to be refused here, where it is one client's mistake; there it
/// would be the worker's death. And a number that is too large would silently become infinity.
pub(crate) fn check_readable(value: &RawValue) -> Result<(), serde_json::Error> {
    if is_suspicious(value.get()) {
        serde_json::from_str::<Read>(value.get()).map(drop)
    } else {
        Ok(())
    }
}

/// A value that was read as if it were to be built, and of which nothing is kept.
struct Read;

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Read {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while let Some(Self) = list.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        while let Some((Self, Self)) = object.next_entry()? {}
        Ok(self)
    }
}

/// The beginning of a JSON text without the white space between its tokens, about `length` bytes of it.
pub(crate) fn compact_start(text: &str, length: usize) -> String {
    let mut compact = String::new();
    let mut rest = text;
    while compact.len() < length && !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'"' => string_end(rest, 0),
            _ => rest[1..].find('"').map_or(rest.len(), |quote| quote + 1),
        };
        // Of a long piece no more is looked at than can be needed.
        let (piece, after) = rest.split_at(end);
        let room = length - compact.len();
        if piece.starts_with('"') {
            compact.push_str(&piece[..piece.ceil_char_boundary(room)]);
        } else {
            let tokens = piece.chars().filter(|c| !c.is_ascii_whitespace());
            compact.extend(tokens.take(room));
        }
        rest = after;
    }
    compact
}

/// The parsed text as a slice of the buffer that it was parsed from, without copying.
pub(crate) fn slice_of(buffer: &Bytes, value: &RawValue) -> Bytes {
    buffer.slice_ref(value.get().as_bytes())
}

/// The elements of a list as slices of it; none if it is no list.
pub(crate) fn elements(list: &Bytes) -> Vec<Bytes> {
    let parsed: Vec<&RawValue> = serde_json::from_slice(list).unwrap_or_default();
    parsed
        .into_iter()
        .map(|element| slice_of(list, element))
        .collect()
}

/// Makes a JSON string of a quote and the text that follows it; none if that is no text.
///
/// Where nothing has to be escaped, as in most large strings, nothing is copied.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "branches would keep the compiler from looking at many bytes at a time"
)]
pub(crate) fn close_string(mut opened: Vec<u8>) -> Option<Vec<u8>> {
    const STRIDE: usize = 4 << 10;
    let text = std::str::from_utf8(opened.get(1..)?).ok()?;
    let is_clean = |bytes: &[u8]| {
        bytes.iter().fold(true, |clean, byte| {
            clean & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\')
        })
    };
    if text.as_bytes().chunks(STRIDE).all(is_clean) {
        opened.push(b'"');
        return Some(opened);
    }
    serde_json::to_vec(text).ok()
}

/// A JSON object made of some fields and of members whose values are JSON text already.
///
/// The ready-made values are put in as they are: no parsing, and no copy of a large one.
pub(crate) fn object_with(fields: &impl Serialize, members: &[(&str, Bytes)]) -> Parts {
    let mut parts = Parts::default();
    parts.text(b"{");
    for (name, value) in members {
        parts.text(format!("\"{name}\":").as_bytes());
        parts.push(value);
        parts.text(b",");
    }
    let rest = serde_json::to_vec(fields).expect("plain fields always serialise");
    if rest == b"{}" {
        parts.trim_comma();
    }
    parts.text(&rest[1..]);
    parts
}

/// Text in pieces, so that large ones need not be copied together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    done: Vec<Bytes>,
    open: Vec<u8>,
}

impl Parts {
    /// From this size on a piece is shared instead of copied.
    const LARGE: usize = 16 << 10;

    fn text(&mut self, text: &[u8]) {
        self.open.extend_from_slice(text);
    }

    fn push(&mut self, piece: &Bytes) {
        if piece.len() < Self::LARGE {
            self.text(piece);
        } else {
            self.done.push(std::mem::take(&mut self.open).into());
            self.done.push(piece.clone());
        }
    }

    fn trim_comma(&mut self) {
        if self.open.last() == Some(&b',') {
            self.open.pop();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.done.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }

    pub(crate) fn into_pieces(mut self) -> Vec<Bytes> {
        self.done.push(self.open.into());
        self.done
    }
}

/// A quick look that may be wrong only in one direction.
fn is_suspicious(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut depth, mut number_length, mut at) = (0_usize, 0_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(text, at);
                if has_surrogate_escape(&text[at..end]) {
                    return true;
                }
                at = end;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        number_length = if byte.is_ascii_digit() {
            number_length + 1
        } else {
            0
        };
        if depth > MAX_DEPTH || number_length > MAX_NUMBER_LENGTH || has_long_exponent(&bytes[at..])
        {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether an exponent of three digits or more begins here. No word of JSON has an `e` before a digit.
fn has_long_exponent(bytes: &[u8]) -> bool {
    let [b'e' | b'E', rest @ ..] = bytes else {
        return false;
    };
    let digits = rest.strip_prefix(b"+").unwrap_or(rest);
    digits.len() >= 3 && digits[..3].iter().all(u8::is_ascii_digit)
}

/// Index after the closing quote of the string that opens at `start`.
fn string_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut from = start + 1;
    // `find` searches several bytes at a time: megabytes of base64 pass at memory speed.
    while let Some(quote) = text[from..].find('"').map(|offset| from + offset) {
        let backslashes = bytes[start + 1..quote]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        if backslashes % 2 == 0 {
            return quote + 1;
        }
        from = quote + 1;
    }
    text.len()
}

fn has_surrogate_escape(string: &str) -> bool {
    let mut from = 0;
    while let Some(backslash) = string[from..].find('\\').map(|offset| from + offset) {
        if matches!(
            string.as_bytes().get(backslash + 1..backslash + 3),
            Some([b'u', b'd' | b'D'])
        ) {
            return true;
        }
        // Skips an escaped backslash; the byte after any escape is ASCII.
        from = backslash + 2;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let value: &RawValue = serde_json::from_str(text).unwrap();
        check_readable(value).map_err(|error| error.to_string())
    }

    #[test]
    fn ready_made_members_join_an_object() {
        let joined = |fields: &serde_json::Value, members: &[(&str, Bytes)]| {
            String::from_utf8(object_with(fields, members).into_pieces().concat()).unwrap()
        };
        let output = Bytes::from("[1]");
        assert_eq!(
            joined(&serde_json::json!({"id": 1}), &[("output", output.clone())]),
            r#"{"output":[1],"id":1}"#
        );
        assert_eq!(
            joined(&serde_json::json!({}), &[("output", output)]),
            r#"{"output":[1]}"#
        );
        assert_eq!(joined(&serde_json::json!({}), &[]), "{}");
        let large = Bytes::from(format!("\"{}\"", "x".repeat(Parts::LARGE)));
        let pieces =
            object_with(&serde_json::json!({"id": 1}), &[("a", large.clone())]).into_pieces();
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn ordinary_values_pass() {
        for text in [
            r#"{"a":[1,2,{"b":"\"\\"}]}"#,
            r#""\ud83d\ude00""#,
            "1e300",
            "1e-400",
            "[true,false,1e5]",
            "1E0000000001",
            r#"["\\ud800"]"#,
            "[]",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(
            check(&format!("{}{}", "[".repeat(127), "]".repeat(127))),
            Ok(())
        );
    }

    #[test]
    fn white_space_goes_but_for_that_in_strings() {
        let check = |text: &str, length, expected: &str| {
            assert_eq!(compact_start(text, length), expected, "{text}");
        };
        check("[ 1 ,\n\"a  b\" ]", 100, "[1,\"a  b\"]");
        check("[ 1 ,\n\"a  b\" ]", 4, "[1,\"");
        check("\"ééé\"", 2, "\"é");
        check("12345", 2, "12");
        check("", 5, "");
        check(r#"{"a\" ": 1}"#, 100, r#"{"a\" ":1}"#);
    }

    #[test]
    fn what_python_cannot_read_is_refused() {
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(check(&nested).unwrap_err().contains("recursion limit"));
        assert!(
            check(&format!("[{}]", "9".repeat(5000)))
                .unwrap_err()
                .contains("out of range")
        );
        assert!(check(r#"{"a":"\ud800"}"#).is_err());
        let long = "9".repeat(290);
        for infinite in ["1e400", "[-1E+0400]", "1.5e309", &format!("{long}e50")] {
            assert!(check(infinite).unwrap_err().contains("out of range"));
        }
        assert!(
            check(&"9".repeat(400))
                .unwrap_err()
                .contains("out of range")
        );
        assert!(check(r#"{"\uDfff":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn brackets_inside_strings_do_not_count(text in "[\\[{\"\\\\a]{0,300}") {
            let encoded = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(check(&encoded), Ok(()));
        }
    }
}
