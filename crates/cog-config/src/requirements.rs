//! Reading a requirements file into lines: comments, blank lines and continuations. What a line means is decided by
//! whoever installs it.

/// The requirement lines of `text`, in order.
///
/// A `#` starts a comment at the beginning of a line or after a blank, so that URL fragments (`#egg=…`) stay.
pub fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\r\n", "\n").replace("\\\n", "");
    joined
        .lines()
        .map(without_comment)
        .filter(|line| !line.is_empty() && *line != "-e .")
        .map(str::to_owned)
        .collect()
}

fn without_comment(line: &str) -> &str {
    let start = line
        .char_indices()
        .find(|&(index, character)| {
            character == '#'
                && (index == 0
                    || line[..index].ends_with(|before: char| before.is_ascii_whitespace()))
        })
        .map_or(line.len(), |(index, _)| index);
    line[..start].trim()
}
