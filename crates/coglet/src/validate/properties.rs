//! What holds for any document and any input.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::input::{Accepted, Dropped};
use super::*;

/// Few names, so that inputs meet properties.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("é\""), Just("")].prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..12).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zé\u{0}\"\\\\]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(object),
        ]
    })
}

fn object(members: Vec<(String, Value)>) -> Value {
    members.into_iter().collect::<Map<_, _>>().into()
}

/// A schema whose keywords have, mostly, values of the right kind.
fn schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just("null"),
        Just("boolean"),
        Just("integer"),
        Just("number"),
        Just("string"),
        Just("array"),
        Just("object"),
        Just("unheard of"),
    ];
    let keyword = |name: &'static str| Just(name.to_owned());
    let simple = prop_oneof![
        3 => (keyword("type"), kind.prop_map(Value::from)),
        1 => (keyword("minimum"), scalar()),
        1 => (keyword("maximum"), scalar()),
        1 => (keyword("minLength"), (0..4_u64).prop_map(Value::from)),
        1 => (keyword("maxLength"), (0..4_u64).prop_map(Value::from)),
        1 => (keyword("pattern"), "[a-c.*+(\\[^$\\\\]{0,4}".prop_map(Value::from)),
        1 => (keyword("enum"), prop::collection::vec(scalar(), 0..4).prop_map(Value::from)),
        1 => (keyword("default"), scalar()),
        2 => (keyword("nullable"), any::<bool>().prop_map(Value::from)),
        1 => (keyword("required"), prop::collection::vec(name(), 0..3).prop_map(Value::from)),
        1 => (keyword("$ref"), name().prop_map(|name| format!("#/components/schemas/{name}").into())),
        1 => (prop_oneof![keyword("type"), keyword("items"), keyword("anyOf"), keyword("enum")], value()),
    ];
    let leaf = prop::collection::vec(simple, 0..4).prop_map(object);
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
        let properties = prop::collection::vec((name(), inner.clone()), 0..3).prop_map(object);
        let nested = prop_oneof![
            (keyword("allOf"), list.clone()),
            (keyword("anyOf"), list),
            (keyword("items"), inner.clone()),
            (keyword("properties"), properties),
        ];
        (inner, nested).prop_map(|(mut schema, (keyword, value))| {
            schema[keyword] = value;
            schema
        })
    })
}

/// A document: components that refer to each other by name, and the model's inputs.
fn document() -> impl Strategy<Value = Value> {
    let components = prop::collection::vec((name(), schema()), 0..4);
    let properties = prop::collection::vec((name(), schema()), 0..4);
    let required = prop::collection::vec(name(), 0..2);
    (components, properties, required).prop_map(|(components, properties, required)| {
        let mut components = object(components);
        components["Input"] = json!({"properties": object(properties), "required": required});
        json!({"components": {"schemas": components}})
    })
}

/// The text of an object, whose keys may be repeated.
fn input() -> impl Strategy<Value = String> {
    prop::collection::vec((name(), value()), 0..6).prop_map(|members| {
        let members: Vec<_> = members
            .into_iter()
            .map(|(name, value)| format!("{}: {value}", Value::from(name)))
            .collect();
        format!("{{ {} }}", members.join(", "))
    })
}

fn model(document: &Value) -> ModelSchema {
    ModelSchema::parse(document.to_string().into()).unwrap()
}

proptest! {
    #[test]
    fn what_is_accepted_is_a_part_of_what_was_sent(document in document(), input in input()) {
        let model = model(&document);
        let Ok(accepted) = model.accept(Kind::Prediction, &input.clone().into(), &HashSet::new()) else {
            return Ok(());
        };
        let declared = &document["components"]["schemas"]["Input"]["properties"];
        let sent: Map<String, Value> = serde_json::from_str(&input).unwrap();
        let kept: Map<String, Value> = serde_json::from_slice(&accepted.input).unwrap();
        for (name, value) in &kept {
            let property = declared.get(name);
            prop_assert!(property.is_some(), "{name:?} is no property");
            match sent.get(name) {
                Some(sent) => prop_assert_eq!(sent, value),
                None => prop_assert!(value.is_null() && property.unwrap()["nullable"] == true),
            }
        }
        let known = |name: &&String| declared.get(name.as_str()).is_some();
        for name in sent.keys().filter(known) {
            prop_assert!(kept.contains_key(name), "{name:?} was lost");
        }
        for name in &accepted.dropped.names {
            prop_assert!(declared.get(name).is_none(), "{name:?} was dropped");
        }
        // Every key once, though it may have been sent twice.
        let names: Vec<_> = members(&accepted.input, |_| true).into_iter().map(|(name, _)| name).collect();
        let once: HashSet<_> = names.iter().collect();
        prop_assert!(once.len() == names.len());
    }

    #[test]
    fn what_is_accepted_stays_as_it_is(document in document(), input in input()) {
        let model = model(&document);
        let Ok(first) = model.accept(Kind::Prediction, &input.clone().into(), &HashSet::new()) else {
            return Ok(());
        };
        // A null that was filled in stands for an absent value, and need not be one that could be sent.
        let sent: Map<String, Value> = serde_json::from_str(&input).unwrap();
        if members(&first.input, |_| true).iter().all(|(name, _)| sent.contains_key(name)) {
            let second = model.accept(Kind::Prediction, &first.input, &HashSet::new());
            let expected = Accepted { input: first.input, dropped: Dropped::default() };
            prop_assert_eq!(second, Ok(expected));
        }
    }

    #[test]
    fn any_json_is_survived(document in value(), input in value()) {
        let document = json!({"components": {"schemas": {"Input": document}}});
        let input = Bytes::from(input.to_string());
        let _ = accept_any_object(&input);
        let _ = model(&document).accept(Kind::Prediction, &input, &HashSet::new());
    }

    #[test]
    fn every_refusal_names_a_place(document in document(), input in input()) {
        let model = model(&document);
        for violation in model.accept(Kind::Prediction, &input.into(), &HashSet::new()).err().into_iter().flatten() {
            prop_assert!(violation.loc.len() == 3, "{violation:?}");
            prop_assert!(!violation.msg.is_empty());
        }
    }
}
