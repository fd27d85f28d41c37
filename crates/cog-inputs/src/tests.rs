//! The rules by what they say of documents and values. What the table of cases says is held in `tests/it`.

use std::ops::ControlFlow;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::*;

fn inputs(properties: &Value, components: &Value) -> ModelInputs {
    let mut schemas = components.clone();
    schemas["Input"] = json!({"properties": properties, "required": ["r", "unknown"]});
    ModelInputs::of(&json!({"components": {"schemas": schemas}}))
}

/// What is found in a value of this schema: places and problems.
fn found(schema: &Value, value: &Value) -> Vec<String> {
    let model = inputs(&json!({"x": schema}), &components());
    let mut all = Vec::new();
    let field = model.inputs(Kind::Prediction).unwrap().field("x").unwrap();
    field.check(&to_raw_value(value).unwrap(), &mut |finding| {
        all.push(format!(
            "{}: {:?}",
            finding.place.joined("."),
            finding.problem
        ));
        ControlFlow::Continue(())
    });
    all
}

fn components() -> Value {
    json!({
        "color": {"type": "string", "enum": ["red", "green"]},
        "loop": {"anyOf": [{"$ref": "#/components/schemas/loop"}, {"$ref": "#/components/schemas/loop"}]},
        "itself": {"$ref": "#/components/schemas/itself"},
        "tree": {"type": "array", "items": {"$ref": "#/components/schemas/tree"}},
        "secrets": {"anyOf": [{"type": "integer"}, {"$ref": "#/components/schemas/secret"}]},
        "secret": {"type": "array", "items": {"format": "password"}},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[test]
fn findings_name_their_places() {
    let point =
        json!({"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x", "y"]});
    let points = json!({"type": "array", "items": point});
    assert_eq!(
        found(&points, &json!([{"x": "1"}, 2])),
        [
            "x.0.x: Type([Number])",
            "x.0.y: Missing",
            "x.1: Type([Object])"
        ]
    );
    assert_eq!(
        found(&reference("tree"), &json!([[], [7]])),
        ["x.1.0: Type([Array])"]
    );
}

#[test]
fn integers_are_compared_exactly() {
    let schema = json!({"maximum": 9_007_199_254_740_992_u64});
    assert_eq!(found(&schema, &json!(9_007_199_254_740_993_u64)).len(), 1);
    assert_eq!(found(&schema, &json!(9_007_199_254_740_992_u64)).len(), 0);
    let choices = json!({"enum": [9_007_199_254_740_993_u64, 1]});
    assert_eq!(found(&choices, &json!(9_007_199_254_740_992_u64)).len(), 1);
    assert_eq!(found(&choices, &json!(1.0)).len(), 0);
}

#[test]
fn a_union_is_explained_by_the_member_of_the_value_s_type() {
    let schema = json!({"anyOf": [{"allOf": [reference("color")]}, {"type": "array", "items": {"type": "integer"}}]});
    let model = inputs(&json!({"x": schema}), &components());
    let field = model.inputs(Kind::Prediction).unwrap().field("x").unwrap();
    let explain = |value: Value| {
        let mut all = Vec::new();
        field.check(&to_raw_value(&value).unwrap(), &mut |finding| {
            let Problem::NoneOf(none) = &finding.problem else {
                panic!("{finding:?}")
            };
            assert_eq!(none.types(), [Type::String, Type::Array]);
            let explained = none.explain(&mut |finding| {
                all.push(format!(
                    "{} {:?}",
                    finding.place.joined("/"),
                    finding.problem
                ));
                ControlFlow::Continue(())
            });
            assert_eq!(explained, !all.is_empty());
            ControlFlow::Continue(())
        });
        all
    };
    let choices = r#"Choices([String("red"), String("green")])"#;
    assert_eq!(explain(json!("blue")), [format!("x {choices}")]);
    assert_eq!(explain(json!([1, null])), ["x/1 Type([Integer])"]);
    assert_eq!(explain(json!(true)), [""; 0]);
}

#[test]
fn a_report_can_break_off() {
    let model = inputs(
        &json!({"x": {"type": "array", "items": {"type": "integer"}}}),
        &json!({}),
    );
    let field = model.inputs(Kind::Prediction).unwrap().field("x").unwrap();
    let mut count = 0;
    field.check(&to_raw_value(&json!(["a", "b", "c"])).unwrap(), &mut |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!(count, 1);
}

#[test]
fn rules_tell_their_types() {
    let properties = json!({
        "color": {"allOf": [reference("color")]},
        "list": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]},
        "any": {},
        "loop": reference("loop"),
        "itself": reference("itself"),
        "absent": reference("absent"),
        "several": {"type": ["null", "boolean", "unheard of"]},
    });
    let model = inputs(&properties, &components());
    let inputs = model.inputs(Kind::Prediction).unwrap();
    let rule = |name: &str| inputs.field(name).unwrap().rule();
    assert_eq!(rule("color").leading_type(), Some(Type::String));
    assert_eq!(rule("list").leading_type(), Some(Type::Array));
    assert!(rule("list").accepts(Type::String) && !rule("list").accepts(Type::Integer));
    let items = rule("list").items().unwrap();
    assert_eq!(items.leading_type(), Some(Type::Integer));
    assert!(rule("color").items().is_none());
    for name in ["any", "loop", "itself", "absent"] {
        assert_eq!(rule(name).leading_type(), None, "{name}");
        assert!(rule(name).fits(&to_raw_value(&json!({"a": 1})).unwrap()));
    }
    assert!(rule("several").accepts(Type::Boolean));
    assert_eq!(
        inputs.unchecked(),
        [Unchecked::Reference("#/components/schemas/absent".into())]
    );
}

#[test]
fn files_and_secrets_are_found_wherever_they_are() {
    let properties = json!({
        "file": {"type": "string", "format": "uri"},
        "files": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"format": "uri"}}]},
        "secret": {"allOf": [{"x-cog-secret": true}]},
        "secrets": {"oneOf": [reference("secrets")]},
        "other": reference("tree"),
        "itself": reference("itself"),
    });
    let model = inputs(&properties, &components());
    let inputs = model.inputs(Kind::Prediction).unwrap();
    let files = inputs.fields().filter(|field| field.takes_files());
    assert_eq!(
        files.map(Field::name).collect::<Vec<_>>(),
        ["file", "files"]
    );
    let secrets = inputs.fields().filter(|field| field.is_secret());
    assert_eq!(
        secrets.map(Field::name).collect::<Vec<_>>(),
        ["secret", "secrets"]
    );
}

