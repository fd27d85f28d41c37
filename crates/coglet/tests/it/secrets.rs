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
fn what_is_secret_by_the_document_is_too() {
    let properties = json!({"key": {"type": "string", "x-cog-secret": true, "format": "password"}});
    let server = Model::run("def run(self, key: str) -> str", "print(key)\nreturn ''")
        .input(&properties, &["key"])
        .ready();
    let prediction = server.predict(json!({"key": SECRET}));
    assert_eq!(prediction["logs"], "**********\n");
}
