//! What is returned and yielded.

use serde_json::json;

use super::{class, parsed, with};
use crate::ErrorKind;
use crate::tests::{IMPORTS, error, output, run, run_files};

#[test]
fn case_39_lists_and_dictionaries_as_outputs() {
    assert_eq!(
        output("list[Path]")["items"],
        json!({"format": "uri", "type": "string"})
    );
    assert_eq!(output("list")["items"], json!({"type": "object"}));
    let nested = json!({"items": {"type": "integer"}, "type": "array"});
    assert_eq!(
        output("dict[str, list[int]]")["additionalProperties"],
        nested
    );
}

#[test]
fn case_40_iterators() {
    let items = json!({"additionalProperties": {"type": "string"}, "type": "object"});
    assert_eq!(output("Iterator[dict[str, str]]")["items"], items);
    assert_eq!(output("AsyncIterator[str]")["x-cog-array-type"], "iterator");
    assert_eq!(
        output("ConcatenateIterator[str]")["x-cog-array-display"],
        "concatenate"
    );
}

#[test]
fn case_41_outputs_that_are_refused() {
    let kind = |annotation: &str| error(&format!("(self) -> {annotation}")).kind;
    assert_eq!(
        kind("ConcatenateIterator[int]"),
        ErrorKind::ConcatIteratorNotStr
    );
    assert_eq!(kind("str | None"), ErrorKind::OptionalOutput);
    assert_eq!(kind("Optional[str]"), ErrorKind::OptionalOutput);
}

#[test]
fn case_42_models_as_outputs() {
    let prelude = "class Out(BaseModel):\n    text: str\n    confidence: float = 0.0\n    err: Optional[str] = None\n";
    let source =
        format!("{IMPORTS}{prelude}class Runner(BaseRunner):\n    def run(self) -> Out: ...\n");
    let schema = run(&source).expect("accepted");
    let output = parsed(Ok(schema.clone()))["components"]["schemas"]["Output"].clone();
    assert_eq!(output["required"], json!(["text"]));
    assert_eq!(output["properties"]["confidence"].get("nullable"), None);
    assert_eq!(output["properties"]["err"]["nullable"], true);
    let place = |name: &str| schema.json.find(&format!("\"{name}\":{{")).expect(name);
    assert!(place("text") < place("confidence") && place("confidence") < place("err"));
}

#[test]
fn case_43_pydantic_models() {
    for (import, base) in [
        ("from pydantic import BaseModel as PBM", "PBM"),
        ("import pydantic", "pydantic.BaseModel"),
        ("from pydantic.v1 import BaseModel", "BaseModel"),
    ] {
        let source = format!(
            "{import}\nclass Out({base}):\n    a: int\nclass Runner:\n    def run(self) -> Out: ...\n"
        );
        let output = parsed(run(&source))["components"]["schemas"]["Output"].clone();
        assert_eq!(output["properties"]["a"]["type"], "integer", "{import}");
    }
}

#[test]
fn case_44_models_in_themselves() {
    let prelude = "class T(BaseModel):\n    child: Optional[\"T\"] = None\n";
    let output = with(prelude, "(self) -> T")["Output"].clone();
    let child = &output["properties"]["child"];
    assert_eq!(
        (&child["type"], &child["nullable"]),
        (&json!("object"), &json!(true))
    );
}

#[test]
fn case_45_models_of_other_files() {
    let model = "from cog import BaseModel\nclass Result(BaseModel):\n    a: int\n";
    let method = |name: &str| format!("class Runner:\n    def run(self) -> {name}: ...\n");
    for (import, name, file) in [
        (
            "from output_types import Result",
            "Result",
            "output_types.py",
        ),
        (
            "from .output_types import Result",
            "Result",
            "output_types.py",
        ),
        (
            "from sub.output_types import Result",
            "Result",
            "sub/output_types.py",
        ),
        (
            "from output_types import Result as R",
            "R",
            "output_types.py",
        ),
    ] {
        let runner = format!("{import}\n{}", method(name));
        let document = parsed(run_files(&[("run.py", &runner), (file, model)]));
        let output = &document["components"]["schemas"]["Output"];
        assert_eq!(output["properties"]["a"]["type"], "integer", "{import}");
    }
}

