//! File names for what came without one, or with one from a stranger.

use std::fmt::Write as _;

/// Bytes of a name; leaves room for our prefix within the usual 255.
const MAX_LENGTH: usize = 200;

/// The name that a URL ends in: last segment of the path, decoded, harmless, not too long.
pub(super) fn from_url(url: &reqwest::Url) -> String {
    let segment = url.path().rsplit('/').next().unwrap_or_default();
    harmless(&decode(segment, Plus::IsSpace))
}

/// The name that a client gave, percent-encoded, if it is one.
pub(super) fn from_client(encoded: &str) -> Option<String> {
    let name = harmless(&decode(encoded, Plus::IsPlus));
    Some(name).filter(|name| !name.is_empty())
}

fn harmless(name: &[u8]) -> String {
    shorten(&String::from_utf8_lossy(name).replace(['/', '\0'], "_"))
}

/// `file.png` for `image/png`, `file` for what has no usual extension.
pub(super) fn from_mime(mime: &str) -> String {
    extension(mime).map_or_else(
        || "file".to_owned(),
        |extension| format!("file.{extension}"),
    )
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    IsSpace,
    IsPlus,
}

/// Undoes percent encoding; what is not encoded correctly stays as it is.
pub(super) fn decode(text: &str, plus: Plus) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, beyond @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                decoded.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = beyond;
            }
            (b'+', _) if plus == Plus::IsSpace => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
    }
    decoded
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Cuts the stem, marks the cut with `~`, keeps the extension.
fn shorten(name: &str) -> String {
    if name.len() <= MAX_LENGTH {
        return name.to_owned();
    }
    let extension = name
        .rfind('.')
        .filter(|dot| *dot > 0 && name.len() - dot < MAX_LENGTH / 2);
    let (stem, extension) = name.split_at(extension.unwrap_or(name.len()));
    let room = MAX_LENGTH - extension.len() - 1;
    format!("{}~{extension}", &stem[..stem.floor_char_boundary(room)])
}

/// What stands for no type in particular.
const UNKNOWN: &str = "application/octet-stream";

/// The type of a file that its author has named, where `guessed` is what Python makes of the name. Python
/// takes `a.tar.gz` for an archive in the encoding gzip, and knows only what its system has a list of.
pub(super) fn media_type(name: &str, guessed: &str) -> String {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    let is_compressed = ["gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst"].contains(&extension);
    if guessed != UNKNOWN && !is_compressed {
        return guessed.to_owned();
    }
    let of_extension = TYPES
        .iter()
        .find(|(known, _)| *known == extension)
        .map(|(_, mime)| *mime);
    let in_table = || {
        let entry = EXTENSIONS.iter().find(|(_, known)| *known == extension);
        entry.map(|(mime, _)| *mime)
    };
    of_extension.or_else(in_table).unwrap_or(guessed).to_owned()
}

/// Percent-encodes a name so that it can stand in a data URL.
pub(super) fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to memory does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The extension people expect for a type.
fn extension(mime: &str) -> Option<&'static str> {
    EXTENSIONS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(mime))
        .map(|(_, extension)| *extension)
}

