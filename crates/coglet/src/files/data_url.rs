//! Data URLs, in and out.

use std::borrow::Cow;
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;

use base64_simd::{Out, STANDARD, STANDARD_NO_PAD, forgiving_decode};

use super::FetchError;
use super::name::{Plus, decode, encoded, from_client, from_mime};
use crate::temp::{TempFile, numbered};

/// Decodes a data URL, given as a JSON string, into a file in `directory`.
pub(super) fn store(
    json_string: &[u8],
    directory: &Path,
    number: u64,
) -> Result<TempFile, FetchError> {
    let url = unquote(json_string).ok_or(FetchError::DataUrl("it is not valid text"))?;
    let (head, data) = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','))
        .ok_or(FetchError::DataUrl("there is no comma before the data"))?;
    let mime = head.split(';').next().unwrap_or_default();
    let mime = if mime.is_empty() { "text/plain" } else { mime };
    let name = given_name(head).unwrap_or_else(|| from_mime(mime));
    let file = TempFile::at(directory.join(numbered(number, &name)));
    let mut content = crate::scratch::create_private(file.path())?;
    let is_base64 = head
        .rsplit(';')
        .next()
        .is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
    if is_base64 {
        decode_base64(data, &mut content)?;
    } else {
        content.write_all(&decode(data, Plus::IsPlus))?;
    }
    Ok(file)
}

/// The name of the file, which browsers and others put beside its type: `data:audio/mp4;name=a.m4a;base64,…`.
fn given_name(head: &str) -> Option<String> {
    let parameters = head
        .split(';')
        .skip(1)
        .filter_map(|part| part.split_once('='));
    let mut names = parameters.filter(|(key, _)| {
        let key = key.trim();
        key.eq_ignore_ascii_case("name") || key.eq_ignore_ascii_case("filename")
    });
    from_client(names.next()?.1.trim().trim_matches('"'))
}

fn decode_base64(data: &str, file: &mut fs_err::File) -> Result<(), FetchError> {
    match decode_pieces(data.as_bytes(), file) {
        // Rare, and looking for it first would take as long as decoding.
        Err(FetchError::DataUrl(_)) if has_foreign_bytes(data.as_bytes()) => {
            file.set_len(0)?;
            file.rewind()?;
            decode_pieces(&clean_base64(data), file)
        }
        result => result,
    }
}

/// Decodes piece by piece, so that little memory is needed and the caches are used.
fn decode_pieces(data: &[u8], writer: &mut dyn Write) -> Result<(), FetchError> {
    /// Whole groups of four characters.
    const PIECE: usize = 64 << 10;
    // As `forgiving_decode` wants it: as large as what it decodes.
    let mut buffer = vec![0; PIECE];
    let mut pieces = data.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let decoded = if pieces.peek().is_some() {
            STANDARD_NO_PAD.decode(piece, Out::from_slice(&mut buffer))
        } else {
            // As other decoders: padding or none, bits left over.
            forgiving_decode(without_padding(piece), Out::from_slice(&mut buffer))
        };
        let decoded = decoded.map_err(|_| FetchError::DataUrl("it is not valid base64"))?;
        writer.write_all(decoded)?;
    }
    Ok(())
}

fn without_padding(data: &[u8]) -> &[u8] {
    let once = data.strip_suffix(b"=").unwrap_or(data);
    once.strip_suffix(b"=").unwrap_or(once)
}

/// What may stand in a data URL but not in base64.
fn has_foreign_bytes(data: &[u8]) -> bool {
    data.iter()
        .any(|byte| *byte == b'%' || byte.is_ascii_whitespace())
}

/// Removes percent signs and white space.
fn clean_base64(data: &str) -> Vec<u8> {
    let mut bytes = decode(data, Plus::IsPlus);
    bytes.retain(|byte| !byte.is_ascii_whitespace());
    bytes
}

