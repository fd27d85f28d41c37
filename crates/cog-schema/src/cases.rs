//! What compatible schemas look like, case by case.

use serde_json::{Value, json};

use super::tests::{IMPORTS, error, output, property, run, run_files, schemas, signature};
use crate::{ErrorKind, Request, Schema, SchemaError, generate};

fn class(body: &str) -> String {
    format!("{IMPORTS}class Runner(BaseRunner):\n{body}\n")
}

fn parsed(schema: Result<Schema, SchemaError>) -> Value {
    let schema = schema.unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&schema.json).expect("a JSON document")
}

/// The components of a runner with this signature, after `prelude`.
fn with(prelude: &str, signature_text: &str) -> Value {
    let source = format!(
        "{IMPORTS}{prelude}\nclass Runner(BaseRunner):\n    def run{signature_text}: ...\n"
    );
    parsed(run(&source))["components"]["schemas"].clone()
}

fn text(schema: &Value) -> String {
    serde_json::to_string(schema).expect("JSON")
}

/// The document's own text, in which the order of keys counts.
fn raw(signature_text: &str) -> String {
    run(&signature(signature_text))
        .unwrap_or_else(|error| panic!("{error}"))
        .json
}

fn reference(reference: &str, source: &str) -> Result<Schema, SchemaError> {
    let tree = super::tests::files(&[("run.py", source)]);
    generate(&Request {
        tree: &tree,
        runner: Some(reference),
        train: None,
        cog_version: "0.22.0",
    })
}

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
    let tree = super::tests::files(&[
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
fn case_10_parameters_are_numbered() {
    let properties =
        schemas("(self, a: str, b: str, c: str) -> str")["Input"]["properties"].clone();
    let order = ["a", "b", "c"].map(|name| properties[name]["x-order"].clone());
    assert_eq!(order, [json!(0), json!(1), json!(2)]);
}

#[test]
fn case_11_bounds_and_default() {
    let document =
        raw(r#"(self, scale: float = Input(description="d", ge=0, le=10, default=1.5)) -> str"#);
    let fragment = r#""scale":{"default":1.5,"description":"d","maximum":10,"minimum":0,"title":"Scale","type":"number","x-order":0}"#;
    assert!(document.contains(fragment), "{document}");
    assert!(!document.contains(r#""required":["scale"]"#));
}

#[test]
fn case_12_lengths_and_pattern() {
    let property = property(r#"t: str = Input(min_length=1, max_length=100, regex="^[a-z]+$")"#);
    assert_eq!(
        (
            &property["minLength"],
            &property["maxLength"],
            &property["pattern"]
        ),
        (&json!(1), &json!(100), &json!("^[a-z]+$"))
    );
}

#[test]
fn case_13_deprecated() {
    assert_eq!(
        property(r#"old: str = Input(deprecated=True, default="x")"#)["deprecated"],
        true
    );
}

#[test]
fn case_14_falsy_defaults_are_defaults() {
    let input = schemas(r#"(self, flag: bool = False, n: int = 0, w: float = 0.0, s: str = "", o: int = -1) -> str"#)["Input"].clone();
    assert_eq!(input.get("required"), None);
    let defaults =
        ["flag", "n", "w", "s", "o"].map(|name| text(&input["properties"][name]["default"]));
    assert_eq!(defaults, ["false", "0", "0", r#""""#, "-1"]);
}

#[test]
fn case_15_none_for_a_plain_type_is_no_default() {
    let input = schemas("(self, seed: int = Input(default=None)) -> str")["Input"].clone();
    assert_eq!(input["required"], json!(["seed"]));
    let seed = &input["properties"]["seed"];
    assert_eq!((seed.get("default"), seed.get("nullable")), (None, None));
}

#[test]
fn case_16_secrets() {
    let input = schemas(r#"(self, k: Secret = Input(description="k")) -> str"#)["Input"].clone();
    assert_eq!(input["required"], json!(["k"]));
    let secret = &input["properties"]["k"];
    let found = ["type", "format", "writeOnly", "x-cog-secret"].map(|key| secret[key].clone());
    assert_eq!(
        found,
        [json!("string"), json!("password"), json!(true), json!(true)]
    );
}

#[test]
fn case_17_a_secret_may_default_to_none() {
    let input = schemas(
        "(self, prompt: str, api_key: Secret = Input(default=None), other: Secret = Input(description='o'), \
         seed: int = Input(default=None)) -> str",
    )["Input"]
        .clone();
    assert_eq!(input["required"], json!(["prompt", "other", "seed"]));
    let key = &input["properties"]["api_key"];
    assert_eq!(
        (key.get("default"), &key["nullable"]),
        (Some(&Value::Null), &json!(true))
    );
}

#[test]
fn case_18_an_optional_path() {
    let document = raw("(self, p: Path | None = Input(default=None)) -> str");
    let fragment = r#""p":{"default":null,"format":"uri","nullable":true,"title":"P","type":"string","x-order":0}"#;
    assert!(document.contains(fragment), "{document}");
}

#[test]
fn case_19_optional_without_default() {
    let input = schemas("(self, v: Optional[str]) -> str")["Input"].clone();
    assert_eq!(input.get("required"), None);
    let property = &input["properties"]["v"];
    assert_eq!(
        (&property["nullable"], property.get("default")),
        (&json!(true), None)
    );
}

#[test]
fn case_20_an_optional_list_of_paths() {
    let files = property("files: list[Path] | None = Input(default=None)");
    assert_eq!(files["items"], json!({"format": "uri", "type": "string"}));
    assert_eq!(
        (&files["nullable"], files.get("default")),
        (&json!(true), Some(&Value::Null))
    );
}

#[test]
fn case_21_unions() {
    let input = schemas("(self, v: str | float) -> str")["Input"].clone();
    assert_eq!(
        input["properties"]["v"]["anyOf"],
        json!([{"type": "string"}, {"type": "number"}])
    );
    assert_eq!(input["required"], json!(["v"]));
}

#[test]
fn case_22_no_files_in_unions() {
    let error = error("(self, v: Path | str) -> str");
    assert!(
        error.message.contains("Path") && error.message.contains("union"),
        "{error}"
    );
}

#[test]
fn case_23_objects() {
    for annotation in ["dict", "Dict[str, Any]", "dict[str, int]"] {
        let expected = json!({"title": "D", "type": "object", "x-order": 0});
        assert_eq!(
            property(&format!("d: {annotation}")),
            expected,
            "{annotation}"
        );
    }
}

#[test]
fn case_24_lists_of_objects() {
    let expected =
        json!({"items": {"type": "object"}, "title": "M", "type": "array", "x-order": 0});
    assert_eq!(property("m: list[dict]"), expected);
    let input = schemas("(self, m: list[dict] = []) -> str")["Input"].clone();
    assert_eq!(input["properties"]["m"]["default"], json!([]));
    assert_eq!(input.get("required"), None);
}

#[test]
fn case_25_typed_dicts_as_inputs() {
    let prelude = "class Payload(TypedDict):\n    a: int\n";
    let input = with(
        prelude,
        "(self, p: Payload, items: list[Payload] | None = None) -> str",
    )["Input"]
        .clone();
    assert_eq!(input["properties"]["p"]["type"], "object");
    assert_eq!(
        input["properties"]["items"],
        json!({"default": null, "items": {"type": "object"}, "nullable": true, "title": "Items", "type": "array", "x-order": 1})
    );
}

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

#[test]
fn case_35_inputs_shared_by_a_class() {
    let prelude = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Inputs:\n    \
                   ar = Input(description='ratio', choices=['1:1', '2:1'], default='1:1')\n";
    let found = with(prelude, "(self, ar: str = Inputs.ar) -> str");
    let property = &found["Input"]["properties"]["ar"];
    assert_eq!(
        (&property["default"], &property["description"]),
        (&json!("1:1"), &json!("ratio"))
    );
    assert_eq!(found["ar"]["enum"], json!(["1:1", "2:1"]));
}

#[test]
fn case_36_inputs_made_by_a_static_method() {
    let prelude = "class Inputs:\n    @staticmethod\n    def guidance(default):\n        \
                   return Input(ge=0.0, le=20.0, default=default)\n";
    let property =
        with(prelude, "(self, g: float = Inputs.guidance(7.5)) -> str")["Input"]["properties"]["g"]
            .clone();
    let found = ["default", "minimum", "maximum"].map(|key| property[key].as_f64());
    assert_eq!(found, [Some(7.5), Some(0.0), Some(20.0)]);
}

#[test]
fn case_37_accept_is_for_files() {
    for kind in ["Path", "File"] {
        assert_eq!(
            property(&format!("f: {kind} = Input(accept='image/*')"))["x-cog-accept"],
            "image/*"
        );
    }
    let error = error("(self, name: str = Input(accept='image/*')) -> str");
    assert_eq!(error.kind, ErrorKind::AcceptOnNonFileType);
    assert!(error.message.contains("name"), "{error}");
}

#[test]
fn case_38_annotations_are_needed() {
    assert_eq!(
        error("(self, s='hello') -> str").kind,
        ErrorKind::MissingTypeAnnotation
    );
    assert_eq!(error("(self, s: str)").kind, ErrorKind::MissingReturnType);
}

#[test]
fn a_parameter_that_is_no_input_is_told() {
    let schema = run("class Runner:\n    def run(self, bare, s: str) -> str: ...\n").unwrap();
    assert!(!schema.json.contains("bare"));
    assert_eq!(
        schema.warnings,
        [
            "parameter 'bare' on run is no input, because it has no type annotation, and predictions will fail without \
             it: write for example `bare: str`"
        ]
    );
}

#[test]
fn a_default_that_is_none_for_clients_is_told_with_its_place() {
    let source = "import os\nfrom cog import Input\n\nclass Runner:\n    def run(\n        self,\n        \
                  seed: int = Input(default=None),\n        home: str = Input(default=os.getcwd()),\n        \
                  n: int | None = Input(default=None), k: Secret = None, list: list[str] = None,\n    ) -> str: ...\n";
    assert_eq!(
        run(source).unwrap().warnings,
        [
            "run.py, line 7: the input 'seed' has to be given, although its default is None: write `seed: \
             Optional[int]` if it may be left out",
            "run.py, line 8: the input 'home' has to be given, although its default is not written out: write a literal",
            "run.py, line 9: the input 'list' has to be given, although its default is None: write `list: \
             Optional[list[str]]` if it may be left out",
        ]
    );
}

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
    let unknown = super::tests::error("(self) -> Mystery");
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
fn case_50_opaque_inputs() {
    let properties = with(
        "from ext import Ext\n",
        "(self, payload: Annotated[Ext, Opaque], items: Annotated[List[Ext], Opaque]) -> str",
    )["Input"]["properties"]
        .clone();
    assert_eq!(
        properties["payload"],
        json!({"title": "Payload", "type": "object", "x-order": 0})
    );
    assert_eq!(
        (&properties["items"]["type"], &properties["items"]["items"]),
        (&json!("array"), &json!({"type": "object"}))
    );
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

#[test]
fn case_52_training() {
    let source =
        class("    def run(self, s: str) -> str: ...") + "def train(n: int) -> Path: ...\n";
    let tree = super::tests::files(&[("run.py", &source)]);
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
