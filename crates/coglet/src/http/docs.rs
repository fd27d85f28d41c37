//! `GET /docs`: the model's document as a page for people. It needs nothing from elsewhere, and runs no script.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use cog_inputs::referenced;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::answer;
use crate::app::App;
use crate::model::Model;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}\
code,pre{font-family:ui-monospace,monospace;font-size:90%}pre{background:#8882;padding:1rem;overflow:auto}\
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

const ROUTES: &[(&str, &str)] = &[
    (
        "POST /predictions",
        "one prediction; with <code>Prefer: respond-async</code> the answer comes at once",
    ),
    (
        "PUT /predictions/{id}",
        "the same with an id of yours; sent twice, it runs once",
    ),
    (
        "GET /predictions/{id}",
        "one that is running, or the result of an asynchronous one",
    ),
    ("POST /predictions/{id}/cancel", "cancels it"),
    ("GET /health-check", "how the server is"),
    (
        "GET /openapi.json",
        "the document that this page is made of",
    ),
];

pub(super) async fn docs(State(app): State<Arc<App>>) -> Response {
    let model = app.model();
    let schema = model.as_deref().and_then(Model::schema);
    let document = schema.map(|schema| schema.document.clone());
    let page = match document.and_then(|text| serde_json::from_slice(&text).ok()) {
        Some(document) => page(&document),
        None => frame(
            "Model",
            "<p>The model has no document, or is still being set up.</p>",
        ),
    };
    let mut response = answer::typed_text(StatusCode::OK, "text/html; charset=utf-8", page);
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    response
}

fn page(document: &Value) -> String {
    let schemas = &document["components"]["schemas"];
    let mut body = String::new();
    let inputs = schemas["Input"]["properties"].as_object();
    body.push_str("<h2>Inputs</h2>\n");
    match inputs.filter(|inputs| !inputs.is_empty()) {
        Some(inputs) => body.push_str(&table(inputs, &schemas["Input"]["required"], document)),
        None => body.push_str("<p>None.</p>\n"),
    }
    // Writing to memory does not fail.
    let _ = write!(
        body,
        "<h2>Output</h2>\n<p><code>{}</code></p>\n",
        escaped(&kind(&schemas["Output"], document))
    );
    let example = json!({"input": example(inputs, &schemas["Input"]["required"], document)});
    let _ = write!(
        body,
        "<h2>Try it</h2>\n<pre>curl -s http://HOST/predictions -H 'Content-Type: application/json' \\\n  -d '{}'</pre>\n",
        escaped(&example.to_string().replace('\'', "'\\''"))
    );
    body.push_str("<h2>Routes</h2>\n<table>\n");
    for (route, does) in ROUTES {
        let _ = writeln!(
            body,
            "<tr><td><code>{route}</code></td><td>{does}</td></tr>"
        );
    }
    body.push_str("</table>\n");
    let title = document["info"]["title"].as_str().unwrap_or("Model");
    frame(title, &body)
}

fn frame(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n\
         <body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    )
}

fn table(inputs: &Map<String, Value>, required: &Value, document: &Value) -> String {
    let mut rows = String::from(
        "<table>\n<tr><th>name</th><th>type</th><th>default</th><th>meaning</th></tr>\n",
    );
    for (name, schema) in inputs {
        let default = match schema.get("default") {
            Some(value) => format!("<code>{}</code>", escaped(&value.to_string())),
            None if is_required(name, required) => "required".into(),
            None => String::new(),
        };
        let meaning = schema["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            rows,
            "<tr><td><code>{}</code></td><td>{}</td><td>{default}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&kind(schema, document)),
            escaped(meaning)
        );
    }
    rows + "</table>\n"
}

fn is_required(name: &str, required: &Value) -> bool {
    let names = required.as_array();
    names.is_some_and(|names| names.iter().any(|known| known == name))
}