/// The content of a JSON string, borrowed if it has no escapes.
fn unquote(json_string: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(json_string).ok()?;
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Writes a file as a data URL, as a JSON string, at the end of `text`; with its name, if there is one. Of one that
/// grows meanwhile, the first `size` bytes.
pub(super) fn append(
    text: &mut Vec<u8>,
    mime: &str,
    name: Option<&str>,
    file: &mut dyn Read,
    size: u64,
) -> io::Result<()> {
    // A multiple of three, so that no piece but the last is padded.
    const PIECE: usize = 192 << 10;
    // A file can say of itself that it is larger than any memory.
    let length = usize::try_from(size.div_ceil(3).saturating_mul(4)).unwrap_or(usize::MAX);
    text.try_reserve(length.saturating_add(mime.len() + 32))
        .map_err(|_| {
            let reason = format!("{size} bytes are too many to be part of an answer");
            io::Error::new(io::ErrorKind::OutOfMemory, reason)
        })?;
    let mut file = file.take(size);
    // As a JSON value for the sake of odd types, without its closing quote.
    let name = name.map_or_else(String::new, |name| format!(";name={}", encoded(name)));
    let head = serde_json::Value::from(format!("data:{mime}{name};base64,")).to_string();
    text.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    let mut piece = vec![0; PIECE];
    loop {
        let length = read_full(&mut file, &mut piece)?;
        STANDARD.encode_append(&piece[..length], text);
        if length < PIECE {
            text.push(b'"');
            return Ok(());
        }
    }
}

fn read_full(file: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(url: &str) -> Result<(String, Vec<u8>), String> {
        let directory = tempfile::tempdir().unwrap();
        let json_string = serde_json::to_string(url).unwrap();
        let file = store(json_string.as_bytes(), directory.path(), 7)
            .map_err(|error| error.to_string())?;
        let name = file
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        Ok((name, fs_err::read(file.path()).unwrap()))
    }

    fn check(url: &str, name: &str, content: &str) {
        assert_eq!(
            stored(url),
            Ok((name.to_owned(), content.as_bytes().to_vec())),
            "{url}"
        );
    }

    #[test]
    fn forms_in_use() {
        check("data:text/plain;base64,SGVsbG8=", "7-file.txt", "Hello");
        check(
            "data:text/plain;charset=utf-8;base64,SGVsbG8",
            "7-file.txt",
            "Hello",
        );
        check("data:image/png;base64,SGVs\nbG8=", "7-file.png", "Hello");
        check("data:image/png;base64,SGVsbG8%3D", "7-file.png", "Hello");
        let long = "QUJD".repeat(50_000);
        let (spaced, text) = (format!("{long}\nQQ=="), "ABC".repeat(50_000) + "A");
        check(&format!("data:;base64,{spaced}"), "7-file.txt", &text);
        let whole_pieces = "QUJD".repeat(32 << 10);
        let text = "ABC".repeat(32 << 10);
        check(&format!("data:;base64,{whole_pieces}"), "7-file.txt", &text);
        check("data:,a%20b+c", "7-file.txt", "a b+c");
        check("data:x-odd/type,", "7-file", "");
        check(
            "data:audio/mp4;name=a%20b.m4a;base64,QQ==",
            "7-a b.m4a",
            "A",
        );
        check("data:;filename=\"x.tar.gz\";base64,QQ==", "7-x.tar.gz", "A");
        check(
            "data:text/plain;charset=utf-8;name=../x.py,A",
            "7-.._x.py",
            "A",
        );
        check("data:text/plain;name=,A", "7-file.txt", "A");
    }

    #[test]
    fn broken_ones_are_explained() {
        assert!(stored("data:nothing").unwrap_err().contains("comma"));
        assert!(
            stored("data:image/png;base64,S*Vs")
                .unwrap_err()
                .contains("base64")
        );
        let padded_inside = format!("{}QQ=={}", "QUJD".repeat((16 << 10) - 1), "QUJD");
        assert!(stored(&format!("data:;base64,{padded_inside}")).is_err());
    }

    #[test]
    fn a_broken_one_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        assert!(store(br#""data:;base64,***""#, directory.path(), 0).is_err());
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn out_and_in_again(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut text = Vec::new();
            append(&mut text, "text/plain", Some("a b.txt"), &mut bytes.as_slice(), bytes.len() as u64).unwrap();
            let url: String = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(stored(&url).unwrap().1, bytes);
        }
    }

    #[test]
    fn what_no_memory_holds_is_refused_and_what_grows_is_cut() {
        for size in [1 << 62, u64::MAX] {
            let refused = append(&mut Vec::new(), "a/b", None, &mut io::empty(), size);
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        }
        let mut text = Vec::new();
        append(&mut text, "a/b", None, &mut io::repeat(b'x'), 3).unwrap();
        assert_eq!(text, br#""data:a/b;base64,eHh4""#);
    }

    #[test]
    fn pieces_join_without_padding_between() {
        let bytes = vec![7; 500_000];
        let mut text = Vec::new();
        append(
            &mut text,
            "image/png",
            None,
            &mut bytes.as_slice(),
            bytes.len() as u64,
        )
        .unwrap();
        let url: String = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            url,
            format!(
                "data:image/png;base64,{}",
                STANDARD.encode_to_string(&bytes)
            )
        );
    }
}
