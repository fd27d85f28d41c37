//! Metrics that user code records: dotted names become nested objects.

use serde_json::{Map, Number, Value};

use crate::protocol::MetricMode;

/// The metrics of one prediction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Map<String, Value>);

impl Metrics {
    pub(crate) fn record(&mut self, name: &str, value: Value, mode: MetricMode) {
        let Some((parents, leaf)) = split_name(name) else {
            return;
        };
        let mut object = &mut self.0;
        for parent in parents {
            let child = object
                .entry(parent)
                .or_insert_with(|| Value::Object(Map::new()));
            if !child.is_object() {
                *child = Value::Object(Map::new());
            }
            object = child.as_object_mut().expect("made an object above");
        }
        match mode {
            MetricMode::Replace if value.is_null() => {
                object.shift_remove(leaf);
            }
            MetricMode::Replace => {
                object.insert(leaf.into(), value);
            }
            MetricMode::Increment => increment(object, leaf, &value),
            MetricMode::Append => append(object, leaf, value),
        }
    }

    /// What the client sees: the recorded ones and the time, which nobody can override.
    pub(crate) fn with_predict_time(&self, seconds: Option<f64>) -> Map<String, Value> {
        let mut all = self.0.clone();
        if let Some(seconds) = seconds {
            all.insert("predict_time".into(), seconds.into());
        }
        all
    }
}

fn split_name(name: &str) -> Option<(impl Iterator<Item = &str>, &str)> {
    let leaf = name.rsplit('.').next()?;
    let parents = name.split('.');
    let depth = name.split('.').count() - 1;
    Some((parents.take(depth), leaf))
}

fn increment(object: &mut Map<String, Value>, leaf: &str, by: &Value) {
    let Value::Number(by) = by else { return };
    let before = match object.get(leaf) {
        Some(Value::Number(number)) => number.clone(),
        _ => Number::from(0),
    };
    object.insert(leaf.into(), sum(&before, by));
}

/// Integers stay integers as long as they fit.
fn sum(left: &Number, right: &Number) -> Value {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) if left.checked_add(right).is_some() => (left + right).into(),
        _ => (left.as_f64().unwrap_or_default() + right.as_f64().unwrap_or_default()).into(),
    }
}

fn append(object: &mut Map<String, Value>, leaf: &str, value: Value) {
    match object.get_mut(leaf) {
        Some(Value::Array(items)) => items.push(value),
        Some(scalar) => *scalar = Value::Array(vec![scalar.take(), value]),
        None => {
            object.insert(leaf.into(), Value::Array(vec![value]));
        }
    }
}

#[cfg(test)]
mod tests {
    use MetricMode::{Append, Increment, Replace};
    use serde_json::json;

    use super::*;

    fn check(records: &[(&str, Value, MetricMode)], expected: &Value) {
        let mut metrics = Metrics::default();
        for (name, value, mode) in records {
            metrics.record(name, value.clone(), *mode);
        }
        assert_eq!(&Value::Object(metrics.with_predict_time(None)), expected);
    }

    #[test]
    fn replace_keeps_the_last_and_null_deletes() {
        check(
            &[("a", json!(1), Replace), ("a", json!("x"), Replace)],
            &json!({"a": "x"}),
        );
        check(
            &[("a.b", json!(1), Replace), ("a.b", json!(null), Replace)],
            &json!({"a": {}}),
        );
    }

    #[test]
    fn increment_starts_at_zero_and_keeps_integers() {
        check(
            &[("n", json!(1), Increment), ("n", json!(2), Increment)],
            &json!({"n": 3}),
        );
        check(
            &[("n", json!(1), Increment), ("n", json!(0.5), Increment)],
            &json!({"n": 1.5}),
        );
        check(
            &[("n", json!(1), Increment), ("n", json!("x"), Increment)],
            &json!({"n": 1}),
        );
        let max = json!(i64::MAX);
        check(
            &[("n", max.clone(), Increment), ("n", max, Increment)],
            &json!({"n": 18_446_744_073_709_551_616.0}),
        );
    }

    #[test]
    fn append_makes_or_wraps() {
        check(
            &[("t", json!("a"), Append), ("t", json!("b"), Append)],
            &json!({"t": ["a", "b"]}),
        );
        check(
            &[("t", json!("a"), Replace), ("t", json!("b"), Append)],
            &json!({"t": ["a", "b"]}),
        );
    }

    #[test]
    fn dots_nest_and_replace_what_is_no_object() {
        check(
            &[("a.b.c", json!(1), Replace), ("a.d", json!(2), Replace)],
            &json!({"a": {"b": {"c": 1}, "d": 2}}),
        );
        check(
            &[("a", json!(1), Replace), ("a.b", json!(2), Replace)],
            &json!({"a": {"b": 2}}),
        );
    }

    #[test]
    fn the_runtime_owns_predict_time() {
        let mut metrics = Metrics::default();
        metrics.record("predict_time", json!("mine"), Replace);
        assert_eq!(
            metrics.with_predict_time(Some(0.5))["predict_time"],
            json!(0.5)
        );
    }
}
