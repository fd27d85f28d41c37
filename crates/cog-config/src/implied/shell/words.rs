//! A script as words, ends of simple commands, and scripts that stand in others.

use std::iter::Peekable;
use std::str::Chars;

/// A part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A word, without its quotes. Substitutions in it are left out.
    Word(String),
    /// The script of a substitution.
    Nested(String),
    /// An operator or line end: what follows is another command.
    End,
}

/// Takes a script apart.
pub(super) fn pieces(script: &str) -> Vec<Piece> {
    let mut reader = Reader {
        characters: script.chars().peekable(),
        pieces: Vec::new(),
        word: None,
    };
    while reader.step() {}
    reader.finish_word();
    reader.pieces
}

struct Reader<'script> {
    characters: Peekable<Chars<'script>>,
    pieces: Vec<Piece>,
    word: Option<String>,
}

impl Reader<'_> {
    fn step(&mut self) -> bool {
        let Some(character) = self.characters.next() else {
            return false;
        };
        match character {
            ' ' | '\t' | '\r' => self.finish_word(),
            '\n' | ';' | '&' | '|' | '(' | ')' => self.end(),
            '#' if self.word.is_none() => {
                while self.characters.next_if(|&next| next != '\n').is_some() {}
            }
            '\'' => {
                let quoted = self.until('\'');
                self.push_text(&quoted);
            }
            '"' => self.double_quoted(),
            '\\' => match self.characters.next() {
                None | Some('\n') => {}
                Some(other) => self.push(other),
            },
            '$' => self.substitution(),
            '`' => {
                let script = self.until('`');
                self.nested(script);
            }
            '<' | '>' => self.redirection(),
            other => self.push(other),
        }
        true
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(character) = self.characters.next() {
            match character {
                '"' => return,
                '\\' => match self.characters.next() {
                    None | Some('\n') => {}
                    Some(other) => {
                        if !"\"\\$`".contains(other) {
                            self.push('\\');
                        }
                        self.push(other);
                    }
                },
                '$' => self.substitution(),
                '`' => {
                    let script = self.until('`');
                    self.nested(script);
                }
                other => self.push(other),
            }
        }
    }

    /// What follows a `$`.
    fn substitution(&mut self) {
        match self.characters.peek() {
            Some('(') => {
                self.characters.next();
                let script = self.balanced('(', ')');
                // `$((…))` is arithmetic.
                if !script.starts_with('(') {
                    self.nested(script);
                }
                self.word.get_or_insert_default();
            }
            Some('{') => {
                self.characters.next();
                self.balanced('{', '}');
                self.push('$');
            }
            _ => self.push('$'),
        }
    }

    /// Drops the file of a redirection; a number before it is no word.
    fn redirection(&mut self) {
        let word = self.word.take().unwrap_or_default();
        if !word.is_empty() && !word.bytes().all(|byte| byte.is_ascii_digit()) {
            self.word = Some(word);
        }
        self.finish_word();
        if self.characters.next_if_eq(&'(').is_some() {
            let script = self.balanced('(', ')');
            self.nested(script);
            return;
        }
        while self
            .characters
            .next_if(|&next| "<>&|-".contains(next))
            .is_some()
        {}
        while self
            .characters
            .next_if(|&next| next == ' ' || next == '\t')
            .is_some()
        {}
        if self.characters.next_if_eq(&'(').is_some() {
            let script = self.balanced('(', ')');
            self.nested(script);
            return;
        }
        let before = self.pieces.len();
        while let Some(&next) = self.characters.peek() {
            if " \t\r\n;&|()<>".contains(next) || !self.step() {
                break;
            }
        }
        self.word = None;
        // Substitutions in the file's name run all the same.
        let mut index = 0;
        self.pieces.retain(|piece| {
            index += 1;
            index <= before || matches!(piece, Piece::Nested(_))
        });
    }

    /// Up to the closing character that belongs to an opening one already read; quotes hide both.
    fn balanced(&mut self, open: char, close: char) -> String {
        let mut text = String::new();
        let mut depth = 1_usize;
        let mut quote = None;
        while let Some(character) = self.characters.next() {
            match (character, quote) {
                ('\\', quote) if quote != Some('\'') => {
                    text.push('\\');
                    text.extend(self.characters.next());
                    continue;
                }
                ('\'' | '"', None) => quote = Some(character),
                (_, Some(open)) if character == open => quote = None,
                (_, Some(_)) => {}
                _ if character == open => depth += 1,
                _ if character == close => {
                    depth -= 1;
                    if depth == 0 {
                        return text;
                    }
                }
                _ => {}
            }
            text.push(character);
        }
        text
    }

    fn until(&mut self, end: char) -> String {
        let mut text = String::new();
        for character in self.characters.by_ref() {
            if character == end {
                break;
            }
            text.push(character);
        }
        text
    }

    fn nested(&mut self, script: String) {
        self.pieces.push(Piece::Nested(script));
    }

    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn push_text(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn finish_word(&mut self) {
        self.pieces.extend(self.word.take().map(Piece::Word));
    }

    fn end(&mut self) {
        self.finish_word();
        self.pieces.push(Piece::End);
    }
}
