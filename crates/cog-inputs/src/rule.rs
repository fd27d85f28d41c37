//! What one schema demands.

use std::collections::HashSet;

use regex::Regex;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::check::fits;
use crate::number::Bound;
use crate::types::Type;

/// The demands of one schema, and of those that it is made of.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) id: RuleId,
}

/// Rules of all schemas of one component, each stored once, so that schemas may refer to each other and even to
/// themselves.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) all: Vec<Demands>,
}

/// Place of a rule in [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RuleId(pub(crate) usize);

#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// Any if there are none.
    pub(crate) types: Vec<Type>,
    pub(crate) nullable: bool,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) choices: Option<Vec<Value>>,
    pub(crate) all_of: Vec<RuleId>,
    pub(crate) any_of: Vec<RuleId>,
    pub(crate) items: Option<RuleId>,
    pub(crate) properties: Vec<(String, RuleId)>,
    pub(crate) required: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    pub(crate) regex: Regex,
}

impl<'a> Rule<'a> {
    /// Whether a value of this type could fit; no rule without types is asked.
    pub fn accepts(self, kind: Type) -> bool {
        let has = |rule: Self| rule.demands().types.contains(&kind).then_some(());
        self.find_typed(has).is_some()
    }

    /// The type that counts where a value could be of several: the schema's own, else the first of its members.
    pub fn leading_type(self) -> Option<Type> {
        self.find_typed(|rule| rule.demands().types.first().copied())
    }

    /// The rule of an array's elements.
    pub fn items(self) -> Option<Self> {
        let array = self.find_typed(|rule| {
            let is_array = rule.demands().types.contains(&Type::Array);
            is_array.then_some(rule)
        })?;
        let items = array.demands().items?;
        Some(self.rules.rule(items))
    }

    /// Whether a value meets all demands.
    pub fn fits(self, value: &RawValue) -> bool {
        fits(self, value)
    }

    /// Looks at the rules with types that this one is made of, each once: itself, else the members of `anyOf` and
    /// `allOf`.
    fn find_typed<T>(self, look: impl Fn(Self) -> Option<T>) -> Option<T> {
        let mut waiting = vec![self.id];
        let mut seen = HashSet::new();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let rule = self.rules.rule(id);
            let demands = rule.demands();
            if demands.types.is_empty() {
                let members = demands.any_of.iter().chain(&demands.all_of);
                waiting.extend(members.rev());
            } else if let Some(found) = look(rule) {
                return Some(found);
            }
        }
        None
    }

    fn demands(self) -> &'a Demands {
        self.rules.demands(self.id)
    }
}

impl Rules {
    pub(crate) fn rule(&self, id: RuleId) -> Rule<'_> {
        Rule { rules: self, id }
    }

    pub(crate) fn demands(&self, id: RuleId) -> &Demands {
        &self.all[id.0]
    }
}

impl Demands {
    pub(crate) fn look_into_strings(&self) -> bool {
        self.min_length.is_some() || self.max_length.is_some() || self.pattern.is_some()
    }

    pub(crate) fn look_into_objects(&self) -> bool {
        !(self.properties.is_empty() && self.required.is_empty())
    }
}
