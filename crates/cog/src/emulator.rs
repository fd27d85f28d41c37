//! Which program shows what we print, as far as it says so in the environment, and what it can do that not all of them can.

use crate::live::Narrowing;

/// Names the terminal's kind.
const TERM: &str = "TERM";
/// Names the program, by its own account.
const TERM_PROGRAM: &str = "TERM_PROGRAM";
/// Variables of programs that tell in another way that they wrap the lines of a window that becomes narrow anew.
const WRAPPING: [&str; 6] = [
    "VTE_VERSION",
    "KITTY_WINDOW_ID",
    "WT_SESSION",
    "ALACRITTY_WINDOW_ID",
    KONSOLE_VERSION,
    "TMUX",
];
/// Kinds that do.
const WRAPPING_TERMS: [&str; 6] = [
    "xterm-kitty",
    "xterm-ghostty",
    "alacritty",
    "foot",
    "tmux",
    "wezterm",
];

/// Names the program, across connections to other machines.
const LC_TERMINAL: &str = "LC_TERMINAL";
/// The version of KDE's, as in 220400.
const KONSOLE_VERSION: &str = "KONSOLE_VERSION";
/// Its first that shows pictures.
const KONSOLE_WITH_PICTURES: u32 = 220_400;

/// How a program is given a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Kitty,
    Iterm,
}

/// What is known of the program.
pub(crate) struct Emulator<F> {
    variable: F,
}

/// As this process was told.
pub(crate) fn of_environment() -> Emulator<impl Fn(&str) -> Option<String>> {
    Emulator {
        variable: |name: &str| std::env::var(name).ok(),
    }
}

impl<F: Fn(&str) -> Option<String>> Emulator<F> {
    /// How it is given pictures, if it is known to show them. What runs in a multiplexer is asked there, and does not get
    /// what is not text.
    pub(crate) fn pictures(&self) -> Option<Protocol> {
        let value = |name| (self.variable)(name).unwrap_or_default();
        let term = value(TERM);
        if !value("TMUX").is_empty() || term.starts_with("screen") || term.starts_with("tmux") {
            return None;
        }
        let program = value(TERM_PROGRAM);
        let konsole = value(KONSOLE_VERSION).parse().unwrap_or(0);
        if matches!(term.as_str(), "xterm-kitty" | "xterm-ghostty")
            || program == "ghostty"
            || konsole >= KONSOLE_WITH_PICTURES
        {
            return Some(Protocol::Kitty);
        }
        let is_iterm = matches!(program.as_str(), "iTerm.app" | "WezTerm" | "mintty")
            || value(LC_TERMINAL) == "iTerm2";
        is_iterm.then_some(Protocol::Iterm)
    }

    /// What becomes of lines that no longer fit. Whoever does not say so is taken for an old one.
    pub(crate) fn narrowing(&self) -> Narrowing {
        let is_set = |name: &&str| (self.variable)(name).is_some_and(|value| !value.is_empty());
        let term = (self.variable)(TERM).unwrap_or_default();
        let is_known = |known: &&str| term == **known || term.starts_with(&format!("{known}-"));
        let wraps = WRAPPING.iter().any(&is_set)
            || is_set(&TERM_PROGRAM)
            || WRAPPING_TERMS.iter().any(is_known);
        if wraps {
            Narrowing::Wraps
        } else {
            Narrowing::Cuts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator(variables: &[(&str, &str)]) -> Emulator<impl Fn(&str) -> Option<String>> {
        Emulator {
            variable: |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            },
        }
    }

    #[test]
    fn those_that_show_pictures_say_so() {
        let pictures = |variables: &[(&str, &str)]| emulator(variables).pictures();
        for variables in [
            [("TERM", "xterm-kitty"), ("KITTY_WINDOW_ID", "1")],
            [("TERM", "xterm-ghostty"), ("TERM_PROGRAM", "ghostty")],
            [("TERM", "xterm-256color"), ("KONSOLE_VERSION", "230805")],
        ] {
            assert_eq!(pictures(&variables), Some(Protocol::Kitty), "{variables:?}");
        }
        for variables in [
            [("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")],
            [("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")],
            [("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")],
        ] {
            assert_eq!(pictures(&variables), Some(Protocol::Iterm), "{variables:?}");
        }
        for variables in [
            [
                ("TERM", "xterm-256color"),
                ("TERM_PROGRAM", "Apple_Terminal"),
            ],
            [("TERM", "xterm-256color"), ("KONSOLE_VERSION", "210401")],
            [("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux,1,0")],
            [("TERM", "screen-256color"), ("LC_TERMINAL", "iTerm2")],
        ] {
            assert_eq!(pictures(&variables), None, "{variables:?}");
        }
    }

    #[test]
    fn those_that_wrap_say_so() {
        for variables in [
            [("TERM", "xterm-256color"), ("VTE_VERSION", "7600")],
            [("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")],
            [("TERM", "tmux-256color"), ("TMUX", "")],
            [("TERM", "foot"), ("TMUX", "")],
        ] {
            assert_eq!(
                emulator(&variables).narrowing(),
                Narrowing::Wraps,
                "{variables:?}"
            );
        }
        for term in ["xterm", "xterm-256color", "linux", "screen", "footloose"] {
            assert_eq!(emulator(&[("TERM", term)]).narrowing(), Narrowing::Cuts);
        }
        assert_eq!(emulator(&[]).narrowing(), Narrowing::Cuts);
    }
}
