//! Renders error chains with hints, and redacts secrets.
//!
//! The one place that turns errors into text for people. It prints nothing itself.

mod plain;
mod redact;

use std::error::Error;
use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

pub use plain::{line, plain};
pub use redact::redact_url;

/// An error that can say what to do about it.
pub trait Hint {
    /// What the user can do, as a phrase.
    fn hint(&self) -> Option<String>;
}

/// Whether text gets ANSI colour and marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

/// An error and its causes, one a line, without a line end; a cause that its error already quotes is left out.
pub fn render(error: &(dyn Error + 'static), hint: Option<&str>, colour: Colour) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let said = current.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = current.source();
    }
    if let Some(hint) = hint {
        let _ = write!(text, "\n  {hint}");
    }
    let text = plain(&text);
    match colour {
        Colour::On => format!("{}{text}", " ✗ ".red().bold()),
        Colour::Off => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `x`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_their_errors_once() {
        let error = Outer(std::io::Error::other("no such file"));
        assert_eq!(
            render(&error, None, Colour::Off),
            "could not read `x`: no such file"
        );
        assert_eq!(
            render(&error, Some("make it"), Colour::Off),
            "could not read `x`: no such file\n  make it"
        );
        let hostile = Outer(std::io::Error::other("\u{1b}]0;mine\u{7}"));
        assert_eq!(
            render(&hostile, None, Colour::Off),
            r"could not read `x`: \u{1b}]0;mine\u{7}"
        );
    }
}
