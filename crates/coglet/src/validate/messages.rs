//! What is wrong with an input, in the words of a 422 answer.
//!
//! What is wrong can be as long as what was sent, and is worth a thousand times the memory as messages:
//! so only the first findings become messages.

use cog_inputs::{Finding, Problem, Type};
use serde_json::Value;

use super::Violation;
use crate::json::compact_start;
use crate::secrets::STARS;

/// Values are quoted in messages up to this length.
const MAX_QUOTE: usize = 1000;
/// As many findings are listed; the others are counted.
const MAX_LISTED: usize = 100;

/// The first violations, and how many there are beside them.
#[derive(Default)]
pub(super) struct Violations {
    listed: Vec<Violation>,
    left_out: usize,
}

impl Violations {
    pub(super) fn found(&mut self, finding: &Finding<'_>) {
        self.add(|| violation(finding, &quote(finding.value)));
    }

    /// In an input that is shown to nobody. Null hides nothing.
    pub(super) fn found_in_secret(&mut self, finding: &Finding<'_>) {
        self.add(|| match finding.value {
            "null" => violation(finding, "null"),
            _ => violation(finding, &format!("\"{STARS}\"")),
        });
    }

    /// A required member of the input is not there.
    pub(super) fn missing(&mut self, name: &str) {
        self.add(|| Violation::missing(name));
    }

    /// What was found, in order, and how much is not listed.
    pub(super) fn finish(mut self) -> Vec<Violation> {
        if self.left_out > 0 {
            self.listed.push(Violation::left_out(self.left_out));
        }
        self.listed
    }

    /// Counts a violation, and makes it only if there is room for it.
    fn add(&mut self, violation: impl FnOnce() -> Violation) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(violation());
        } else {
            self.left_out += 1;
        }
    }
}

/// Of a value that is shown so.
fn violation(finding: &Finding<'_>, quoted: &str) -> Violation {
    let place = finding.place.joined("/");
    let message = match &finding.problem {
        Problem::Missing => return Violation::missing(place),
        Problem::Type(types) => quoted_type_message(types, quoted),
        Problem::Choices(choices) => {
            let choices = Value::from(*choices);
            format!("{quoted} is not one of {choices}")
        }
        Problem::Minimum(minimum) => format!("{quoted} is less than the minimum of {minimum}"),
        Problem::Maximum(maximum) => format!("{quoted} is greater than the maximum of {maximum}"),
        Problem::MinLength(minimum) => {
            let plural = plural(*minimum);
            format!("{quoted} is shorter than {minimum} character{plural}")
        }
        Problem::MaxLength(maximum) => {
            let plural = plural(*maximum);
            format!("{quoted} is longer than {maximum} character{plural}")
        }
        Problem::Pattern(pattern) => format!("{quoted} does not match \"{pattern}\""),
        Problem::NoneOf(_) => {
            format!("{quoted} is not valid under any of the schemas listed in the 'anyOf' keyword")
        }
    };
    Violation::in_input(place, message)
}

/// What is said of a text that is of none of these types.
pub(super) fn type_message(types: &[Type], text: &str) -> String {
    quoted_type_message(types, &quote(text))
}

fn quoted_type_message(types: &[Type], quoted: &str) -> String {
    let names: Vec<_> = types
        .iter()
        .map(|kind| format!("\"{}\"", kind.name()))
        .collect();
    let noun = if names.len() == 1 { "type" } else { "types" };
    format!("{quoted} is not of {noun} {}", names.join(", "))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The value as it appears in a message: compact, and not all of it if it is long.
fn quote(text: &str) -> String {
    let mut quoted = compact_start(text, MAX_QUOTE + 1);
    if quoted.len() > MAX_QUOTE {
        quoted.truncate(quoted.floor_char_boundary(MAX_QUOTE));
        return format!("{quoted}… ({} bytes)", text.len());
    }
    quoted
}