#[test]
fn a_field_says_whether_it_may_be_left_out() {
    let properties = json!({
        "r": {"nullable": true},
        "default": {"nullable": true, "default": null},
        "null": {"nullable": true},
        "plain": {},
    });
    let model = inputs(&properties, &json!({}));
    let inputs = model.inputs(Kind::Training).unwrap();
    let nulls = inputs
        .fields()
        .filter(|field| field.is_null_if_absent())
        .map(Field::name);
    assert_eq!(nulls.collect::<Vec<_>>(), ["null"]);
    assert!(inputs.field("r").unwrap().is_required());
    assert_eq!(inputs.required().collect::<Vec<_>>(), ["r", "unknown"]);
    assert_eq!(inputs.position("null"), Some(2));
    assert!(inputs.field("unknown").is_none() && !model.supports_training());
}

#[test]
fn defaults_may_be_null_where_values_may_not() {
    let wrong = |schema: Value| {
        let model = inputs(&json!({"x": schema}), &components());
        let field = model.inputs(Kind::Prediction).unwrap().field("x").unwrap();
        let mut count = 0;
        field.check_default(&mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    };
    assert_eq!(
        wrong(json!({"type": "string", "nullable": true, "default": null})),
        0
    );
    assert_eq!(wrong(json!({"type": "string", "default": null})), 1);
    assert_eq!(wrong(json!({"type": "string"})), 0);
    assert_eq!(
        wrong(json!({"allOf": [reference("color")], "default": "blue"})),
        1
    );
    let union = json!([{"type": "string", "nullable": true}, {"type": "array", "nullable": true}]);
    assert_eq!(
        wrong(json!({"anyOf": union, "nullable": true, "default": null})),
        0
    );
}

#[test]
fn components_that_are_no_objects_declare_nothing() {
    for document in [
        json!({"components": {"schemas": {"Input": 5}}}),
        json!({"components": {"schemas": []}}),
        json!(null),
    ] {
        assert!(ModelInputs::of(&document).inputs(Kind::Training).is_none());
    }
}

/// References one behind the other, and some that double with each step, are no way to exhaust stack or time.
#[test]
fn a_document_cannot_make_a_check_long() {
    let name = |number: usize| format!("c{number}");
    let chain: serde_json::Map<_, _> = (0..100_000)
        .map(|number| (name(number), reference(&name(number + 1))))
        .collect();
    let model = inputs(&json!({"x": reference("c0")}), &chain.into());
    let rule = model
        .inputs(Kind::Prediction)
        .unwrap()
        .field("x")
        .unwrap()
        .rule();
    assert_eq!(rule.leading_type(), None);
    assert!(rule.fits(&to_raw_value(&1).unwrap()));
    for keyword in ["anyOf", "allOf"] {
        let twice = json!({keyword: [reference("d"), reference("d")], "type": "integer"});
        let model = inputs(&json!({"x": reference("d")}), &json!({"d": twice}));
        let field = model.inputs(Kind::Prediction).unwrap().field("x").unwrap();
        let mut count = 0;
        field.check(&to_raw_value("text").unwrap(), &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        assert!((1..1000).contains(&count), "{keyword}: {count}");
    }
}
