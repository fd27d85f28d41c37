//! Which programs a shell script runs, and what it installs: the words of its simple commands.
//!
//! No shell, only a reader: it knows quotes, operators, substitutions and the commands that run others. What it can't
//! know (variables, aliases, files that are sourced) it leaves out.

mod words;

use words::{Piece, pieces};

/// How deep scripts may stand in scripts: `sh -c "$(…)"`. More is nobody's build.
const MAX_DEPTH: usize = 8;

/// A simple command: its program without a folder, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
}

/// The simple commands of a script, in order; those in substitutions come before the one they stand in.
pub(crate) fn commands(script: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    read(script, 0, &mut commands);
    commands
}

fn read(script: &str, depth: usize, commands: &mut Vec<Command>) {
    if depth > MAX_DEPTH {
        return;
    }
    let mut words: Vec<String> = Vec::new();
    for piece in pieces(script) {
        match piece {
            Piece::Word(word) => words.push(word),
            Piece::Nested(script) => read(&script, depth + 1, commands),
            Piece::End => simple(std::mem::take(&mut words), depth, commands),
        }
    }
    simple(words, depth, commands);
}

/// Words that stand before a command.
const KEYWORDS: [&str; 11] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "}", "time",
];

/// Programs that run the rest of their line, with those of their options that take a word.
const RUNNERS: [(&str, &[&str]); 12] = [
    ("sudo", &["-u", "-g", "-C", "-h", "-p", "--user", "--group"]),
    ("env", &["-u", "-C", "-S", "--unset", "--chdir"]),
    ("xargs", &["-I", "-n", "-P", "-L", "-d", "-s", "-a", "-E"]),
    ("nice", &["-n", "--adjustment"]),
    ("timeout", &["-s", "-k", "--signal", "--kill-after"]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("builtin", &[]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("eatmydata", &[]),
];

/// Programs that are shells.
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "zsh"];

fn simple(words: Vec<String>, depth: usize, commands: &mut Vec<Command>) {
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if KEYWORDS.contains(&word.as_str()) || is_assignment(&word) {
            continue;
        }
        if ["for", "case", "select", "function"].contains(&word.as_str()) {
            return;
        }
        let program = word.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some((_, with_word)) = RUNNERS.iter().find(|(runner, _)| *runner == program) {
            while let Some(option) = words.next_if(|word| word.starts_with('-')) {
                if with_word.contains(&option.as_str()) {
                    words.next();
                }
            }
            // A duration stands before the command.
            if program == "timeout" {
                words.next();
            }
            continue;
        }
        let arguments: Vec<String> = words.collect();
        inner(&program, &arguments, depth, commands);
        if !program.is_empty() {
            commands.push(Command { program, arguments });
        }
        return;
    }
}

/// Commands that stand in a command's arguments.
fn inner(program: &str, arguments: &[String], depth: usize, commands: &mut Vec<Command>) {
    if SHELLS.contains(&program) {
        let is_script = |word: &&String| {
            word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
        };
        let script = arguments.iter().position(|word| is_script(&word));
        if let Some(script) = script.and_then(|index| arguments.get(index + 1)) {
            read(script, depth + 1, commands);
        }
    } else if program == "eval" {
        read(&arguments.join(" "), depth + 1, commands);
    } else if program == "find" {
        let is_exec = |word: &String| ["-exec", "-execdir", "-ok"].contains(&word.as_str());
        for (index, _) in arguments
            .iter()
            .enumerate()
            .filter(|(_, word)| is_exec(word))
        {
            let rest = arguments[index + 1..].iter();
            let command = rest
                .take_while(|word| *word != ";" && *word != "+")
                .cloned();
            simple(command.collect(), depth + 1, commands);
        }
    }
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
