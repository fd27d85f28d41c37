//! What uv wrote, as people are shown it: short, without credentials, with their own files' names; and what it names.

/// The name of the file that uv is given.
pub(in crate::uv) const INPUT: &str = "requirements.in";
/// The name of the file that it installs.
pub(in crate::uv) const PINS: &str = "pins.txt";
/// The folder of the project's files, as uv is given them.
const ARTIFACTS: &str = "/artifacts/";

/// `text` with the user's file in place of ours.
pub(super) fn in_users_terms(text: &str, file: &str) -> String {
    let quoted = format!("`{INPUT}`");
    let file_alone = file.trim_matches('`');
    let mut words = text.replace(&quoted, file).replace(INPUT, file_alone);
    words = words.replace(PINS, file_alone);
    words = in_project(&words);
    // The place is one of our file, where lines are joined and comments are gone.
    if let Some(at) = words.find(" at position ") {
        let rest = &words[at + " at position ".len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        words.replace_range(at..at + " at position ".len() + digits, "");
    }
    words
}

/// `text` with the project's files by their names in the project: uv has copies elsewhere.
fn in_project(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ARTIFACTS) {
        let (before, after) = rest.split_at(at);
        let start = before
            .rfind(|character: char| character.is_whitespace() || "`'\"<>()=,".contains(character))
            .map_or(0, |start| start + 1);
        let path = before[start..]
            .strip_prefix("file://")
            .unwrap_or(&before[start..]);
        if path.is_empty() || path.starts_with('/') {
            words.push_str(&before[..start]);
        } else {
            words.push_str(before);
            words.push_str(ARTIFACTS);
        }
        rest = &after[ARTIFACTS.len()..];
    }
    words + rest
}

/// The first URL that could not be fetched.
pub(in crate::uv) fn failed_url(text: &str) -> Option<String> {
    let lead = ["Failed to fetch: ", "for url (", "unable to access "];
    lead.iter()
        .find_map(|lead| {
            let (_, rest) = text.split_once(lead)?;
            urls(rest).next().map(str::to_owned)
        })
        .or_else(|| urls(text).next().map(str::to_owned))
}

/// The URLs in `text`.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| character.is_whitespace() || "`'\"<>()=,".contains(character))
        .filter(|word| word.contains("://"))
}

pub(in crate::uv) fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    (!host.is_empty()).then(|| host.to_owned())
}

/// The package that a page of an index, or a file, is about.
pub(super) fn package(url: &str) -> Option<String> {
    let (_, path) = url.split_once("://")?.1.split_once('/')?;
    let path = path.split(['?', '#']).next()?;
    match path.strip_suffix('/') {
        Some(page) => page.rsplit('/').next(),
        None => path
            .rsplit('/')
            .next()
            .filter(|file| file.contains('.'))
            .and_then(|file| file.split('-').next()),
    }
    .filter(|name| !name.is_empty())
    .map(str::to_owned)
}

const MAX_LINES: usize = 14;
const MAX_LINE: usize = 400;

/// The part of a tool's output that explains its failure: without warnings and what belongs to
/// them, from the first error on, without credentials, and not endless.
pub(in crate::uv) fn shorten(stderr: &str) -> String {
    let mut in_warning = false;
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| {
            if line.starts_with("warning:") || line.starts_with("WARNING:") {
                in_warning = true;
            } else if !line.starts_with(' ') {
                in_warning = false;
            }
            // What this one recommends is said better by our own hint.
            let vague = line.starts_with("hint: Build failures usually");
            !in_warning && !vague && !line.trim().is_empty()
        })
        .collect();
    let start = lines
        .iter()
        .position(|line| line.to_ascii_lowercase().starts_with("error:"))
        .unwrap_or(0);
    let relevant = &lines[start..];
    let cut = if relevant.len() > MAX_LINES {
        let tail = &relevant[relevant.len() - (MAX_LINES - 5)..];
        [&relevant[..4], &["  …"], tail].concat()
    } else {
        relevant.to_vec()
    };
    cut.iter()
        .map(|line| shorten_line(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shorten_line(line: &str) -> String {
    let line = ["error: ", "ERROR: "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))
        .unwrap_or(line);
    let line = without_credentials(line);
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `text` with what stands between `://` and `@` of its URLs left out.
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|character: char| character.is_whitespace() || "/?#`'\"<>".contains(character))
            .unwrap_or(after.len());
        let authority = &after[..end];
        clean.push_str(
            authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host),
        );
        rest = &after[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWNLOAD_WARNING: &str = "warning: A managed Python download is available\n  \
        cause: Request failed after 3 retries\n  cause: error sending request for url\n";

    #[test]
    fn warnings_go_and_length_is_bounded() {
        assert_eq!(
            shorten(&format!("{DOWNLOAD_WARNING}error: broken\n  cause: x")),
            "broken\n  cause: x"
        );
        let long: String = (0..1000)
            .flat_map(|line| ["error: ".to_owned(), line.to_string(), "\n".to_owned()])
            .collect();
        let short = shorten(&long);
        assert_eq!(short.lines().count(), MAX_LINES);
        assert!(short.starts_with("0\n") && short.ends_with("999"));
        assert!(shorten(&"x".repeat(10_000)).len() < 1000);
    }

    #[test]
    fn credentials_are_left_out() {
        let table = [
            ("https://u:p@h/x", "https://h/x"),
            ("a https://u@h b ssh://git:x@h:1", "a https://h b ssh://h:1"),
            ("https://h/a@b", "https://h/a@b"),
            ("no url @ all", "no url @ all"),
        ];
        for (text, expected) in table {
            assert_eq!(without_credentials(text), expected);
        }
    }
}
