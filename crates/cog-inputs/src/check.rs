//! A value against a rule, on the text of the value: nothing is built of its parts.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::ControlFlow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::finding::{Finding, NoneOf, Place, Problem};
use crate::number::Amount;
use crate::rule::{Demands, Rule, RuleId, Rules};
use crate::types::Type;
use crate::walk::{each_element, each_member};

/// An array or an object that is longer than this equals no choice of an honest schema: it is not built
/// in memory to be compared with one.
const MAX_COMPARED: usize = 64 << 10;
/// Rules applied to one and the same value, one inside the other. Honest schemas need two; one that
/// refers to itself would never end.
const MAX_COMBINATION_DEPTH: usize = 8;

/// What the null of a `nullable` schema is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Nothing: `nullable` only says that an input may be left out.
    Refused,
    /// It fits, as a default does.
    Fit,
}

/// By what a value is checked.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) rules: &'a Rules,
    nulls: Nulls,
    combination_depth: usize,
}

/// Reports what is wrong with one value.
pub(crate) struct Checker<'c, 'a> {
    context: Context<'a>,
    report: &'c mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>,
    /// The answer is known: nothing that is found from now on would change it.
    is_decided: bool,
}

/// Whether a value meets all demands of a rule.
pub(crate) fn fits(rule: Rule<'_>, value: &RawValue) -> bool {
    let context = Context::new(rule.rules, Nulls::Refused);
    context.accepts(rule.id, value)
}

impl<'a> Context<'a> {
    pub(crate) fn new(rules: &'a Rules, nulls: Nulls) -> Self {
        Self {
            rules,
            nulls,
            combination_depth: 0,
        }
    }

    fn accepts(self, rule: RuleId, value: &RawValue) -> bool {
        let mut accepts = true;
        let mut report = |_: &Finding<'_>| {
            accepts = false;
            ControlFlow::Break(())
        };
        Checker::new(self, &mut report).check(rule, value, &Place::input(""));
        accepts
    }
}

