//! Scripts of packages: they name an interpreter, which must be that of the image.

/// The line every script of the environment starts with.
const FIRST_LINE: &[u8] = b"#!/opt/venv/bin/python\n";

/// `content` with the environment's interpreter in its first line; `None` if it is not a Python
/// script or needs no change.
pub(crate) fn with_interpreter(content: &[u8]) -> Option<Vec<u8>> {
    let rest = content.strip_prefix(b"#!")?;
    let (first, rest) = split_line(rest);
    let body = if is_python(first) {
        rest
    } else if first.trim_ascii() == b"/bin/sh" {
        after_trampoline(rest)?
    } else {
        return None;
    };
    Some([FIRST_LINE, body].concat())
}

/// Whether the text after `#!` names a Python interpreter.
fn is_python(line: &[u8]) -> bool {
    let program = line
        .trim_ascii()
        .split(u8::is_ascii_whitespace)
        .next()
        .unwrap_or_default();
    let name = program
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    name.starts_with(b"python") || name.starts_with(b"pypy")
}

/// What follows the two lines that start Python from a shell, used where the interpreter's path
/// is too long or has a space: `'''exec' '/path' "$0" "$@"` and `' '''`.
fn after_trampoline(text: &[u8]) -> Option<&[u8]> {
    let (exec, rest) = split_line(text);
    let (close, rest) = split_line(rest);
    (exec.starts_with(b"'''exec'") && close.trim_ascii() == b"' '''").then_some(rest)
}

/// `text` up to its first line end, and what follows it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_replaced() {
        let ours = Some(b"#!/opt/venv/bin/python\nimport x\n".to_vec());
        let table: [&[u8]; 5] = [
            b"#!/home/user/.pyenv/versions/3.11.7/bin/python\nimport x\n",
            b"#!/usr/bin/python3.11 -s\nimport x\n",
            b"#!python\nimport x\n",
            b"#!/opt/pypy/bin/pypy3\r\nimport x\n",
            b"#!/bin/sh\n'''exec' '/very long/python' \"$0\" \"$@\"\n' '''\nimport x\n",
        ];
        for script in table {
            assert_eq!(
                with_interpreter(script),
                ours,
                "{}",
                String::from_utf8_lossy(script)
            );
        }
    }

    #[test]
    fn other_programs_are_left_alone() {
        let table: [&[u8]; 4] = [b"#!/bin/sh\necho\n", b"#!/bin/bash\n", b"\x7fELF", b""];
        for script in table {
            assert_eq!(with_interpreter(script), None);
        }
    }
}
