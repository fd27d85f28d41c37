//! The table of messages, and the three steps: strip, check, fill.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::*;

fn schema(properties: &Value, required: &[&str]) -> ModelSchema {
    let document = json!({"components": {"schemas": {
        "Input": {"type": "object", "properties": properties, "required": required},
        "color": {"type": "string", "enum": ["red", "green"], "title": "color"},
        "loop": {"anyOf": [{"$ref": "#/components/schemas/loop"}, {"$ref": "#/components/schemas/loop"}]},
        "tree": {"type": "array", "items": {"$ref": "#/components/schemas/tree"}},
    }}});
    ModelSchema::parse(document.to_string().into()).unwrap()
}

fn accept(
    properties: &Value,
    required: &[&str],
    input: &Value,
) -> Result<String, Vec<(String, String)>> {
    let accepted = schema(properties, required).accept(
        Kind::Prediction,
        &input.to_string().into(),
        &HashSet::new(),
    );
    accepted
        .map(|accepted| String::from_utf8(accepted.input.to_vec()).unwrap())
        .map_err(|violations| {
            violations
                .into_iter()
                .map(|v| (v.loc[2].clone(), v.msg))
                .collect()
        })
}

/// The messages for a value of the input `x` that has this schema.
fn messages(schema: &Value, value: &Value) -> Vec<String> {
    let violations = accept(&json!({"x": schema}), &[], &json!({"x": value}))
        .err()
        .unwrap_or_default();
    violations.into_iter().map(|(_, message)| message).collect()
}

#[test]
fn messages_say_what_is_wrong() {
    let table = [
        (
            json!({"type": "integer"}),
            json!("x"),
            r#""x" is not of type "integer""#,
        ),
        (
            json!({"type": "integer"}),
            json!("3"),
            r#""3" is not of type "integer""#,
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"1.5 is not of type "integer""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"null is not of type "string""#,
        ),
        (
            json!({"type": "string", "nullable": true}),
            json!(null),
            r#"null is not of type "string""#,
        ),
        (
            json!({"type": ["string", "number"]}),
            json!(true),
            r#"true is not of types "string", "number""#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "0 is less than the minimum of 1",
        ),
        (
            json!({"type": "integer", "maximum": 5}),
            json!(9),
            "9 is greater than the maximum of 5",
        ),
        (
            json!({"type": "number", "maximum": 0.5}),
            json!(0.75),
            "0.75 is greater than the maximum of 0.5",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("b"),
            r#""b" is shorter than 2 characters"#,
        ),
        (
            json!({"type": "string", "maxLength": 5}),
            json!("aaaaaa"),
            r#""aaaaaa" is longer than 5 characters"#,
        ),
        (
            json!({"type": "string", "maxLength": 1}),
            json!("éé"),
            r#""éé" is longer than 1 character"#,
        ),
        (
            json!({"type": "string", "pattern": "^a"}),
            json!("b"),
            r#""b" does not match "^a""#,
        ),
        (
            json!({"enum": ["x", "y"]}),
            json!("z"),
            r#""z" is not one of ["x","y"]"#,
        ),
        (json!({"enum": [1, 2]}), json!(3), "3 is not one of [1,2]"),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "number"}]}),
            json!(true),
            "true is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
        (
            json!({"allOf": [{"$ref": "#/components/schemas/color"}]}),
            json!("blue"),
            r#""blue" is not one of ["red","green"]"#,
        ),
    ];
    for (schema, value, expected) in table {
        assert_eq!(messages(&schema, &value), [expected], "{schema} on {value}");
    }
}

#[test]
fn secret_values_are_not_repeated() {
    let schema = schema(
        &json!({
            "key": {"type": "string", "minLength": 9, "format": "password", "x-cog-secret": true},
            "keys": {"type": "array", "items": {"type": "string", "x-cog-secret": true}},
            "annotated": {"type": "string"},
        }),
        &[],
    );
    let input =
        json!({"key": "hunter2", "keys": ["a", {"b": "hunter2"}, null], "annotated": ["hunter2"]});
    let refused = schema.accept(
        Kind::Prediction,
        &input.to_string().into(),
        &HashSet::from(["annotated".to_owned()]),
    );
    let messages: Vec<_> = refused.unwrap_err().into_iter().map(|v| v.msg).collect();
    let expected = [
        r#""**********" is shorter than 9 characters"#,
        r#""**********" is not of type "string""#,
        r#"null is not of type "string""#,
        r#""**********" is not of type "string""#,
    ];
    assert_eq!(messages, expected);
}