#[test]
fn case_46_types_that_cannot_be_found() {
    let source =
        "from some_pkg import WeirdType\nclass Runner:\n    def run(self) -> WeirdType: ...\n";
    let error = run(source).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::UnresolvableType);
    for part in ["WeirdType", "some_pkg", ".pyi stub"] {
        assert!(error.message.contains(part), "{error}");
    }
    let unknown = crate::tests::error("(self) -> Mystery");
    assert!(
        unknown.message.contains("not a primitive type"),
        "{unknown}"
    );
}

/// Others refuse it; people write it.
#[test]
fn case_47_models_of_packages() {
    let runner = "from mypackage import Output\nclass Runner:\n    def run(self) -> Output: ...\n";
    let model = "from cog import BaseModel\nclass Output(BaseModel):\n    a: int\n";
    let document = parsed(run_files(&[
        ("run.py", runner),
        ("mypackage/__init__.py", model),
    ]));
    assert_eq!(
        document["components"]["schemas"]["Output"]["properties"]["a"]["type"],
        "integer"
    );
    let error = run(runner).expect_err("without the package");
    assert!(
        error
            .message
            .contains("cannot resolve type 'Output' (imported from 'mypackage'"),
        "{error}"
    );
}

#[test]
fn case_48_one_name_in_two_files() {
    let payload = |field: &str| {
        format!("from cog import BaseModel\nclass Payload(BaseModel):\n    {field}: int\n")
    };
    let runner = "from cog import BaseModel\nfrom a import Payload as A\nfrom b import Payload as B\n\
                  class Out(BaseModel):\n    one: A\n    two: B\n\
                  class Runner:\n    def run(self) -> Out: ...\n";
    let (a, b) = (payload("x"), payload("y"));
    let document = parsed(run_files(&[("run.py", runner), ("a.py", &a), ("b.py", &b)]));
    let properties = &document["components"]["schemas"]["Output"]["properties"];
    assert!(
        properties["one"]["properties"]["x"].is_object(),
        "{properties}"
    );
    assert!(
        properties["two"]["properties"]["y"].is_object(),
        "{properties}"
    );
}

#[test]
fn case_49_typed_dicts_as_outputs() {
    let out = |class: &str| with(class, "(self) -> Out")["Output"].clone();
    let optional = out("class Out(TypedDict):\n    name: str\n    count: NotRequired[int]\n");
    assert_eq!(optional["required"], json!(["name"]));
    assert_eq!(
        out("class Out(TypedDict, total=False):\n    name: str\n").get("required"),
        None
    );
    let inherited = out("class Base(TypedDict):\n    a: int\nclass Out(Base):\n    b: int\n");
    assert!(inherited["properties"]["a"].is_object() && inherited["properties"]["b"].is_object());
}

#[test]
fn case_51_streaming() {
    let flag = |source: &str| {
        let document = parsed(run(source));
        document["paths"]["/predictions"]["post"]
            .get("x-cog-streaming")
            .cloned()
    };
    let method = class("    @cog.streaming\n    def run(self) -> Iterator[str]: ...");
    assert_eq!(flag(&method), Some(json!(true)));
    let refused =
        run(&class("    @cog.streaming\n    def run(self) -> str: ...")).expect_err("refused");
    assert!(refused.message.contains("@streaming requires"), "{refused}");
    let of_class = format!(
        "{IMPORTS}@cog.streaming\nclass Runner(BaseRunner):\n    def run(self) -> Iterator[str]: ...\n"
    );
    assert_eq!(flag(&of_class), None);
}