/// Python's table, which the models know, and what people send beyond it.
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/epub+zip", "epub"),
    ("application/gzip", "gz"),
    ("application/javascript", "js"),
    ("application/json", "json"),
    ("application/jsonl", "jsonl"),
    ("application/manifest+json", "webmanifest"),
    ("application/msword", "doc"),
    ("application/n-quads", "nq"),
    ("application/n-triples", "nt"),
    ("application/octet-stream", "bin"),
    ("application/pdf", "pdf"),
    ("application/pkcs7-mime", "p7c"),
    ("application/postscript", "ps"),
    ("application/rtf", "rtf"),
    ("application/sql", "sql"),
    ("application/toml", "toml"),
    ("application/trig", "trig"),
    ("application/vnd.apache.parquet", "parquet"),
    ("application/vnd.apple.mpegurl", "m3u"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "pptx",
    ),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.rar", "rar"),
    ("application/wasm", "wasm"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-bzip2", "bz2"),
    ("application/x-cpio", "cpio"),
    ("application/x-csh", "csh"),
    ("application/x-dvi", "dvi"),
    ("application/x-gtar", "gtar"),
    ("application/x-gzip", "gz"),
    ("application/x-hdf", "hdf"),
    ("application/x-hdf5", "h5"),
    ("application/x-ipynb+json", "ipynb"),
    ("application/x-jsonlines", "jsonl"),
    ("application/x-latex", "latex"),
    ("application/x-ndjson", "ndjson"),
    ("application/x-netcdf", "cdf"),
    ("application/x-npy", "npy"),
    ("application/x-onnx", "onnx"),
    ("application/x-pkcs12", "p12"),
    ("application/x-pn-realaudio", "ram"),
    ("application/x-python-code", "pyc"),
    ("application/x-safetensors", "safetensors"),
    ("application/x-sh", "sh"),
    ("application/x-shockwave-flash", "swf"),
    ("application/x-sqlite3", "sqlite"),
    ("application/x-subrip", "srt"),
    ("application/x-tar", "tar"),
    ("application/x-tcl", "tcl"),
    ("application/x-tex", "tex"),
    ("application/x-xz", "xz"),
    ("application/x-yaml", "yaml"),
    ("application/x-zip-compressed", "zip"),
    ("application/xml", "xml"),
    ("application/yaml", "yaml"),
    ("application/zip", "zip"),
    ("application/zstd", "zst"),
    ("audio/3gpp", "3gp"),
    ("audio/3gpp2", "3g2"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("audio/basic", "au"),
    ("audio/flac", "flac"),
    ("audio/m4a", "m4a"),
    ("audio/midi", "mid"),
    ("audio/mp3", "mp3"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "opus"),
    ("audio/vnd.wave", "wav"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("audio/x-aiff", "aif"),
    ("audio/x-flac", "flac"),
    ("audio/x-m4a", "m4a"),
    ("audio/x-ms-wma", "wma"),
    ("audio/x-pn-realaudio", "ra"),
    ("audio/x-wav", "wav"),
    ("font/otf", "otf"),
    ("font/ttf", "ttf"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/ief", "ief"),
    ("image/jpeg", "jpg"),
    ("image/jpg", "jpg"),
    ("image/jxl", "jxl"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tiff"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/webp", "webp"),
    ("image/x-cmu-raster", "ras"),
    ("image/x-icon", "ico"),
    ("image/x-portable-anymap", "pnm"),
    ("image/x-portable-bitmap", "pbm"),
    ("image/x-portable-graymap", "pgm"),
    ("image/x-portable-pixmap", "ppm"),
    ("image/x-rgb", "rgb"),
    ("image/x-xbitmap", "xbm"),
    ("image/x-xpixmap", "xpm"),
    ("image/x-xwindowdump", "xwd"),
    ("model/gltf+json", "gltf"),
    ("model/gltf-binary", "glb"),
    ("model/obj", "obj"),
    ("model/ply", "ply"),
    ("model/stl", "stl"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/javascript", "js"),
    ("text/markdown", "md"),
    ("text/n3", "n3"),
    ("text/plain", "txt"),
    ("text/richtext", "rtx"),
    ("text/tab-separated-values", "tsv"),
    ("text/vtt", "vtt"),
    ("text/x-c", "c"),
    ("text/x-markdown", "md"),
    ("text/x-python", "py"),
    ("text/x-setext", "etx"),
    ("text/x-sgml", "sgm"),
    ("text/x-vcard", "vcf"),
    ("text/xml", "xml"),
    ("text/yaml", "yaml"),
    ("video/3gpp", "3gp"),
    ("video/mp2t", "ts"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpeg"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-flv", "flv"),
    ("video/x-m4v", "m4v"),
    ("video/x-matroska", "mkv"),
    ("video/x-ms-wmv", "wmv"),
    ("video/x-msvideo", "avi"),
    ("video/x-sgi-movie", "movie"),
];

/// Types of extensions for which the table has several, or none that fits.
const TYPES: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("bz2", "application/x-bzip2"),
    ("gz", "application/gzip"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("jsonl", "application/jsonl"),
    ("m4a", "audio/mp4"),
    ("mp3", "audio/mpeg"),
    ("tbz2", "application/x-bzip2"),
    ("tgz", "application/gzip"),
    ("txz", "application/x-xz"),
    ("wav", "audio/x-wav"),
    ("xml", "text/xml"),
    ("xz", "application/x-xz"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> String {
        from_url(&url.parse().unwrap())
    }

    #[test]
    fn names_from_urls() {
        assert_eq!(name("http://h/a/image.jpg?size=2#top"), "image.jpg");
        assert_eq!(name("http://h/a%20b+c.png"), "a b c.png");
        assert_eq!(name("http://h/%2e%2e%2fetc%2Fpasswd"), ".._etc_passwd");
        assert_eq!(name("http://h/a%00b"), "a_b");
        assert_eq!(name("http://h/100%.txt"), "100%.txt");
        assert_eq!(name("http://h/"), "");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let long = name(&format!("http://h/{}.jpeg", "%C3%A9".repeat(150)));
        assert!(long.len() <= MAX_LENGTH, "{}", long.len());
        assert!(long.ends_with("é~.jpeg"), "{long}");
        assert_eq!(
            name(&format!("http://h/{}", "x".repeat(300))).len(),
            MAX_LENGTH
        );
        assert_eq!(
            name(&format!("http://h/a.{}", "x".repeat(300))).len(),
            MAX_LENGTH
        );
    }

    #[test]
    fn names_from_types() {
        assert_eq!(from_mime("text/plain"), "file.txt");
        assert_eq!(from_mime("image/JPEG"), "file.jpg");
        assert_eq!(from_mime("x-unheard/of"), "file");
        assert_eq!(from_mime("video/x-matroska"), "file.mkv");
        assert_eq!(from_mime("audio/mp4"), "file.m4a");
    }

    #[test]
    fn types_from_names() {
        for (name, guessed, expected) in [
            ("a.mkv", UNKNOWN, "video/x-matroska"),
            ("a.M4A", UNKNOWN, "audio/mp4"),
            ("a.tar.gz", "application/x-tar", "application/gzip"),
            ("a.csv.gz", "text/csv", "application/gzip"),
            ("a.jsonl", UNKNOWN, "application/jsonl"),
            ("a.npy", UNKNOWN, "application/x-npy"),
            ("a.safetensors", UNKNOWN, "application/x-safetensors"),
            ("a.pt", UNKNOWN, UNKNOWN),
            ("a", UNKNOWN, UNKNOWN),
            ("a.png", "image/png", "image/png"),
            ("a.py", "text/x-python", "text/x-python"),
        ] {
            assert_eq!(media_type(name, guessed), expected, "{name}");
        }
    }

    #[test]
    fn names_that_clients_give() {
        assert_eq!(from_client("a%20b.tar.gz").as_deref(), Some("a b.tar.gz"));
        assert_eq!(
            from_client("..%2F..%2Fetc%2Fpasswd").as_deref(),
            Some(".._.._etc_passwd")
        );
        assert_eq!(from_client(""), None);
        let name = "é a/b+c;d,e.m4a";
        assert_eq!(from_client(&encoded(name)).unwrap(), "é a_b+c;d,e.m4a");
    }
}
