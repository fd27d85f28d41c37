//! What is wrong with inputs, in the reference's words. The rules are those of `cog-inputs`.

use std::ops::ControlFlow;

use cog_inputs::{Field, Finding, Inputs, NoneOf, Problem, Type};
use serde_json::value::to_raw_value;
use serde_json::{Map, Number, Value};

use super::InputError;

pub(super) fn names<'n>(
    given: impl Iterator<Item = &'n str>,
    inputs: &Inputs,
) -> Result<(), InputError> {
    let mut unknown: Vec<String> = given
        .filter(|name| inputs.field(name).is_none())
        .map(|name| format!("\"{name}\""))
        .collect();
    unknown.sort();
    if unknown.is_empty() {
        return Ok(());
    }
    let plural = if unknown.len() == 1 {
        "input"
    } else {
        "inputs"
    };
    let mut known: Vec<&str> = inputs.fields().map(Field::name).collect();
    known.sort_unstable();
    let valid = if known.is_empty() {
        "model does not accept inputs".to_owned()
    } else {
        format!("valid inputs are: {}", known.join(", "))
    };
    Err(InputError::Unknown(format!(
        "unknown {plural} {}; {valid}",
        unknown.join(", ")
    )))
}

/// Nulls are told alone, then all else: what is missing before what is wrong.
pub(super) fn values(given: &Map<String, Value>, inputs: &Inputs) -> Result<(), InputError> {
    let missing = |name: &str| format!("missing required input \"{name}\"");
    let invalid = |name: &str, why: &str| format!("invalid input \"{name}\": {why}");
    let (mut nulls, mut wrong) = (Vec::new(), Vec::new());
    let mut absent: Vec<String> = inputs
        .required()
        .filter(|name| !given.contains_key(*name))
        .map(missing)
        .collect();
    for (name, value) in given {
        match inputs.field(name).and_then(|field| fault(field, value)) {
            Some(Fault::Null) => nulls.push(invalid(
                name,
                "must not be null (omit the input to use its default)",
            )),
            Some(Fault::Missing(member)) => absent.push(missing(&member)),
            Some(Fault::Other(why)) => wrong.push(invalid(name, &why)),
            None => {}
        }
    }
    if !nulls.is_empty() {
        return Err(InputError::Invalid(nulls));
    }
    absent.append(&mut wrong);
    if absent.is_empty() {
        Ok(())
    } else {
        Err(InputError::Invalid(absent))
    }
}

/// What is told of an input's value.
enum Fault {
    /// There is a null where there may be none.
    Null,
    /// A member of an object is not there.
    Missing(String),
    Other(String),
}

/// Of several faults a null, else the first.
#[derive(Default)]
struct Told(Option<Fault>);

impl Told {
    fn hear(&mut self, finding: &Finding<'_>) -> ControlFlow<()> {
        match fault_of(finding) {
            null @ Fault::Null => {
                self.0 = Some(null);
                ControlFlow::Break(())
            }
            other => {
                self.0.get_or_insert(other);
                ControlFlow::Continue(())
            }
        }
    }
}

fn fault(field: Field<'_>, value: &Value) -> Option<Fault> {
    // A value that was read from JSON can be written as JSON.
    let value = to_raw_value(value).ok()?;
    let mut told = Told::default();
    field.check(&value, &mut |finding| told.hear(finding));
    told.0
}

fn fault_of(finding: &Finding<'_>) -> Fault {
    let value = finding.value;
    Fault::Other(match &finding.problem {
        Problem::Type(_) | Problem::NoneOf(_) if value == "null" => return Fault::Null,
        Problem::Missing => return Fault::Missing(finding.place.joined(".")),
        Problem::NoneOf(none) => return fault_of_none(none, value),
        Problem::Type(types) => unexpected(types, value),
        Problem::Choices(choices) => {
            let shown: Vec<String> = choices.iter().map(shown).collect();
            format!("must be one of: {}", shown.join(", "))
        }
        Problem::Minimum(minimum) => format!("number must be at least {}", plain(minimum)),
        Problem::Maximum(maximum) => format!("number must be at most {}", plain(maximum)),
        Problem::MinLength(minimum) => format!("minimum string length is {minimum}"),
        Problem::MaxLength(maximum) => format!("maximum string length is {maximum}"),
        Problem::Pattern(pattern) => {
            format!("string doesn't match the regular expression \"{pattern}\"")
        }
    })
}

/// The fault by the member of the union that has the value's type, else the types of all.
fn fault_of_none(none: &NoneOf<'_>, value: &str) -> Fault {
    let mut told = Told::default();
    none.explain(&mut |finding| told.hear(finding));
    told.0
        .unwrap_or_else(|| Fault::Other(unexpected(&none.types(), value)))
}

fn unexpected(types: &[Type], value: &str) -> String {
    let names: Vec<&str> = types.iter().map(|kind| kind.name()).collect();
    let expected = alternatives(&names);
    format!("expected {expected}, got {}", Type::of(value).name())
}

fn shown(choice: &Value) -> String {
    choice
        .as_str()
        .map_or_else(|| choice.to_string(), str::to_owned)
}

/// `1` for `1.0` too.
fn plain(number: &Number) -> String {
    let float = number.as_f64().map(|number| number.to_string());
    float.unwrap_or_else(|| number.to_string())
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(names: &[&str]) -> String {
    match names {
        [] => "another type".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