/// What a schema allows, in a few words.
fn kind(schema: &Value, document: &Value) -> String {
    let schema = resolved(schema, document);
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        return format!("one of {}", choices.join(", "));
    }
    if let Some(alternatives) = schema["anyOf"].as_array() {
        let kinds: Vec<_> = alternatives
            .iter()
            .map(|one| shallow_kind(one, document))
            .collect();
        return kinds.join(" or ");
    }
    let mut kind = shallow_kind(schema, document);
    for (keyword, word) in [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "at least"),
        ("maxLength", "at most"),
        ("pattern", "like"),
    ] {
        if let Some(value) = schema.get(keyword) {
            let _ = write!(kind, ", {word} {value}");
        }
    }
    kind
}

fn shallow_kind(schema: &Value, document: &Value) -> String {
    let schema = resolved(schema, document);
    let name = schema["type"].as_str().unwrap_or("any");
    match (name, schema["format"].as_str()) {
        ("array", _) => {
            let item = resolved(&schema["items"], document);
            format!("list of {}", item["type"].as_str().unwrap_or("any"))
        }
        ("string", Some("uri")) => "file (URL)".into(),
        ("string", Some("password")) => "secret".into(),
        _ => name.into(),
    }
}

/// A schema, or the one that it refers to. Once: a document may refer to itself.
fn resolved<'a>(schema: &'a Value, document: &'a Value) -> &'a Value {
    let reference = schema["$ref"]
        .as_str()
        .or_else(|| schema["allOf"][0]["$ref"].as_str());
    let found = reference.and_then(|reference| referenced(document, reference));
    found.unwrap_or(schema)
}

/// Values for the inputs that have to be given.
fn example(inputs: Option<&Map<String, Value>>, required: &Value, document: &Value) -> Value {
    let needed = inputs
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_required(name, required));
    let value = |schema: &Value| {
        let schema = resolved(schema, document);
        if let Some(choice) = schema["enum"].get(0) {
            return choice.clone();
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
            (Some("boolean"), _) => json!(true),
            (Some("array"), _) => json!([]),
            (Some("object"), _) => json!({}),
            (_, Some("uri")) => json!("https://example.com/file"),
            _ => json!("…"),
        }
    };
    needed
        .map(|(name, schema)| (name.clone(), value(schema)))
        .collect::<Map<_, _>>()
        .into()
}

/// Text as it can stand in HTML, also between quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_explained() {
        let document = json!({
            "info": {"title": "A <model>"},
            "components": {"schemas": {
                "Input": {"properties": {
                    "text": {"type": "string", "description": "what's <b>said</b>", "maxLength": 5},
                    "n": {"type": "integer", "default": 3, "minimum": 1},
                    "size": {"allOf": [{"$ref": "#/components/schemas/size"}]},
                    "files": {"type": "array", "items": {"type": "string", "format": "uri"}},
                    "x": {"anyOf": [{"type": "string"}, {"type": "number"}]},
                }, "required": ["text", "size"]},
                "size": {"type": "string", "enum": ["s", "m"]},
                "Output": {"type": "array", "items": {"type": "string"}},
            }},
        });
        let page = page(&document);
        for part in [
            "<h1>A &lt;model&gt;</h1>",
            "<td>string, at most 5</td><td>required</td><td>what&#39;s &lt;b&gt;said&lt;/b&gt;</td>",
            "<td>integer, from 1</td><td><code>3</code></td>",
            "<td>one of &quot;s&quot;, &quot;m&quot;</td><td>required</td>",
            "<td>list of string</td>",
            "<td>string or number</td>",
            "<code>list of string</code>",
            "-d '{&quot;input&quot;:{&quot;text&quot;:&quot;…&quot;,&quot;size&quot;:&quot;s&quot;}}'",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("<b>") && !page.contains("<script") && !page.contains("src="));
    }

    #[test]
    fn any_document_is_survived() {
        for document in [
            json!(null),
            json!([]),
            json!({"components": 3}),
            json!({"components": {"schemas": {"Input": {"properties": {"x": {"$ref": "#/components/schemas/x"}}}, "x": {"$ref": "#/components/schemas/x"}}}}),
        ] {
            assert!(page(&document).contains("<h2>Output</h2>"));
        }
    }
}
