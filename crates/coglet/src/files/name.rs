//! File names for what came without one, or with one from a stranger.

/// Bytes of a name; leaves room for our prefix within the usual 255.
const MAX_LENGTH: usize = 200;

/// The name that a URL ends in: last segment of the path, decoded, harmless, not too long.
pub(super) fn from_url(url: &reqwest::Url) -> String {
    let segment = url.path().rsplit('/').next().unwrap_or_default();
    let decoded = decode(segment, Plus::IsSpace);
    shorten(&String::from_utf8_lossy(&decoded).replace(['/', '\0'], "_"))
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

/// The extension people expect for a type.
fn extension(mime: &str) -> Option<&'static str> {
    EXTENSIONS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(mime))
        .map(|(_, extension)| *extension)
}

/// Python's table, which the models know, and what people send beyond it.
const EXTENSIONS: &[(&str, &str)] = &[
    ("application/gzip", "gz"),
    ("application/javascript", "js"),
    ("application/json", "json"),
    ("application/manifest+json", "webmanifest"),
    ("application/msword", "doc"),
    ("application/n-quads", "nq"),
    ("application/n-triples", "nt"),
    ("application/octet-stream", "bin"),
    ("application/pdf", "pdf"),
    ("application/pkcs7-mime", "p7c"),
    ("application/postscript", "ps"),
    ("application/trig", "trig"),
    ("application/vnd.apache.parquet", "parquet"),
    ("application/vnd.apple.mpegurl", "m3u"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/wasm", "wasm"),
    ("application/x-cpio", "cpio"),
    ("application/x-csh", "csh"),
    ("application/x-dvi", "dvi"),
    ("application/x-gtar", "gtar"),
    ("application/x-hdf", "hdf"),
    ("application/x-hdf5", "h5"),
    ("application/x-latex", "latex"),
    ("application/x-ndjson", "ndjson"),
    ("application/x-netcdf", "cdf"),
    ("application/x-pkcs12", "p12"),
    ("application/x-pn-realaudio", "ram"),
    ("application/x-python-code", "pyc"),
    ("application/x-sh", "sh"),
    ("application/x-shockwave-flash", "swf"),
    ("application/x-tar", "tar"),
    ("application/x-tcl", "tcl"),
    ("application/x-tex", "tex"),
    ("application/x-yaml", "yaml"),
    ("application/xml", "xml"),
    ("application/yaml", "yaml"),
    ("application/zip", "zip"),
    ("audio/3gpp", "3gp"),
    ("audio/3gpp2", "3g2"),
    ("audio/aac", "aac"),
    ("audio/basic", "au"),
    ("audio/flac", "flac"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "opus"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("audio/x-aiff", "aif"),
    ("audio/x-pn-realaudio", "ra"),
    ("audio/x-wav", "wav"),
    ("font/ttf", "ttf"),
    ("font/woff2", "woff2"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/ief", "ief"),
    ("image/jpeg", "jpg"),
    ("image/jpg", "jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tiff"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/webp", "webp"),
    ("image/x-cmu-raster", "ras"),
    ("image/x-portable-anymap", "pnm"),
    ("image/x-portable-bitmap", "pbm"),
    ("image/x-portable-graymap", "pgm"),
    ("image/x-portable-pixmap", "ppm"),
    ("image/x-rgb", "rgb"),
    ("image/x-xbitmap", "xbm"),
    ("image/x-xpixmap", "xpm"),
    ("image/x-xwindowdump", "xwd"),
    ("model/gltf-binary", "glb"),
    ("model/stl", "stl"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/markdown", "md"),
    ("text/n3", "n3"),
    ("text/plain", "txt"),
    ("text/richtext", "rtx"),
    ("text/tab-separated-values", "tsv"),
    ("text/vtt", "vtt"),
    ("text/x-python", "py"),
    ("text/x-setext", "etx"),
    ("text/x-sgml", "sgm"),
    ("text/x-vcard", "vcf"),
    ("text/xml", "xml"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpeg"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-msvideo", "avi"),
    ("video/x-sgi-movie", "movie"),
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
    }
}
