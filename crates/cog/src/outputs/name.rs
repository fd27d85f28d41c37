//! What files may be called that a model has named: its names are not trusted.

/// Bytes of a name, so that there is room for a number in the 255 of a file system.
const MOST: usize = 200;
/// Bytes of an extension.
const MOST_OF_EXTENSION: usize = 16;
/// What is behind the extension of what was compressed.
const COMPRESSED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "br"];

/// One visible file's name without signs that a terminal or a file system takes for something else; nothing if there is
/// no such name in `given`.
pub(super) fn plain(given: &str) -> Option<String> {
    let last = given.rsplit('/').next().unwrap_or_default();
    let visible = last.trim().trim_start_matches('.').trim();
    let name: String = visible.chars().map(harmless).collect();
    if name.is_empty() {
        return None;
    }
    if name.len() <= MOST {
        return Some(name);
    }
    let (stem, extension) = split(&name);
    let end = extension.map_or_else(String::new, |extension| format!(".{extension}"));
    let stem = &stem[..stem.floor_char_boundary(MOST - end.len())];
    Some(format!("{stem}{end}"))
}

fn harmless(character: char) -> char {
    // What changes the direction of a text hides its extension.
    let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || hidden {
        '_'
    } else {
        character
    }
}

/// The extension of the name that the model gave, without its dot.
pub(super) fn extension(given: &str) -> Option<String> {
    let name = plain(given)?;
    split(&name).1.map(str::to_owned)
}

/// Another name for the same kind of file.
pub(super) fn with_number(name: &str, number: usize) -> String {
    match split(name) {
        (stem, Some(extension)) => format!("{stem}.{number}.{extension}"),
        (stem, None) => format!("{stem}.{number}"),
    }
}

/// A name without its extension, which is that, if it has one. There are two of what was compressed: `tar.gz`.
fn split(name: &str) -> (&str, Option<&str>) {
    let Some((stem, last)) = name.rsplit_once('.').filter(|(_, last)| is_extension(last)) else {
        return (name, None);
    };
    match stem.rsplit_once('.') {
        Some((stem, inner)) if COMPRESSED.contains(&last) && is_extension(inner) => {
            (stem, Some(&name[stem.len() + 1..]))
        }
        _ => (stem, Some(last)),
    }
}

/// Whether it says what is in a file: a number does not.
fn is_extension(text: &str) -> bool {
    text.len() <= MOST_OF_EXTENSION
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// The extension that files of a type have.
pub(super) fn extension_of(mime: &str) -> Option<&'static str> {
    Some(match mime {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "image/tiff" => "tiff",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "oga",
        "audio/wav" | "audio/x-wav" => "wav",
        "video/mp4" => "mp4",
        "video/mpeg" => "mpeg",
        "video/x-msvideo" => "avi",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/markdown" => "md",
        "text/javascript" | "application/javascript" => "js",
        "application/json" => "json",
        "application/jsonl" => "jsonl",
        "application/x-ndjson" => "ndjson",
        "application/gzip" => "gz",
        "application/octet-stream" => "bin",
        "audio/aac" => "aac",
        "audio/opus" => "opus",
        "model/gltf-binary" => "glb",
        "model/obj" => "obj",
        "model/mtl" => "mtl",
        mime => return mime_guess::get_mime_extensions_str(mime)?.first().copied(),
    })
}

/// The type that files of this name have.
pub(crate) fn mime_of(name: &str) -> String {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    // Those that the general table does not have, or calls by another name than servers do.
    let known = match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        "aac" => "audio/aac",
        "glb" => "model/gltf-binary",
        "jsonl" => "application/jsonl",
        "md" => "text/markdown",
        "mtl" => "model/mtl",
        "ndjson" => "application/x-ndjson",
        "obj" => "model/obj",
        "opus" => "audio/opus",
        _ => {
            return mime_guess::from_path(name)
                .first_or_octet_stream()
                .to_string();
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for (given, name) in [
            ("a.png", Some("a.png")),
            ("../x", Some("x")),
            ("/etc/passwd", Some("passwd")),
            (".", None),
            ("..", None),
            ("", None),
            ("a/", None),
            (" . ", None),
            (".bashrc", Some("bashrc")),
            ("...x", Some("x")),
            ("a\nb\u{1b}[2J.png", Some("a_b_[2J.png")),
            ("gnp.\u{202e}exe", Some("gnp._exe")),
        ] {
            assert_eq!(plain(given).as_deref(), name, "{given:?}");
        }
        let long = plain(&format!("{}.tar.gz", "x".repeat(300))).unwrap();
        assert!(long.len() == MOST && long.ends_with("x.tar.gz"), "{long}");
        assert_eq!(plain(&"ü".repeat(300)).unwrap().len(), MOST);
    }

    #[test]
    fn extensions_say_what_is_in_a_file() {
        for (given, wanted) in [
            ("a.m4a", Some("m4a")),
            ("a.tar.gz", Some("tar.gz")),
            ("v1.2.gz", Some("gz")),
            ("scan.nii.gz", Some("nii.gz")),
            ("a.b.png", Some("png")),
            ("output.0", None),
            ("a.", None),
            ("png", None),
            (".png", None),
            ("a.7z", Some("7z")),
            ("a.not an extension", None),
        ] {
            assert_eq!(extension(given).as_deref(), wanted, "{given}");
        }
    }

    #[test]
    fn types_and_extensions_belong_together() {
        for (mime, extension) in [
            ("image/png", "png"),
            ("image/jpeg", "jpg"),
            ("image/webp", "webp"),
            ("image/gif", "gif"),
            ("image/bmp", "bmp"),
            ("image/tiff", "tiff"),
            ("image/svg+xml", "svg"),
            ("audio/wav", "wav"),
            ("audio/mpeg", "mp3"),
            ("audio/ogg", "oga"),
            ("audio/opus", "opus"),
            ("audio/aac", "aac"),
            ("video/mp4", "mp4"),
            ("video/webm", "webm"),
            ("video/x-msvideo", "avi"),
            ("video/mpeg", "mpeg"),
            ("text/plain", "txt"),
            ("text/html", "html"),
            ("text/csv", "csv"),
            ("text/markdown", "md"),
            ("text/css", "css"),
            ("text/javascript", "js"),
            ("application/json", "json"),
            ("application/jsonl", "jsonl"),
            ("application/x-ndjson", "ndjson"),
            ("application/pdf", "pdf"),
            ("application/zip", "zip"),
            ("application/gzip", "gz"),
            ("application/x-tar", "tar"),
            ("application/octet-stream", "bin"),
            ("model/gltf-binary", "glb"),
            ("model/obj", "obj"),
            ("model/mtl", "mtl"),
        ] {
            assert_eq!(extension_of(mime), Some(extension), "{mime}");
            assert_eq!(mime_of(&format!("a.{extension}")), mime, "{extension}");
        }
        assert_eq!(mime_of("A.PNG"), "image/png");
        assert_eq!(mime_of("nothing"), "application/octet-stream");
    }

    #[test]
    fn numbers_come_before_the_extension() {
        for (name, expected) in [
            ("a.png", "a.2.png"),
            ("a.tar.gz", "a.2.tar.gz"),
            ("a", "a.2"),
        ] {
            assert_eq!(with_number(name, 2), expected);
        }
    }
}
