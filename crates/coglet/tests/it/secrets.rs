//! What models say of secrets that they were given.

use serde_json::{Value, json};

use crate::server::{Model, Server};

const SECRET: &str = "hunter2-hunter2";

/// Says its secret in every way, and then ends as it is told.
fn talkative() -> Model {
    Model::run(
        "def run(self, key: Secret, how: str = '') -> str",
        "value = key.get_secret_value()\n\
         print('printed', value, flush=True)\n\
         os.write(2, f'raw {value}\\n'.encode())\n\
         if how == 'raise': raise ValueError(f'no such key: {value}')\n\
         if how == 'die':\n    \
             os.write(2, b'x' * 490 + value.encode() + b'\\n')\n    \
             os._exit(1)\n\
         return value",
    )
}

fn prediction(server: &Server, how: &str) -> Value {
    let prediction = server.predict(json!({"key": SECRET, "how": how}));
    let logs = prediction["logs"].as_str().unwrap();
    assert!(logs.contains("printed **********"), "{logs}");
    assert!(logs.contains("raw **********"), "{logs}");
    // Nor a piece of it, where something was cut.
    assert!(!logs.contains("hunter"), "{logs}");
    prediction
}

#[test]
fn a_secret_is_in_no_log_and_in_no_error() {
    let server = talkative().ready();
    // What the model gives is its own business.
    assert_eq!(prediction(&server, "")["output"], SECRET);
    let error = prediction(&server, "raise")["error"].clone();
    assert_eq!(
        error,
        "Prediction failed: ValueError: no such key: **********"
    );
    let error = prediction(&server, "die")["error"].clone();
    let error = error.as_str().unwrap();
    assert!(error.contains("raw **********\nxxx"), "{error}");
    assert!(!error.contains("hunter"), "{error}");
    server.until_status("READY");
    let log = server.log_text();
    assert!(
        log.contains("printed **********") && !log.contains("hunter"),
        "{log}"
    );
}

#[test]
fn a_secret_stays_one_after_its_prediction() {
    let server = Model::run(
        "def run(self, key: Secret = None, how: str = '') -> str",
        "global kept\n\
         if key: kept = key.get_secret_value()\n\
         print('again', kept, flush=True)\n\
         print(repr(kept), flush=True)\n\
         if how == 'die':\n    \
             os.write(2, kept.encode() + b'\\n')\n    \
             os._exit(1)\n\
         return ''",
    )
    .ready();
    let shown = "again **********\n'**********'\n";
    let first = server.predict(json!({"key": "hunter2\t'hunter2"}));
    assert_eq!(first["logs"], "again **********\n\"**********\"\n");
    let second = server.predict(json!({"key": SECRET}));
    assert_eq!(second["logs"], shown);
    let third = server.predict(json!({"how": "die"}));
    assert!(third["logs"].as_str().unwrap().contains(shown), "{third}");
    assert!(!third.to_string().contains("hunter"), "{third}");
    assert!(!server.log_text().contains("hunter"));
}

#[test]
fn what_was_cut_shows_no_beginning_of_a_secret() {
    let server = Model::run(
        "def run(self, key: Secret) -> str",
        "value = key.get_secret_value()\n\
         print('x' * (4 * 1024 * 1024 - 6) + value, flush=True)\n\
         os.write(2, b'y' * (1024 * 1024 - 6) + value.encode() + b'\\n')\n\
         raise ValueError('z' * (256 * 1024 - 6) + value)",
    )
    .ready();
    let prediction = server.predict(json!({"key": SECRET}));
    for text in [&prediction["logs"], &prediction["error"]] {
        let text = text.as_str().unwrap();
        assert!(text.contains("**********") && !text.contains("hunt"));
    }
}

#[test]
fn a_secret_that_is_refused_is_not_repeated() {
    let server = Model::run("def run(self, key: Secret) -> str", "return ''")
        .input(
            &json!({"key": {"type": "string", "minLength": 20, "x-cog-secret": true, "format": "password"}}),
            &["key"],
        )
        .ready();
    let refused = server.post("/predictions", &json!({"input": {"key": SECRET}}));
    assert_eq!(refused.status, 422);
    assert!(!refused.text().contains("hunter"), "{}", refused.text());
}

#[test]
fn what_is_secret_by_the_document_is_too() {
    let properties = json!({"key": {"type": "string", "x-cog-secret": true, "format": "password"}});
    let server = Model::run("def run(self, key: str) -> str", "print(key)\nreturn ''")
        .input(&properties, &["key"])
        .ready();
    let prediction = server.predict(json!({"key": SECRET}));
    assert_eq!(prediction["logs"], "**********\n");
}
