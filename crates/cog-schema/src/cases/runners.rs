//! Which class or function is the model, and what training adds.

use serde_json::json;

use super::{class, parsed, raw, reference};
use crate::tests::{run, run_files, schemas};
use crate::{ErrorKind, Request, generate};

#[test]
fn case_01_a_required_string() {
    let document = raw("(self, s: str) -> str");
    assert!(document.contains(r#""s":{"title":"S","type":"string","x-order":0}"#));
    assert!(document.contains(r#""required":["s"]"#));
    assert!(document.contains(r#""Output":{"title":"Output","type":"string"}"#));
}

#[test]
fn case_02_no_parameters() {
    let input = &schemas("(self) -> str")["Input"];
    assert_eq!(input["properties"], json!({}));
    assert_eq!(input.get("required"), None);
}

#[test]
fn case_03_run_comes_before_predict() {
    let (run_method, predict) = (
        "    def run(self, s: str) -> str: ...\n",
        "    def predict(self, s: int) -> int: ...\n",
    );
    for body in [
        format!("{run_method}{predict}"),
        format!("{predict}{run_method}"),
    ] {
        let document = parsed(run(&class(&body)));
        let input = &document["components"]["schemas"]["Input"];
        assert_eq!(input["properties"]["s"]["type"], "string", "{body}");
    }
}

#[test]
fn case_04_predict_alone_is_deprecated() {
    let schema = run(&class("    def predict(self, s: int) -> int: ...")).expect("accepted");
    assert_eq!(
        schema.warnings,
        ["cog: warning: Runner.predict() is deprecated; use run() instead"]
    );
}

#[test]
fn case_05_setup_alone_is_not_enough() {
    let error = run(&class("    def setup(self): ...")).expect_err("refused");
    assert!(
        error.message.contains("must define run() or predict()"),
        "{error}"
    );
}

#[test]
fn case_06_the_class_is_not_there() {
    let error =
        reference("run.py:Other", &class("    def run(self) -> str: ...")).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::PredictorNotFound);
}

#[test]
fn case_07_a_function_by_name() {
    let source = "def predict(a: int) -> int: ...\ndef run(b: str) -> str: ...\n";
    let document = parsed(reference("run.py:run", source));
    assert!(document["components"]["schemas"]["Input"]["properties"]["b"].is_object());
}

#[test]
fn case_08_a_class_without_base() {
    assert!(run("class Runner:\n    def predict(self, s: str) -> str: ...\n").is_ok());
}

#[test]
fn case_09_methods_are_inherited_across_files() {
    let base = "from cog import BaseRunner\nclass Base(BaseRunner):\n    def run(self, s: str) -> str: ...\n";
    let same = format!("{base}class Runner(Base):\n    pass\n");
    assert!(run(&same).is_ok());
    for head in [
        "from shared import Base\nclass Runner(Base): pass\n",
        "import shared\nclass Runner(shared.Base): pass\n",
    ] {
        assert!(
            run_files(&[("run.py", head), ("shared.py", base)]).is_ok(),
            "{head}"
        );
    }
    let tree = crate::tests::files(&[
        (
            "pack/run.py",
            "from . import shared\nclass Runner(shared.Base): pass\n",
        ),
        ("pack/shared.py", base),
    ]);
    let made = generate(&Request {
        tree: &tree,
        runner: Some("pack/run.py:Runner"),
        train: None,
        cog_version: "0.22.0",
    });
    assert!(made.is_ok(), "{made:?}");
}

#[test]
fn case_52_training() {
    let source =
        class("    def run(self, s: str) -> str: ...") + "def train(n: int) -> Path: ...\n";
    let tree = crate::tests::files(&[("run.py", &source)]);
    let made = |runner| {
        parsed(generate(&Request {
            tree: &tree,
            runner,
            train: Some("run.py:train"),
            cog_version: "0.22.0",
        }))
    };
    for document in [made(None), made(Some("run.py:Runner"))] {
        assert!(document["paths"]["/trainings"].is_object());
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            schemas["TrainingInput"]["properties"]["n"]["type"],
            "integer"
        );
        assert_eq!(schemas["TrainingOutput"]["format"], "uri");
    }
    let both = made(Some("run.py:Runner"));
    assert_eq!(
        both["components"]["schemas"]["Input"],
        schemas("(self, s: str) -> str")["Input"]
    );
}

#[test]
fn case_54_references_that_are_none() {
    for broken in ["no_colon", ":X", "f.py:", ""] {
        let error = reference(broken, "def run() -> str: ...\n").expect_err(broken);
        assert_eq!(error.kind, ErrorKind::InvalidPredictRef, "{broken}");
    }
}
