//! What is wrong with a value, without words.

use std::fmt;
use std::ops::ControlFlow;

use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::check::{Checker, Context};
use crate::rule::{Rule, RuleId};
use crate::types::Type;

/// One demand that a value, or a part of it, does not meet.
#[derive(Debug)]
pub struct Finding<'a> {
    /// Where the part is.
    pub place: Place<'a>,
    /// The part's JSON text, without blanks around it.
    pub value: &'a str,
    /// The demand.
    pub problem: Problem<'a>,
}

/// A demand that is not met.
#[derive(Debug)]
pub enum Problem<'a> {
    /// The value is of none of these types.
    Type(&'a [Type]),
    /// It is none of these.
    Choices(&'a [Value]),
    /// It is less than this.
    Minimum(&'a Number),
    /// It is greater than this.
    Maximum(&'a Number),
    /// It has fewer characters.
    MinLength(usize),
    /// It has more characters.
    MaxLength(usize),
    /// This pattern occurs nowhere in it.
    Pattern(&'a str),
    /// It fits none of several schemas.
    NoneOf(NoneOf<'a>),
    /// It is an object without the member that [`Finding::place`] names.
    Missing,
}

/// The schemas of an `anyOf` of which a value fits none.
pub struct NoneOf<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) members: &'a [RuleId],
    pub(crate) value: &'a RawValue,
    pub(crate) place: Place<'a>,
}

/// Where a value is: the name of the input, then the way into it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl NoneOf<'_> {
    /// The types that values may have, in the order of the schemas.
    pub fn types(&self) -> Vec<Type> {
        self.rules().filter_map(Rule::leading_type).collect()
    }

    /// Reports what is wrong if the value is meant for the first schema of its type; says whether there is one.
    pub fn explain(&self, report: &mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>) -> bool {
        let is_of_type = |rule: &Rule<'_>| {
            let kind = rule.leading_type();
            kind.is_some_and(|kind| kind.is_of(self.value.get()))
        };
        let found = self.rules().find(is_of_type);
        if let Some(rule) = found {
            Checker::new(self.context, report).check(rule.id, self.value, &self.place);
        }
        found.is_some()
    }

    fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let rules = self.context.rules;
        self.members.iter().map(|id| rules.rule(*id))
    }
}

impl fmt::Debug for NoneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NoneOf").field(&self.types()).finish()
    }
}

impl<'a> Place<'a> {
    pub(crate) fn input(name: &'a str) -> Self {
        Self {
            parent: None,
            step: Step::Name(name),
        }
    }

    pub(crate) fn item(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    pub(crate) fn member(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Name(name),
        }
    }

    /// The steps with `separator` between them: `points/0/x`.
    pub fn joined(&self, separator: &str) -> String {
        let step = match self.step {
            Step::Name(name) => name.to_owned(),
            Step::Index(index) => index.to_string(),
        };
        match self.parent {
            Some(parent) => format!("{}{separator}{step}", parent.joined(separator)),
            None => step,
        }
    }
}
