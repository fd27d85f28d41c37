//! Choices and defaults, which may come from elsewhere in the source.

use serde_json::json;

use super::with;
use crate::ErrorKind;
use crate::tests::{IMPORTS, error, run, schemas};

#[test]
fn case_26_choices_become_a_component() {
    let schemas = schemas(r#"(self, color: str = Input(choices=["red","blue"])) -> str"#);
    assert_eq!(schemas["color"]["enum"], json!(["red", "blue"]));
    assert_eq!(schemas["color"]["type"], "string");
    assert_eq!(
        schemas["Input"]["properties"]["color"]["allOf"],
        json!([{"$ref": "#/components/schemas/color"}])
    );
}

#[test]
fn case_27_choices_of_integers() {
    let size = schemas("(self, size: int = Input(choices=[256, 512])) -> str")["size"].clone();
    assert_eq!(
        (&size["type"], &size["enum"]),
        (&json!("integer"), &json!([256, 512]))
    );
}

#[test]
fn case_28_choices_from_constants() {
    let prelude = "CH = ['x', 'y']\nA = ['a']\nB = ['b']\n";
    let found = with(
        prelude,
        "(self, c: str = Input(choices=CH), d: str = Input(choices=A + B)) -> str",
    );
    assert_eq!(found["c"]["enum"], json!(["x", "y"]));
    assert_eq!(found["d"]["enum"], json!(["a", "b"]));
}

#[test]
fn case_29_choices_from_dictionaries() {
    let prelude =
        "D = {'1:1': (1, 1), '2:1': (2, 1)}\nS = {'a': 'x', 'b': 'y'}\nN = {1: 'a', 2: 'b'}\n";
    let signature = "(self, k: str = Input(choices=list(D.keys())), v: str = Input(choices=list(S.values())), \
                     m: str = Input(choices=list(D.keys()) + ['custom']), n: int = Input(choices=list(N.keys()))) -> str";
    let found = with(prelude, signature);
    let choices = ["k", "v", "m", "n"].map(|name| found[name]["enum"].clone());
    assert_eq!(
        choices,
        [
            json!(["1:1", "2:1"]),
            json!(["x", "y"]),
            json!(["1:1", "2:1", "custom"]),
            json!([1, 2])
        ]
    );
}

#[test]
fn case_30_choices_that_are_computed() {
    for choices in ["CONSTANT", "UNDEFINED", "make()", "[x for x in y]"] {
        let source = format!(
            "{IMPORTS}CONSTANT = 'text'\nclass Runner(BaseRunner):\n    def run(self, size: str = Input(choices={choices})) -> str: ...\n"
        );
        let error = run(&source).expect_err(choices);
        assert_eq!(error.kind, ErrorKind::ChoicesNotResolvable, "{choices}");
        assert!(error.message.contains("size"), "{error}");
    }
}

#[test]
fn case_31_defaults_from_constants() {
    let found = with(
        "CONST = 'hi'\nTAGS = ['a', 'b']\n",
        "(self, x: str = CONST, t: list[str] = Input(default=TAGS)) -> str",
    );
    assert_eq!(found["Input"]["properties"]["x"]["default"], "hi");
    assert_eq!(
        found["Input"]["properties"]["t"]["default"],
        json!(["a", "b"])
    );
}

#[test]
fn case_32_an_undefined_default() {
    assert!(
        error("(self, x: str = UNDEFINED) -> str")
            .message
            .contains("cannot be statically resolved")
    );
}

#[test]
fn case_33_a_description_from_a_constant() {
    let found = with(
        "DESC = 'what it is'\n",
        "(self, x: str = Input(description=DESC)) -> str",
    );
    assert_eq!(
        found["Input"]["properties"]["x"]["description"],
        "what it is"
    );
}

#[test]
fn case_34_default_factories() {
    assert_eq!(
        error("(self, x: str = Input(default_factory=list)) -> str").kind,
        ErrorKind::DefaultFactoryNotSupported
    );
}
