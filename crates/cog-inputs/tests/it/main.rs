//! The table of cases that the SDK's tests and those of `cog-schema` read too.

use cog_inputs::{Kind, ModelInputs};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("../cases.json");

#[test]
fn values_fit_as_the_table_says() {
    let table: Value = serde_json::from_str(TABLE).unwrap();
    for case in table["cases"].as_array().unwrap() {
        let parameter = &case["parameter"];
        let may_be_omitted = match case["omitted"].as_str().unwrap() {
            "both" | "server" => true,
            "neither" | "sdk" => false,
            other => panic!("{parameter}: who is `{other}`?"),
        };
        let required = if may_be_omitted { vec![] } else { vec!["x"] };
        let mut schemas: Map<String, Value> =
            case["components"].as_object().cloned().unwrap_or_default();
        schemas.insert(
            "Input".into(),
            json!({"properties": {"x": case["property"]}, "required": required}),
        );
        let model = ModelInputs::of(&json!({"components": {"schemas": schemas}}));
        let field = model
            .inputs(Kind::Prediction)
            .and_then(|inputs| inputs.field("x"))
            .unwrap();
        assert_eq!(field.is_required(), !may_be_omitted, "{parameter}");
        for (list, fits) in [
            ("fits", true),
            ("only_server", true),
            ("refused", false),
            ("only_sdk", false),
        ] {
            for value in case[list].as_array().into_iter().flatten() {
                let text = to_raw_value(value).unwrap();
                assert_eq!(
                    field.rule().fits(&text),
                    fits,
                    "{parameter}: {list} {value}"
                );
            }
        }
    }
}
