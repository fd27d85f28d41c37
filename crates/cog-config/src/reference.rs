//! Names of repositories.

/// Checks `host:port/path`, without tag or digest.
pub(crate) fn bare_repository(text: &str) -> Result<(), String> {
    let (name, version) = split(text);
    path(name).map_err(|detail| format!("invalid repository: {detail}"))?;
    if version {
        Err("must be a bare repository — tags and digests are not allowed".into())
    } else {
        Ok(())
    }
}

/// The name, and whether a tag or digest follows it.
fn split(text: &str) -> (&str, bool) {
    let (text, digest) = match text.split_once('@') {
        Some((name, _)) => (name, true),
        None => (text, false),
    };
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].find(':') {
        // A single segment with a port would be a host without a repository; with a tag it is an image.
        Some(colon) => (&text[..last + colon], true),
        None => (text, digest),
    }
}

fn path(name: &str) -> Result<(), String> {
    let mut parts: Vec<&str> = name.split('/').collect();
    let is_host = |part: &str| part == "localhost" || part.contains(['.', ':']);
    if parts.len() > 1 && is_host(parts[0]) {
        parts.remove(0);
    }
    let fits = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && part.ends_with(|last: char| last.is_ascii_lowercase() || last.is_ascii_digit())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    match parts.iter().find(|part| !fits(part)) {
        None => Ok(()),
        Some(part) => Err(format!(
            "`{part}` must be lowercase letters and digits, with dots, dashes or underscores between them"
        )),
    }
}
