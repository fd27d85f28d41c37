//! What holds for any document and any value.

use std::ops::ControlFlow;

use proptest::prelude::*;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    scalar.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[ab]", inner), 0..3).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, Value)>) -> Value {
    members.into_iter().collect::<Map<_, _>>().into()
}

fn schema() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "null", "boolean", "integer", "number", "string", "array", "object",
    ]);
    let keyword = |name: &'static str| Just(name.to_owned());
    let simple = prop_oneof![
        3 => (keyword("type"), kind.prop_map(Value::from)),
        1 => (keyword("minimum"), (0_i64..3).prop_map(Value::from)),
        1 => (keyword("maxLength"), (0_i64..3).prop_map(Value::from)),
        1 => (keyword("enum"), prop::collection::vec(value(), 0..3).prop_map(Value::from)),
        1 => (keyword("nullable"), any::<bool>().prop_map(Value::from)),
        1 => (keyword("default"), value()),
        1 => (keyword("$ref"), "[ab]".prop_map(|name| format!("#/components/schemas/{name}").into())),
        1 => (prop_oneof![keyword("items"), keyword("anyOf"), keyword("properties")], value()),
    ];
    let leaf = prop::collection::vec(simple, 0..3).prop_map(object);
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
        let nested = prop_oneof![
            (keyword("allOf"), list.clone()),
            (keyword("anyOf"), list),
            (keyword("items"), inner.clone()),
        ];
        (inner, nested).prop_map(|(mut schema, (keyword, value))| {
            schema[keyword] = value;
            schema
        })
    })
}

proptest! {
    #[test]
    fn a_value_fits_if_nothing_is_found(x in schema(), a in schema(), b in schema(), value in value()) {
        let schemas = json!({"a": a, "b": b, "Input": {"properties": {"x": x}}});
        let model = ModelInputs::of(&json!({"components": {"schemas": schemas}}));
        let field = model.inputs(Kind::Prediction).and_then(|inputs| inputs.field("x")).unwrap();
        let value = to_raw_value(&value).unwrap();
        let mut count = 0;
        field.check(&value, &mut |finding| {
            count += 1;
            if let Problem::NoneOf(none) = &finding.problem {
                none.explain(&mut |_| ControlFlow::Continue(()));
            }
            ControlFlow::Continue(())
        });
        prop_assert_eq!(field.rule().fits(&value), count == 0);
        field.check_default(&mut |_| ControlFlow::Continue(()));
    }

    #[test]
    fn any_document_is_survived(document in value(), input in value()) {
        for document in [&document, &json!({"components": {"schemas": {"Input": input}}})] {
            for inputs in ModelInputs::of(document).each() {
                let _ = inputs.fields().map(|field| field.rule().leading_type()).collect::<Vec<_>>();
            }
        }
    }
}
