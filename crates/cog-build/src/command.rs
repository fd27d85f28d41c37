//! A command of `build.run`.

use serde::{Deserialize, Serialize};

/// A command that cannot become a step.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command has a line break.
    #[error(
        "One of the commands in 'run' contains a new line, which won't work. You need to create a new list item in YAML prefixed with '-' for each command.\n\nThis is the offending line: {0}"
    )]
    NewLine(String),
    /// The command is blank.
    #[error("one of the commands in `run` is empty")]
    Empty,
}

/// A shell command and the secrets that it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// What `/bin/sh -c` gets.
    pub command: String,
    /// Secrets mounted as files while it runs.
    pub secrets: Vec<SecretMount>,
}

/// A secret as a file in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMount {
    /// Name of the secret.
    pub id: String,
    /// Where it appears; relative paths start at the working directory.
    pub target: String,
}

impl Command {
    /// The command without space around it, if it is one line.
    pub(crate) fn checked(&self) -> Result<Self, CommandError> {
        let command = self.command.trim();
        if command.is_empty() {
            Err(CommandError::Empty)
        } else if command.contains('\n') {
            Err(CommandError::NewLine(command.to_owned()))
        } else {
            Ok(Self {
                command: command.to_owned(),
                secrets: self.secrets.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str) -> Result<String, String> {
        let command = Command {
            command: command.to_owned(),
            secrets: Vec::new(),
        };
        command
            .checked()
            .map(|command| command.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_one_line() {
        assert_eq!(check("  echo hello \n"), Ok("echo hello".to_owned()));
        let error = check("echo a\necho b").expect_err("two lines");
        assert!(
            error
                .starts_with("One of the commands in 'run' contains a new line, which won't work.")
        );
        assert!(error.ends_with("This is the offending line: echo a\necho b"));
        assert_eq!(
            check(" \n "),
            Err("one of the commands in `run` is empty".to_owned())
        );
    }
}
