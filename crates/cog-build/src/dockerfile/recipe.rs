//! Writing a Dockerfile: instructions, quotes, texts.

use std::path::Path;

use super::{Dockerfile, DockerfileError, Result, STAGED, StagedFile};

/// Files as texts in the Dockerfile and mounts of caches are of this version of the language.
const SYNTAX: &str = "#syntax=docker/dockerfile:1.4";

/// A Dockerfile as it is written.
pub(super) struct Recipe {
    lines: Vec<String>,
    staged: Vec<StagedFile>,
    warnings: Vec<String>,
}

impl Recipe {
    pub(super) fn new() -> Self {
        Self {
            lines: vec![SYNTAX.to_owned()],
            staged: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Dockerfile {
        Dockerfile {
            text: self.lines.join("\n") + "\n",
            staged: self.staged,
            warnings: self.warnings,
        }
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    pub(super) fn instruction(&mut self, name: &str, arguments: impl AsRef<str>) {
        self.lines.push(format!("{name} {}", arguments.as_ref()));
    }

    /// A `RUN` of several shell commands, each of which must succeed.
    pub(super) fn run(&mut self, mount: Option<Mount>, commands: &[impl AsRef<str>]) {
        let commands: Vec<&str> = commands.iter().map(AsRef::as_ref).collect();
        let mount = mount.map(Mount::text).unwrap_or_default();
        self.instruction("RUN", format!("{mount}{}", commands.join(" && \\\n    ")));
    }

    /// One `ENV` that sets exactly these values.
    pub(super) fn variables<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={}", literal(value)))
            .collect();
        self.instruction("ENV", pairs.join(" "));
    }

    /// A file with this text.
    pub(super) fn text(&mut self, path: &str, text: &str) {
        let mut end = "EOF".to_owned();
        while text.lines().any(|line| line == end) {
            end.push('_');
        }
        let text = text.trim_end_matches('\n');
        self.instruction("COPY", format!("<<'{end}' {path}\n{text}\n{end}"));
    }

    /// A file that is not the project's source.
    pub(super) fn stage(&mut self, source: &Path, path: &str, target: &str) -> Result<()> {
        let file = StagedFile {
            source: source.to_owned(),
            path: path.to_owned(),
        };
        if self.staged.contains(&file) {
            return Ok(());
        }
        self.staged.push(file);
        self.copy(&format!("--from={STAGED} "), path, target)
    }

    /// `COPY` with `flags`, each of which ends with a blank.
    pub(super) fn copy(&mut self, flags: &str, source: &str, target: &str) -> Result<()> {
        one_line("the path of a file", source)?;
        let are_plain = [source, target]
            .iter()
            .all(|path| path.chars().all(is_plain));
        let paths = if are_plain {
            format!("{source} {target}")
        } else {
            json(&[source, target])
        };
        self.instruction("COPY", format!("{flags}{paths}"));
        Ok(())
    }
}

/// A cache that is mounted while a command runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mount {
    Apt,
    Pip,
    Uv,
}

impl Mount {
    fn text(self) -> &'static str {
        match self {
            Self::Apt => "--mount=type=cache,target=/var/cache/apt,sharing=locked ",
            Self::Pip => "--mount=type=cache,target=/root/.cache/pip ",
            Self::Uv => "--mount=type=cache,target=/root/.cache/uv ",
        }
    }
}

/// `value`, if it is one line.
pub(super) fn one_line<'a>(what: &'static str, value: &'a str) -> Result<&'a str> {
    if value.contains(['\n', '\r']) {
        return Err(DockerfileError::LineBreak {
            what,
            value: value.to_owned(),
        });
    }
    Ok(value)
}

/// Paths as a list, the form that takes blanks.
fn json(paths: &[&str]) -> String {
    let quoted: Vec<String> = paths
        .iter()
        .map(|path| serde_json::Value::from(*path).to_string())
        .collect();
    format!("[{}]", quoted.join(", "))
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-.:/,@%+=".contains(character)
}

/// A value that the Dockerfile's own rules leave as it is.
fn literal(value: &str) -> String {
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A word that the shell leaves as it is.
pub(super) fn shell_word(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_what_they_are() {
        for (value, expected) in [
            ("michael", "michael"),
            ("", ""),
            ("a=b", "a=b"),
            ("two words", "\"two words\""),
            ("say \"hi\"", r#""say \"hi\"""#),
            (r"$HOME\n", r#""\$HOME\\n""#),
            ("it's", "\"it's\""),
        ] {
            assert_eq!(literal(value), expected);
        }
        assert_eq!(shell_word("a/b-1.whl"), "a/b-1.whl");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(json(&["a b", "c\"d"]), r#"["a b", "c\"d"]"#);
    }

    #[test]
    fn a_text_never_ends_early() {
        let mut recipe = Recipe::new();
        recipe.text("/x", "EOF\nb\n");
        let text = recipe.finish().text;
        assert!(text.ends_with("COPY <<'EOF_' /x\nEOF\nb\nEOF_\n"), "{text}");
    }
}
