//! Values that can be told without running anything.

use serde_json::{Map, Value};

use crate::syntax::{Expr, ExprKind};

/// The value of a literal; `None` for everything else.
pub(crate) fn value(expression: &Expr) -> Option<Value> {
    match &expression.kind {
        ExprKind::None => Some(Value::Null),
        ExprKind::Boolean(value) => Some(Value::Bool(*value)),
        ExprKind::Integer(value) => Some(Value::from(*value)),
        ExprKind::Float(value) => serde_json::Number::from_f64(*value).map(Value::Number),
        ExprKind::String(value) => Some(Value::String(value.clone())),
        ExprKind::Negative(operand) => negative(operand),
        ExprKind::Positive(operand) => number(operand),
        ExprKind::List(items) | ExprKind::Set(items) => items
            .iter()
            .map(value)
            .collect::<Option<_>>()
            .map(Value::Array),
        ExprKind::Tuple(items) => Some(Value::Array(items.iter().filter_map(value).collect())),
        ExprKind::Dict(pairs) => Some(Value::Object(
            dict(pairs)
                .map(|(key, value)| (key_text(&key), value))
                .collect::<Map<_, _>>(),
        )),
        _ => None,
    }
}

/// Pairs whose key and value are literals.
pub(crate) fn dict(pairs: &[(Expr, Expr)]) -> impl Iterator<Item = (Value, Value)> + '_ {
    pairs
        .iter()
        .filter_map(|(key, item)| Some((value(key)?, value(item)?)))
}

fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Null => "None".into(),
        other => other.to_string(),
    }
}

fn number(expression: &Expr) -> Option<Value> {
    value(expression).filter(Value::is_number)
}

fn negative(operand: &Expr) -> Option<Value> {
    match number(operand)? {
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.checked_neg().map(Value::from),
            None => serde_json::Number::from_f64(-number.as_f64()?).map(Value::Number),
        },
        _ => None,
    }
}

/// A number, for bounds.
pub(crate) fn float(expression: &Expr) -> Option<f64> {
    value(expression)?.as_f64()
}