impl<'c, 'a> Checker<'c, 'a> {
    pub(crate) fn new(
        context: Context<'a>,
        report: &'c mut dyn FnMut(&Finding<'_>) -> ControlFlow<()>,
    ) -> Self {
        Self {
            context,
            report,
            is_decided: false,
        }
    }

    pub(crate) fn check(&mut self, id: RuleId, value: &RawValue, place: &Place<'_>) {
        if self.is_decided {
            return;
        }
        let demands = self.context.rules.demands(id);
        let text = value.get();
        if demands.nullable && self.context.nulls == Nulls::Fit && Type::of(text) == Type::Null {
            return;
        }
        if !demands.types.is_empty() && !demands.types.iter().any(|kind| kind.is_of(text)) {
            self.found(place, text, Problem::Type(&demands.types));
        }
        if let Some(choices) = &demands.choices
            && !is_among(choices, text)
        {
            self.found(place, text, Problem::Choices(choices));
        }
        match Type::of(text) {
            Type::String if demands.look_into_strings() => self.check_string(demands, text, place),
            Type::Number => self.check_number(demands, text, place),
            _ => {}
        }
        self.check_combinations(demands, value, place);
        match Type::of(text) {
            Type::Array => self.check_items(demands, text, place),
            Type::Object if demands.look_into_objects() => {
                self.check_members(demands, text, place);
            }
            _ => {}
        }
    }

    fn found(&mut self, place: &Place<'_>, value: &str, problem: Problem<'_>) {
        if self.is_decided {
            return;
        }
        let finding = Finding {
            place: *place,
            value,
            problem,
        };
        self.is_decided = (self.report)(&finding).is_break();
    }

    fn check_string(&mut self, demands: &Demands, text: &str, place: &Place<'_>) {
        let inner = text.trim_matches('"');
        let string: Cow<'_, str> = if inner.contains('\\') {
            serde_json::from_str(text).map_or(Cow::Borrowed(inner), Cow::Owned)
        } else {
            Cow::Borrowed(inner)
        };
        let length = string.chars().count();
        if let Some(minimum) = demands.min_length.filter(|minimum| length < *minimum) {
            self.found(place, text, Problem::MinLength(minimum));
        }
        if let Some(maximum) = demands.max_length.filter(|maximum| length > *maximum) {
            self.found(place, text, Problem::MaxLength(maximum));
        }
        if let Some(pattern) = &demands.pattern
            && !pattern.regex.is_match(&string)
        {
            self.found(place, text, Problem::Pattern(&pattern.text));
        }
    }

    fn check_number(&mut self, demands: &Demands, text: &str, place: &Place<'_>) {
        if let Some(minimum) = &demands.minimum
            && minimum.is_above(text)
        {
            self.found(place, text, Problem::Minimum(&minimum.number));
        }
        if let Some(maximum) = &demands.maximum
            && maximum.is_below(text)
        {
            self.found(place, text, Problem::Maximum(&maximum.number));
        }
    }

    fn check_combinations(&mut self, demands: &Demands, value: &RawValue, place: &Place<'_>) {
        if self.context.combination_depth == MAX_COMBINATION_DEPTH {
            return;
        }
        self.context.combination_depth += 1;
        for part in &demands.all_of {
            self.check(*part, value, place);
        }
        let context = self.context;
        let members = &demands.any_of;
        if !members.is_empty() && !members.iter().any(|one| context.accepts(*one, value)) {
            let none = NoneOf {
                context,
                members,
                value,
                place: *place,
            };
            self.found(place, value.get(), Problem::NoneOf(none));
        }
        self.context.combination_depth -= 1;
    }

    fn check_items(&mut self, demands: &Demands, text: &str, place: &Place<'_>) {
        let Some(rule) = demands.items else {
            return;
        };
        let depth = std::mem::take(&mut self.context.combination_depth);
        let mut index = 0;
        each_element(text, |item| {
            self.check(rule, item, &place.item(index));
            index += 1;
        });
        self.context.combination_depth = depth;
    }

    fn check_members(&mut self, demands: &Demands, text: &str, place: &Place<'_>) {
        // Of members with the same name the last one counts, for Python too.
        let mut properties = vec![None; demands.properties.len()];
        let mut present = vec![false; demands.required.len()];
        each_member(text, |name, value| {
            for ((property, _), found) in demands.properties.iter().zip(&mut properties) {
                if property == name {
                    *found = Some(value);
                }
            }
            for (required, is_there) in demands.required.iter().zip(&mut present) {
                *is_there |= required == name;
            }
        });
        let depth = std::mem::take(&mut self.context.combination_depth);
        for ((name, property), value) in demands.properties.iter().zip(properties) {
            if let Some(value) = value {
                self.check(*property, value, &place.member(name));
            }
        }
        self.context.combination_depth = depth;
        for (name, is_there) in demands.required.iter().zip(present) {
            if !is_there {
                self.found(&place.member(name), text, Problem::Missing);
            }
        }
    }
}

fn is_among(choices: &[Value], text: &str) -> bool {
    let parsed = OnceCell::new();
    choices.iter().any(|choice| equal(choice, text, &parsed))
}

/// `parsed` becomes the text's value if that is needed.
fn equal(choice: &Value, text: &str, parsed: &OnceCell<Option<Value>>) -> bool {
    let is_composed = text.starts_with(['[', '{']);
    if is_composed && (!(choice.is_array() || choice.is_object()) || text.len() > MAX_COMPARED) {
        return false;
    }
    match (
        choice,
        parsed.get_or_init(|| serde_json::from_str(text).ok()),
    ) {
        (Value::Number(choice), Some(Value::Number(value))) => {
            Amount::of(&choice.to_string()).equals(Amount::of(&value.to_string()))
        }
        (choice, Some(value)) => choice == value,
        (_, None) => false,
    }
}
