//! Numbers compared by their text: exactly if both are integers, else as floats.

use serde_json::Number;

/// A `minimum` or a `maximum`.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) number: Number,
    amount: Amount,
}

/// What a number's text stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount {
    integer: Option<i128>,
    float: Option<f64>,
}

impl Bound {
    pub(crate) fn new(number: &Number) -> Self {
        Self {
            number: number.clone(),
            amount: Amount::of(&number.to_string()),
        }
    }

    pub(crate) fn is_above(&self, text: &str) -> bool {
        Amount::of(text).is_less_than(self.amount)
    }

    pub(crate) fn is_below(&self, text: &str) -> bool {
        self.amount.is_less_than(Amount::of(text))
    }
}

impl Amount {
    pub(crate) fn of(text: &str) -> Self {
        Self {
            integer: text.parse().ok(),
            float: text.parse().ok(),
        }
    }

    fn is_less_than(self, other: Self) -> bool {
        match (self.integer, other.integer) {
            (Some(left), Some(right)) => left < right,
            _ => self.float < other.float && self.float.is_some(),
        }
    }

    pub(crate) fn equals(self, other: Self) -> bool {
        !self.is_less_than(other) && !other.is_less_than(self)
    }
}