#[test]
fn values_that_fit_pass() {
    let table = [
        (json!({"type": "integer"}), json!(1.0)),
        (json!({"type": "integer"}), json!(-3)),
        (json!({"type": "number"}), json!(1)),
        (json!({"type": "string", "maxLength": 2}), json!("éé")),
        (json!({"type": "string", "pattern": "b"}), json!("abc")),
        (json!({"type": "string", "format": "uri"}), json!("no uri")),
        (
            json!({"type": "string", "pattern": "(?=look)ahead"}),
            json!("not checked"),
        ),
        (json!({"enum": [1, 2]}), json!(1.0)),
        (json!({"type": "object"}), json!({"anything": [1, {}]})),
        (
            json!({"allOf": [{"$ref": "#/components/schemas/color"}]}),
            json!("red"),
        ),
        (
            json!({"$ref": "#/components/schemas/tree"}),
            json!([[], [[]]]),
        ),
        (json!({"$ref": "#/components/schemas/absent"}), json!(1)),
        (json!({}), json!(null)),
    ];
    for (schema, value) in table {
        assert_eq!(
            messages(&schema, &value),
            Vec::<String>::new(),
            "{schema} on {value}"
        );
    }
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let properties = json!({"x": {"$ref": "#/components/schemas/loop"}});
    assert!(accept(&properties, &[], &json!({"x": 1})).is_ok());
}

#[test]
fn nested_places_are_joined_with_slashes() {
    let properties = json!({
        "paths": {"type": "array", "items": {"type": "string"}},
        "tree": {"$ref": "#/components/schemas/tree"},
        "point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x", "y"]},
    });
    let input = json!({"paths": [1, "a"], "tree": [[], [7]], "point": {"x": "1"}});
    let places: Vec<_> = accept(&properties, &[], &input)
        .unwrap_err()
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places, ["paths/0", "tree/1/0", "point/x", "point/y"]);
}

