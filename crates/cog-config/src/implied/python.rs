//! Which programs a Python source starts: string literals where commands stand.
//!
//! No parser, only a reader of literals and of what stands before them: `["ffmpeg", …]`, `os.system("ffmpeg …")`,
//! `command = f"ffmpeg …"`. In sources that can't start a program at all, nothing is looked for.

use super::shell;

/// What a source that starts programs has in it.
const STARTERS: [&str; 9] = [
    "subprocess",
    "os.system",
    "os.popen",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "create_subprocess_",
    "shutil.which",
    "pexpect",
];

/// Functions whose first argument is a command.
const CALLS: [&str; 13] = [
    "run",
    "call",
    "check_call",
    "check_output",
    "Popen",
    "getoutput",
    "getstatusoutput",
    "system",
    "popen",
    "which",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "spawn",
];

/// The programs, in order; which of them matter is for the caller to know.
pub(crate) fn programs(source: &str) -> Vec<String> {
    if !STARTERS.iter().any(|starter| source.contains(starter)) {
        return Vec::new();
    }
    let mut programs = Vec::new();
    for literal in literals(source) {
        match literal.place {
            Place::List => {
                let name = literal.text.rsplit('/').next().unwrap_or_default();
                programs.push(name.to_owned());
            }
            Place::Call | Place::Value => {
                let commands = shell::commands(literal.text).into_iter();
                programs.extend(commands.map(|command| command.program));
            }
            Place::Elsewhere => {}
        }
    }
    programs
}

/// The source without its comments.
pub(crate) fn without_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut position = 0;
    for part in parts(source) {
        if let Part::Comment { start, end } = part {
            code.push_str(&source[position..start]);
            position = end;
        }
    }
    code.push_str(&source[position..]);
    code
}

/// A string literal and where it stands.
struct Literal<'source> {
    text: &'source str,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// First in a list or tuple.
    List,
    /// First in a call that starts a program.
    Call,
    /// A value of its own that goes on behind its first word.
    Value,
    Elsewhere,
}

fn literals(source: &str) -> Vec<Literal<'_>> {
    let mut literals = Vec::new();
    // What stood before, without comments and what is in literals.
    let mut before = String::new();
    let mut position = 0;
    for part in parts(source) {
        let (Part::Comment { start, end } | Part::Literal { start, end, .. }) = part;
        before.push_str(&source[position..start]);
        position = end;
        if let Part::Literal { text, .. } = part {
            let place = place(&before, text);
            literals.push(Literal { text, place });
            before.push_str("\"\"");
        }
    }
    literals
}

/// What isn't code, with where it begins and ends.
enum Part<'source> {
    Comment {
        start: usize,
        end: usize,
    },
    Literal {
        start: usize,
        text: &'source str,
        end: usize,
    },
}

fn parts(source: &str) -> impl Iterator<Item = Part<'_>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = position + source[position..].find(['"', '\'', '#'])?;
        let rest = &source[start..];
        let part = if rest.starts_with('#') {
            let end = rest.find('\n').map_or(source.len(), |line| start + line);
            position = end;
            Part::Comment { start, end }
        } else {
            let (text, length) = literal(rest);
            position = start + length;
            Part::Literal {
                start,
                text,
                end: position,
            }
        };
        Some(part)
    })
}

/// The text of the literal that `source` begins with, and where it ends. Escapes stay: no program has one in its
/// name.
fn literal(source: &str) -> (&str, usize) {
    let quote = &source[..1];
    let triple = quote.repeat(3);
    let delimiter = if source.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let start = delimiter.len();
    let mut position = start;
    while let Some(character) = source[position..].chars().next() {
        if character == '\\' {
            let escaped = source[position + 1..].chars().next();
            position += 1 + escaped.map_or(0, char::len_utf8);
        } else if source[position..].starts_with(delimiter) {
            return (&source[start..position], position + delimiter.len());
        } else if character == '\n' && delimiter.len() == 1 {
            // It was no literal, or is a broken one.
            return (&source[start..position], position);
        } else {
            position += character.len_utf8();
        }
    }
    (&source[start.min(source.len())..], source.len())
}

fn place(before: &str, text: &str) -> Place {
    // Letters before a quote say how it is read: f"…".
    let before = before.trim_end_matches(|letter: char| "rbfuRBFU".contains(letter));
    let before = before.trim_end();
    let Some(outer) = before.strip_suffix(['[', '(']) else {
        let is_value = before.ends_with('=') && text.contains(char::is_whitespace);
        return if is_value {
            Place::Value
        } else {
            Place::Elsewhere
        };
    };
    let outer = outer.trim_end_matches([' ', '\t']);
    let start = outer
        .rfind(|character: char| !(character.is_alphanumeric() || character == '_'))
        .map_or(0, |index| {
            index + outer[index..].chars().next().map_or(1, char::len_utf8)
        });
    let word = &outer[start..];
    let is_keyword = ["return", "in", "else", "or", "and", "yield"].contains(&word);
    let opens_list = before.ends_with('[');
    if word.is_empty() && !outer.ends_with([']', ')', '"', '\'']) || is_keyword {
        Place::List
    } else if !opens_list
        && (CALLS.contains(&word) || word.starts_with("exec") || word.starts_with("spawn"))
    {
        Place::Call
    } else {
        Place::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::programs;

    #[test]
    fn programs_are_where_commands_stand() {
        for (source, expected) in [
            ("subprocess.run(['ffmpeg', '-i', x])", "ffmpeg"),
            (
                "subprocess.check_call([\n    # why\n    \"ffmpeg\",\n    'sox'])",
                "ffmpeg",
            ),
            (
                "import subprocess\ncommand = ('/usr/bin/ffmpeg', 'x')",
                "ffmpeg",
            ),
            ("import subprocess\nreturn [f'ffmpeg', x]", "ffmpeg"),
            ("os.system(f'ffmpeg -i {a} | sox - {b}')", "ffmpeg sox"),
            ("os.system('''\nset -e\nffmpeg -i x\n''')", "set ffmpeg"),
            (
                "import subprocess as sp\ncmd = \"git clone x && cd y\"\nsp.run(cmd, shell=True)",
                "git cd",
            ),
            ("shutil.which('ffmpeg')", "ffmpeg"),
            ("asyncio.create_subprocess_exec('ffmpeg', '-i')", "ffmpeg"),
            ("os.execvp('git', x)", "git"),
            // Elsewhere.
            ("import subprocess\nx = d['ffmpeg']; y = f(a)['git']", ""),
            ("import subprocess\nprint('git is missing')  # ['git']", ""),
            ("import subprocess\nname = 'git'", ""),
            (
                "import subprocess\nx = {'zip': 1}; y = a == 'git'; z = ['a', 'git']",
                "a",
            ),
            ("x = ['ffmpeg']", ""),
            ("import subprocess\nx = 'it\\'s ['; y = 1", "it's"),
            ("import subprocess\nx = 'broken\ny = ['git']", "git"),
            ("import subprocess\n\"", ""),
            ("import subprocess\n'é\\", ""),
        ] {
            assert_eq!(programs(source).join(" "), expected, "{source}");
        }
    }
}
