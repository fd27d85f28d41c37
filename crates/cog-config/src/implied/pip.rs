//! Commands that install something, and what.

use super::shell::Command;
use crate::requirements::is_archive;

/// Options of `pip install` that take a word.
const PIP_OPTIONS: [&str; 20] = [
    "-r",
    "-c",
    "-f",
    "-i",
    "-t",
    "--requirement",
    "--constraint",
    "--find-links",
    "--index-url",
    "--extra-index-url",
    "--target",
    "--prefix",
    "--root",
    "--platform",
    "--python-version",
    "--python",
    "--cache-dir",
    "--trusted-host",
    "--no-binary",
    "--only-binary",
];

/// The requirements of a `pip install`, `python -m pip install` or `uv pip install`.
pub(super) fn requirements(command: &Command) -> Vec<&str> {
    let mut words = command.arguments.iter().map(String::as_str);
    let is_pip = |word: Option<&str>| {
        word.is_some_and(|word| word.starts_with("pip") && !word.starts_with("pipe"))
    };
    let found = match command.program.as_str() {
        "uv" => is_pip(words.next()),
        program if is_python(program) => words.next() == Some("-m") && is_pip(words.next()),
        program => is_pip(Some(program)),
    };
    if !found || !words.any(|word| word == "install") {
        return Vec::new();
    }
    let mut requirements = Vec::new();
    while let Some(word) = words.next() {
        match word {
            // What follows is a requirement of its own.
            "-e" | "--editable" => {}
            option if PIP_OPTIONS.contains(&option) => {
                words.next();
            }
            option if option.starts_with('-') => {}
            requirement => requirements.push(requirement),
        }
    }
    requirements
}

/// The packages of an `apt-get install`.
pub(super) fn apt_packages(command: &Command) -> Vec<String> {
    let words = command.arguments.iter();
    if !["apt", "apt-get", "aptitude"].contains(&command.program.as_str()) {
        return Vec::new();
    }
    let words = words.skip_while(|word| *word != "install").skip(1);
    let words = words.filter(|word| !word.starts_with('-'));
    words
        .map(|word| word.split(['=', '/']).next().unwrap_or_default().to_owned())
        .collect()
}

/// The script of a `python -c`.
pub(super) fn python_script(command: &Command) -> Option<&str> {
    let mut words = command.arguments.iter();
    words
        .find(|word| *word == "-c")
        .filter(|_| is_python(&command.program))?;
    words.next().map(String::as_str)
}

fn is_python(program: &str) -> bool {
    let version = program.strip_prefix("python");
    version.is_some_and(|version| {
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

/// The distribution that a URL most likely gives: a wheel or archive by its file name, a repository by its own.
pub(super) fn name_of_url(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("://")?;
    let path = rest
        .split(['#', '?', ' ', ';'])
        .next()?
        .trim_end_matches('/');
    let file = path.rsplit('/').next()?;
    if is_archive(file) {
        return file.split('-').next();
    }
    let repository = file.split('@').next()?;
    let repository = repository.trim_end_matches(".git");
    // `…/x.git@branch/with/slashes`
    let whole = path.split(".git@").next()?.rsplit('/').next()?;
    Some(if path.contains(".git@") {
        whole
    } else {
        repository
    })
}

/// A line as it may be shown: without what may be a password.
pub(super) fn shown(line: &str) -> String {
    let word = line.split_whitespace().find(|word| word.contains("git+"));
    cog_errors::redact_url(word.unwrap_or(line))
}