#[test]
fn every_violation_is_listed() {
    let properties =
        json!({"a": {"type": "string", "minLength": 2, "pattern": "^z"}, "n": {"type": "integer"}});
    let violations = accept(&properties, &["a", "n", "m"], &json!({"a": "b"})).unwrap_err();
    let expected = [
        ("a", r#""b" is shorter than 2 characters"#),
        ("a", r#""b" does not match "^z""#),
        ("n", "Field required"),
        ("m", "Field required"),
    ];
    assert_eq!(
        violations,
        expected.map(|(field, message)| (field.to_owned(), message.to_owned()))
    );
}

#[test]
fn a_violation_on_the_wire() {
    let violations = schema(&json!({"s": {"type": "string"}}), &["s"])
        .accept(Kind::Prediction, &"{}".into(), &HashSet::new())
        .unwrap_err();
    let expected = json!([{"loc": ["body", "input", "s"], "msg": "Field required", "type": "value_error.missing"}]);
    assert_eq!(serde_json::to_value(violations).unwrap(), expected);
}

#[test]
fn an_input_that_is_no_object_is_the_root_s_fault() {
    let violations = accept(&json!({}), &[], &json!([1, 2])).unwrap_err();
    assert_eq!(
        violations,
        [(
            "__root__".to_owned(),
            r#"[1,2] is not of type "object""#.to_owned()
        )]
    );
}

#[test]
fn unknown_keys_go_and_the_missing_one_is_reported_alone() {
    let properties = json!({"s": {"type": "string"}});
    let violations = accept(&properties, &["s"], &json!({"wrong": 1})).unwrap_err();
    assert_eq!(violations, [("s".to_owned(), "Field required".to_owned())]);
    assert_eq!(
        accept(&properties, &["s"], &json!({"wrong": 1, "s": "a"})),
        Ok(r#"{"s":"a"}"#.to_owned())
    );
}

#[test]
fn nothing_to_change_means_the_very_same_bytes() {
    let input = Bytes::from(r#"{ "s" : "a" }"#);
    let accepted = schema(&json!({"s": {"type": "string"}}), &["s"])
        .accept(Kind::Prediction, &input, &HashSet::new())
        .unwrap();
    assert_eq!(accepted.input.as_ptr(), input.as_ptr());
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let input = Bytes::from(r#"{"n":1,"n":"x"}"#);
    assert!(
        schema(&json!({"n": {"type": "integer"}}), &[])
            .accept(Kind::Prediction, &input, &HashSet::new())
            .is_err()
    );
    let input = Bytes::from(r#"{"n":"x","n":1}"#);
    let accepted = schema(&json!({"n": {"type": "integer"}}), &[])
        .accept(Kind::Prediction, &input, &HashSet::new())
        .unwrap();
    assert_eq!(accepted.input, r#"{"n":1}"#);
}

#[test]
fn absent_nullable_fields_without_default_become_null() {
    let properties = json!({
        "a": {"type": "string", "nullable": true},
        "b": {"type": "string", "nullable": true, "default": null},
        "c": {"type": "string", "nullable": true},
        "d": {"type": "integer"},
    });
    assert_eq!(
        accept(&properties, &["c"], &json!({"c": "x"})),
        Ok(r#"{"a":null,"c":"x"}"#.to_owned())
    );
}

#[test]
fn escaped_key_names_are_the_same_keys() {
    let input = Bytes::from(r#"{"\u0073":"a"}"#);
    let accepted = schema(&json!({"s": {"type": "string"}}), &["s"])
        .accept(Kind::Prediction, &input, &HashSet::new())
        .unwrap();
    assert!(accepted.dropped.is_empty());
}

#[test]
fn long_values_are_not_quoted_in_full() {
    let messages = messages(&json!({"type": "integer"}), &json!("x".repeat(5000)));
    assert!(messages[0].len() < 1200, "{}", messages[0].len());
}

#[test]
fn training_falls_back_to_input() {
    let document = json!({"components": {"schemas": {"Input": {"properties": {}}, "Output": {"type": "array"}}}});
    let model = ModelSchema::parse(document.to_string().into()).unwrap();
    let training = model
        .accept(Kind::Training, &r#"{"x":1}"#.into(), &HashSet::new())
        .unwrap();
    assert_eq!(training.input, "{}");
    assert!(!model.supports_training());
    assert!(model.output_is_array(crate::args::Mode::Predict));
    assert!(!model.output_is_array(crate::args::Mode::Train));
}

#[test]
fn a_million_mistakes_are_counted_and_not_listed() {
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    let found = messages(&schema, &json!(vec!["wrong"; 10_000]));
    assert_eq!(found.len(), 101);
    assert_eq!(found[99], r#""wrong" is not of type "integer""#);
    assert_eq!(found[100], "9900 more problems not listed");
    assert_eq!(messages(&schema, &json!(vec!["wrong"; 100])).len(), 100);
    let found = messages(&schema, &json!(vec!["wrong"; 101]));
    assert_eq!(found[100], "1 more problem not listed");
}

#[test]
fn unknown_keys_are_named_up_to_a_number() {
    let input: serde_json::Map<_, _> = (0..1000)
        .map(|n| (format!("{n}{}", "x".repeat(1000)), Value::Null))
        .collect();
    let schema = schema(&json!({}), &[]);
    let accepted = schema
        .accept(
            Kind::Prediction,
            &Value::from(input).to_string().into(),
            &HashSet::new(),
        )
        .unwrap();
    let said = accepted.dropped.to_string();
    assert!(said.ends_with("… and 980 more"), "{said}");
    assert!(said.len() < 3000, "{}", said.len());
}

#[test]
fn long_values_are_quoted_from_their_beginning() {
    let long = format!("[ {} ]", vec!["1 , \"a b\""; 1000].join(" , "));
    let schema = schema(&json!({"x": {"type": "integer"}}), &[]);
    let refused = schema
        .accept(
            Kind::Prediction,
            &format!("{{\"x\":{long}}}").into(),
            &HashSet::new(),
        )
        .unwrap_err();
    let message = &refused[0].msg;
    assert!(message.starts_with(r#"[1,"a b",1,"a b","#), "{message}");
    let expected = format!("… ({} bytes) is not of type \"integer\"", long.len());
    assert!(message.ends_with(&expected), "{message}");
}

#[test]
fn choices_may_be_of_any_type() {
    let schema = json!({"enum": [1, "a", [1, 2], {"b": null}]});
    for value in [json!(1.0), json!("a"), json!([1, 2]), json!({"b": null})] {
        assert_eq!(messages(&schema, &value), [""; 0], "{value}");
    }
    for value in [json!(2), json!("b"), json!([1]), json!({}), json!(null)] {
        assert_eq!(messages(&schema, &value).len(), 1, "{value}");
    }
    assert_eq!(messages(&schema, &json!(vec![1; 100_000])).len(), 1);
}
