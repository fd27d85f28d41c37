//! Requirement files as numbered lines: comments go, continued lines are one. What a line names is for whoever reads
//! what it names.

use super::{pyproject, without_comment};

/// The lines of the text of a requirement file, each with its number, from 1. A `uv.lock` has a line for each version.
pub fn numbered_lines(text: &str) -> Vec<(usize, String)> {
    if let Some(lines) = pyproject::constraints(text) {
        return (1..).zip(lines).collect();
    }
    let mut lines = Vec::new();
    let mut joined = String::new();
    let mut first = 1;
    for (index, line) in text.lines().enumerate() {
        if joined.is_empty() {
            first = index + 1;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            joined.push_str(continued);
            continue;
        }
        joined.push_str(line);
        push(&mut lines, &joined, first);
        joined.clear();
    }
    push(&mut lines, &joined, first);
    lines
}

fn push(lines: &mut Vec<(usize, String)>, line: &str, number: usize) {
    let text = without_comment(line);
    if !text.is_empty() {
        lines.push((number, text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_their_place() {
        let lines = numbered_lines("# a\ntorch==\\\r\n  # no\nb\\\n==1\n\n-e .  # c\nd \\");
        let lines: Vec<(usize, &str)> = lines
            .iter()
            .map(|(number, text)| (*number, &**text))
            .collect();
        assert_eq!(lines, [(2, "torch=="), (4, "b==1"), (7, "-e ."), (8, "d")]);
    }
}
