//! A prediction as JSON, for the different listeners.

use bytes::Bytes;
use serde::Serialize;

use super::state::State;
use super::{Order, Prediction};
use crate::json::{Parts, object_with};
use crate::marks::Status;
use crate::sync::lock;
use crate::webhooks::Subject;

#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    logs: &'a str,
    metrics: serde_json::Map<String, serde_json::Value>,
}

/// For whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View {
    /// The request that waited for the end.
    Answer,
    /// A webhook while it runs: with as many items as there were at the time, even if more have come or
    /// it has ended since.
    Interim { items: usize },
    /// A webhook at the end, and who asks for the result: everything but the input.
    Final,
}

impl Prediction {
    #[cfg(test)]
    pub(crate) fn status(&self) -> Status {
        lock(&self.state).life.status
    }

    /// The prediction as it is now.
    pub(crate) fn render(&self, view: View) -> Parts {
        lock(&self.state).render(&self.order, view)
    }

    /// The same for a repeated PUT: everything so far, and what was asked.
    pub(crate) fn render_with_input(&self, input: Bytes) -> Parts {
        let state = lock(&self.state);
        state.render_members(&self.order, View::Final, Some(input))
    }
}

impl Subject for Prediction {
    fn with_items(&self, items: usize) -> Bytes {
        self.render(View::Interim { items })
            .into_pieces()
            .concat()
            .into()
    }
}

impl State {
    pub(super) fn render(&self, order: &Order, view: View) -> Parts {
        self.render_members(order, view, None)
    }

    fn render_members(&self, order: &Order, view: View, input: Option<Bytes>) -> Parts {
        let is_interim = matches!(view, View::Interim { .. });
        let fields = Fields {
            id: &order.id,
            status: if is_interim {
                Status::Processing
            } else {
                self.life.status
            },
            error: self.product.error.as_deref().filter(|_| !is_interim),
            logs: &self.product.logs.text(),
            metrics: self
                .product
                .metrics
                .with_predict_time(self.product.predict_time.filter(|_| !is_interim)),
        };
        let output = match view {
            View::Answer if self.life.status == Status::Canceled => self.product.output.to_json(),
            View::Answer if self.life.status != Status::Succeeded => None,
            View::Answer => Some(
                self.product
                    .output
                    .to_json()
                    .unwrap_or(Bytes::from_static(b"null")),
            ),
            View::Final => self.product.output.to_json(),
            View::Interim { items: 0 } => None,
            View::Interim { items } => self.product.output.first_items(items),
        };
        let mut members: Vec<_> = output.map(|text| ("output", text)).into_iter().collect();
        members.extend(input.map(|text| ("input", text)));
        object_with(&fields, &members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::memory::{Asked, Share};
    use crate::predictions::{Ending, Key, Order, Output};
    use crate::protocol::Source;

    fn prediction() -> Prediction {
        let asked = Asked::new(r#"{"s":"x"}"#.into(), "{}".into(), Share::default());
        let order = Order::new("p".into(), asked, None);
        Prediction::new(Key(1), order, 16 << 20)
    }

    fn parsed(parts: Parts) -> Value {
        let mut value: Value = serde_json::from_slice(&parts.into_pieces().concat()).unwrap();
        if let Some(time) = value.pointer_mut("/metrics/predict_time") {
            assert!(time.is_f64());
            *time = json!("time");
        }
        value
    }

    #[test]
    fn a_success_always_has_an_output() {
        let prediction = prediction();
        assert!(prediction.end(Ending::succeeded(Output::Nothing)));
        let expected = json!({"id": "p", "status": "succeeded", "output": null, "logs": "", "metrics": {"predict_time": "time"}});
        assert_eq!(parsed(prediction.render(View::Answer)), expected);
    }

    #[test]
    fn a_failure_keeps_its_items_for_webhooks_only() {
        let prediction = prediction();
        assert!(prediction.begin_running(Vec::new()));
        prediction.push_output(b"1");
        prediction.append_log(Source::Stdout, "hello\n");
        assert!(prediction.end(Ending::failed("boom")));
        let mut expected = json!({
            "id": "p", "status": "failed", "error": "boom", "logs": "hello\n", "metrics": {"predict_time": "time"},
        });
        assert_eq!(parsed(prediction.render(View::Answer)), expected);
        expected["output"] = json!([1]);
        assert_eq!(parsed(prediction.render(View::Final)), expected);
    }

    #[test]
    fn a_canceled_one_shows_what_it_had() {
        let prediction = prediction();
        assert!(prediction.begin_running(Vec::new()));
        prediction.push_output(b"1");
        assert!(prediction.end(Ending::canceled()));
        let expected = json!({"id": "p", "status": "canceled", "output": [1], "logs": "", "metrics": {"predict_time": "time"}});
        assert_eq!(parsed(prediction.render(View::Answer)), expected);
    }

    #[test]
    fn an_interim_report_is_of_its_moment() {
        let prediction = prediction();
        assert!(prediction.begin_running(Vec::new()));
        prediction.push_output(b"1");
        prediction.push_output(b"2");
        assert!(prediction.end(Ending::failed("boom")));
        let mut expected = json!({"id": "p", "status": "processing", "logs": "", "metrics": {}});
        assert_eq!(
            parsed(prediction.render(View::Interim { items: 0 })),
            expected
        );
        expected["output"] = json!([1]);
        assert_eq!(
            parsed(prediction.render(View::Interim { items: 1 })),
            expected
        );
    }

    #[test]
    fn progress_shows_the_input() {
        let prediction = prediction();
        assert!(prediction.begin_running(Vec::new()));
        let expected = json!({"id": "p", "status": "processing", "logs": "", "metrics": {}, "input": {"s": "x"}});
        let input = prediction.order.asked().input.clone();
        assert_eq!(parsed(prediction.render_with_input(input)), expected);
    }

    #[test]
    fn an_endless_log_line_is_cut() {
        let prediction = prediction();
        prediction.append_log(Source::Stdout, &"é".repeat(3 << 20));
        let logs = parsed(prediction.render(View::Final))["logs"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(logs.ends_with("[**** LOG LINE TRUNCATED AT 4 MiB ****]\n"));
        assert!(logs.len() < (4 << 20) + 100);
    }
}
