//! The whole document around inputs and output.

use serde_json::{Value, json};

use crate::callable::Mode;
use crate::input::Property;
use crate::json::Json;

/// The parts of a mode's document that differ.
struct Words {
    input: &'static str,
    output: &'static str,
    request: &'static str,
    response: &'static str,
    path: &'static str,
    id: &'static str,
    id_title: &'static str,
    summary: &'static str,
    description: &'static str,
    operation: &'static str,
    cancel_operation: &'static str,
}

const PREDICT: Words = Words {
    input: "Input",
    output: "Output",
    request: "PredictionRequest",
    response: "PredictionResponse",
    path: "/predictions",
    id: "prediction_id",
    id_title: "Prediction Id",
    summary: "Predict",
    description: "Run a single prediction on the model",
    operation: "predict_predictions_post",
    cancel_operation: "cancel_predictions__prediction_id__cancel_post",
};

const TRAIN: Words = Words {
    input: "TrainingInput",
    output: "TrainingOutput",
    request: "TrainingRequest",
    response: "TrainingResponse",
    path: "/trainings",
    id: "training_id",
    id_title: "Training Id",
    summary: "Train",
    description: "Run a single training on the model",
    operation: "train_trainings_post",
    cancel_operation: "cancel_trainings__training_id__cancel_post",
};

pub(crate) struct Parts {
    pub(crate) mode: Mode,
    pub(crate) properties: Vec<Property>,
    pub(crate) output: Json,
    pub(crate) streaming: bool,
}

/// What holds the inputs.
pub(crate) fn input_component(mode: Mode) -> &'static str {
    words(mode).input
}

fn words(mode: Mode) -> &'static Words {
    match mode {
        Mode::Predict => &PREDICT,
        Mode::Train => &TRAIN,
    }
}

pub(crate) fn document(parts: Parts, version: &str) -> Json {
    let words = words(parts.mode);
    let streaming = parts.streaming && parts.mode == Mode::Predict;
    Json::object([
        (
            "components",
            Json::object([("schemas", components(words, parts))]),
        ),
        (
            "info",
            Json::Value(json!({ "title": "Cog", "version": version })),
        ),
        ("openapi", Json::text("3.0.2")),
        ("paths", paths(words, streaming)),
    ])
}

fn components(words: &Words, parts: Parts) -> Json {
    let Parts {
        properties, output, ..
    } = parts;
    let required: Vec<Value> = properties
        .iter()
        .filter(|property| property.required)
        .map(|property| property.name.clone().into())
        .collect();
    let mut enums = Vec::new();
    let mut members = Vec::new();
    for property in properties {
        enums.extend(
            property
                .choices
                .map(|choices| (property.name.clone(), choices)),
        );
        members.push((property.name, property.schema));
    }
    let mut input = Json::object([
        ("properties", Json::Ordered(members)),
        ("title", Json::text(words.input)),
        ("type", Json::text("object")),
    ]);
    if !required.is_empty() {
        input = input.with("required", Json::Value(Value::Array(required)));
    }
    let mut schemas = vec![
        (words.input.to_owned(), input),
        (words.output.to_owned(), output),
    ];
    schemas.extend(enums);
    let fixed = [
        (words.request, request(words)),
        (words.response, response(words)),
        (
            "Status",
            json!({
                "description": "An enumeration.",
                "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
                "title": "Status",
                "type": "string",
            }),
        ),
        (
            "HTTPValidationError",
            json!({
                "properties": { "detail": {
                    "items": { "$ref": "#/components/schemas/ValidationError" }, "title": "Detail", "type": "array",
                } },
                "title": "HTTPValidationError",
                "type": "object",
            }),
        ),
        (
            "ValidationError",
            json!({
                "properties": {
                    "loc": {
                        "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                        "title": "Location",
                        "type": "array",
                    },
                    "msg": { "title": "Message", "type": "string" },
                    "type": { "title": "Error Type", "type": "string" },
                },
                "required": ["loc", "msg", "type"],
                "title": "ValidationError",
                "type": "object",
            }),
        ),
    ];
    schemas.extend(fixed.map(|(name, schema)| (name.to_owned(), Json::Value(schema))));
    Json::Ordered(schemas)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn request(words: &Words) -> Value {
    json!({
        "properties": { "id": { "title": "Id", "type": "string" }, "input": reference(words.input) },
        "title": words.request,
        "type": "object",
    })
}

fn response(words: &Words) -> Value {
    let time = |title: &str| json!({ "format": "date-time", "title": title, "type": "string" });
    let text = |title: &str| json!({ "title": title, "type": "string" });
    json!({
        "properties": {
            "completed_at": time("Completed At"),
            "created_at": time("Created At"),
            "error": text("Error"),
            "id": text("Id"),
            "input": reference(words.input),
            "logs": text("Logs"),
            "metrics": { "title": "Metrics", "type": "object" },
            "output": reference(words.output),
            "started_at": time("Started At"),
            "status": text("Status"),
            "version": text("Version"),
        },
        "title": words.response,
        "type": "object",
    })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "content": { "application/json": { "schema": schema } }, "description": description })
}

fn paths(words: &Words, streaming: bool) -> Json {
    let anything = json!({});
    let invalid = answer("Validation Error", &reference("HTTPValidationError"));
    let get = |operation: &str, summary: &str| {
        json!({ "get": {
            "operationId": operation,
            "responses": { "200": answer("Successful Response", &anything) },
            "summary": summary,
        } })
    };
    let mut create = json!({
        "description": words.description,
        "operationId": words.operation,
        "requestBody": { "content": { "application/json": { "schema": reference(words.request) } } },
        "responses": { "200": answer("Successful Response", &reference(words.response)), "422": invalid },
        "summary": words.summary,
    });
    if streaming {
        create["x-cog-streaming"] = true.into();
    }
    let cancel = json!({ "post": {
        "operationId": words.cancel_operation,
        "parameters": [{
            "in": "path", "name": words.id, "required": true, "schema": { "title": words.id_title, "type": "string" },
        }],
        "responses": { "200": answer("Successful Response", &anything), "422": invalid },
        "summary": "Cancel",
    } });
    let cancel_path = format!("{}/{{{}}}/cancel", words.path, words.id);
    Json::ordered([
        ("/", Json::Value(get("root__get", "Root"))),
        (
            "/health-check",
            Json::Value(get("healthcheck_health_check_get", "Healthcheck")),
        ),
        (words.path, Json::Value(json!({ "post": create }))),
        (&cancel_path, Json::Value(cancel)),
    ])
}

/// The training document added to the prediction document, where that has no path or component of the name.
pub(crate) fn merge(mut predict: Json, mut train: Json) -> Json {
    for (outer, inner) in [("components", Some("schemas")), ("paths", None)] {
        let select = |document: &mut Json| -> Option<Vec<(String, Json)>> {
            let part = document.member_mut(outer)?;
            let part = match inner {
                Some(inner) => part.member_mut(inner)?,
                None => part,
            };
            Some(std::mem::take(part.members_mut()?))
        };
        let Some(added) = select(&mut train) else {
            continue;
        };
        let Some(mut members) = select(&mut predict) else {
            continue;
        };
        for (key, value) in added {
            if !members.iter().any(|(known, _)| *known == key) {
                members.push((key, value));
            }
        }
        let part = predict.member_mut(outer).and_then(|part| match inner {
            Some(inner) => part.member_mut(inner),
            None => Some(part),
        });
        if let Some(place) = part.and_then(Json::members_mut) {
            *place = members;
        }
    }
    predict
}
