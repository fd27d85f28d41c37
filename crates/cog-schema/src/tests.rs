//! Behaviour by example: a model in, fragments of the document out.

use std::collections::HashMap;
use std::io;

use serde_json::{Value, json};

use crate::{ErrorKind, Request, Schema, SchemaError, SourceTree, generate, validate_document};

pub(crate) struct Sources(HashMap<String, String>);

impl SourceTree for Sources {
    fn read(&self, path: &str) -> io::Result<Option<String>> {
        Ok(self.0.get(path).cloned())
    }
}

pub(crate) const IMPORTS: &str = "import cog\nfrom cog import BaseModel, BaseRunner, Input, Path, File, Secret, Opaque, ConcatenateIterator\n\
                       from typing import *\n";

pub(crate) fn files(files: &[(&str, &str)]) -> Sources {
    Sources(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect(),
    )
}

pub(crate) fn run(source: &str) -> Result<Schema, SchemaError> {
    run_files(&[("run.py", source)])
}

pub(crate) fn run_files(sources: &[(&str, &str)]) -> Result<Schema, SchemaError> {
    let tree = files(sources);
    generate(&Request {
        tree: &tree,
        runner: Some("run.py:Runner"),
        train: None,
        cog_version: "0.22.0",
    })
}

/// A runner whose method has this signature, such as `(self, s: str) -> str`.
pub(crate) fn signature(signature: &str) -> String {
    format!("{IMPORTS}class Runner(BaseRunner):\n    def run{signature}:\n        pass\n")
}

pub(crate) fn schemas(signature_text: &str) -> Value {
    let schema =
        run(&signature(signature_text)).unwrap_or_else(|error| panic!("{signature_text}: {error}"));
    let document: Value = serde_json::from_str(&schema.json).unwrap();
    document["components"]["schemas"].clone()
}

pub(crate) fn property(parameter: &str) -> Value {
    let name = parameter.split(':').next().unwrap();
    schemas(&format!("(self, {parameter}) -> str"))["Input"]["properties"][name].clone()
}

pub(crate) fn output(annotation: &str) -> Value {
    schemas(&format!("(self) -> {annotation}"))["Output"].clone()
}

pub(crate) fn error(signature_text: &str) -> SchemaError {
    run(&signature(signature_text)).expect_err(signature_text)
}

const WHOLE: &str = r##"{"components":{"schemas":{"Input":{"properties":{"prompt":{"description":"Text","title":"Prompt","type":"string","x-order":0},"steps":{"default":20,"maximum":50,"minimum":1,"title":"Steps","type":"integer","x-order":1},"mode":{"allOf":[{"$ref":"#/components/schemas/mode"}],"default":"fast","x-order":2}},"required":["prompt"],"title":"Input","type":"object"},"Output":{"title":"Output","type":"string"},"mode":{"description":"An enumeration.","enum":["fast","slow"],"title":"mode","type":"string"},"PredictionRequest":{"properties":{"id":{"title":"Id","type":"string"},"input":{"$ref":"#/components/schemas/Input"}},"title":"PredictionRequest","type":"object"},"PredictionResponse":{"properties":{"completed_at":{"format":"date-time","title":"Completed At","type":"string"},"created_at":{"format":"date-time","title":"Created At","type":"string"},"error":{"title":"Error","type":"string"},"id":{"title":"Id","type":"string"},"input":{"$ref":"#/components/schemas/Input"},"logs":{"title":"Logs","type":"string"},"metrics":{"title":"Metrics","type":"object"},"output":{"$ref":"#/components/schemas/Output"},"started_at":{"format":"date-time","title":"Started At","type":"string"},"status":{"title":"Status","type":"string"},"version":{"title":"Version","type":"string"}},"title":"PredictionResponse","type":"object"},"Status":{"description":"An enumeration.","enum":["starting","processing","succeeded","canceled","failed"],"title":"Status","type":"string"},"HTTPValidationError":{"properties":{"detail":{"items":{"$ref":"#/components/schemas/ValidationError"},"title":"Detail","type":"array"}},"title":"HTTPValidationError","type":"object"},"ValidationError":{"properties":{"loc":{"items":{"anyOf":[{"type":"string"},{"type":"integer"}]},"title":"Location","type":"array"},"msg":{"title":"Message","type":"string"},"type":{"title":"Error Type","type":"string"}},"required":["loc","msg","type"],"title":"ValidationError","type":"object"}}},"info":{"title":"Cog","version":"0.22.0"},"openapi":"3.0.2","paths":{"/":{"get":{"operationId":"root__get","responses":{"200":{"content":{"application/json":{"schema":{}}},"description":"Successful Response"}},"summary":"Root"}},"/health-check":{"get":{"operationId":"healthcheck_health_check_get","responses":{"200":{"content":{"application/json":{"schema":{}}},"description":"Successful Response"}},"summary":"Healthcheck"}},"/predictions":{"post":{"description":"Run a single prediction on the model","operationId":"predict_predictions_post","requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/PredictionRequest"}}}},"responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/PredictionResponse"}}},"description":"Successful Response"},"422":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/HTTPValidationError"}}},"description":"Validation Error"}},"summary":"Predict"}},"/predictions/{prediction_id}/cancel":{"post":{"operationId":"cancel_predictions__prediction_id__cancel_post","parameters":[{"in":"path","name":"prediction_id","required":true,"schema":{"title":"Prediction Id","type":"string"}}],"responses":{"200":{"content":{"application/json":{"schema":{}}},"description":"Successful Response"},"422":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/HTTPValidationError"}}},"description":"Validation Error"}},"summary":"Cancel"}}}}"##;

#[test]
fn the_whole_document_is_exact() {
    let source = signature(
        r#"(self, prompt: str = Input(description="Text"), steps: int = Input(default=20, ge=1, le=50), mode: str = Input(default="fast", choices=["fast","slow"])) -> str"#,
    );
    let schema = run(&source).unwrap();
    assert_eq!(schema.json, WHOLE);
    validate_document(&schema.json).unwrap();
}

/// The table of cases that `cog-inputs` and the SDK are checked by.
#[test]
fn the_schemas_are_those_of_the_table() {
    let table: Value =
        serde_json::from_str(include_str!("../../cog-inputs/tests/cases.json")).unwrap();
    for case in table["cases"].as_array().unwrap() {
        let parameter = case["parameter"].as_str().unwrap();
        let mut schemas = schemas(&format!("(self, x: {parameter}) -> str"));
        let made = &mut schemas["Input"]["properties"]["x"];
        for about in ["title", "x-order"] {
            made.as_object_mut().unwrap().remove(about);
        }
        assert_eq!(*made, case["property"], "{parameter}");
        let choices = case.pointer("/components/x");
        let made =
            choices.map(|_| json!({"type": schemas["x"]["type"], "enum": schemas["x"]["enum"]}));
        assert_eq!(made.as_ref(), choices, "{parameter}");
        let required = schemas["Input"]["required"] == json!(["x"]);
        let omitted = case["omitted"].as_str().unwrap();
        assert_eq!(
            required,
            matches!(omitted, "neither" | "sdk"),
            "{parameter}"
        );
    }
}

#[test]
fn parameters_become_properties() {
    let cases = [
        ("s: str", json!({"title":"S","type":"string","x-order":0})),
        (
            "p: Path | None = Input(default=None)",
            json!({"default":null,"format":"uri","nullable":true,"title":"P","type":"string","x-order":0}),
        ),
        ("d: dict", json!({"title":"D","type":"object","x-order":0})),
        (
            "d: Dict[str, Any]",
            json!({"title":"D","type":"object","x-order":0}),
        ),
        (
            "m: list[dict]",
            json!({"items":{"type":"object"},"title":"M","type":"array","x-order":0}),
        ),
        (
            "v: str | float",
            json!({"anyOf":[{"type":"string"},{"type":"number"}],"title":"V","x-order":0}),
        ),
        (
            "v: Union[str, float, None] = None",
            json!({"anyOf":[{"type":"string","nullable":true},{"type":"number","nullable":true}],"default":null,"nullable":true,"title":"V","x-order":0}),
        ),
        (
            "v: 'Optional[List[str]]'",
            json!({"items":{"type":"string"},"nullable":true,"title":"V","type":"array","x-order":0}),
        ),
        (
            "k: Secret = Input(default=None)",
            json!({"default":null,"format":"password","nullable":true,"title":"K","type":"string","writeOnly":true,"x-cog-secret":true,"x-order":0}),
        ),
        (
            "p: Path = Input(accept='image/*')",
            json!({"format":"uri","title":"P","type":"string","x-cog-accept":"image/*","x-order":0}),
        ),
        (
            "o: int = -1",
            json!({"default":-1,"title":"O","type":"integer","x-order":0}),
        ),
        (
            "old: str = cog.Input(deprecated=True, default='x')",
            json!({"default":"x","deprecated":true,"title":"Old","type":"string","x-order":0}),
        ),
        (
            "payload: Annotated[Ext, Opaque]",
            json!({"title":"Payload","type":"object","x-order":0}),
        ),
        (
            "items: Annotated[List[Ext], Opaque]",
            json!({"items":{"type":"object"},"title":"Items","type":"array","x-order":0}),
        ),
        (
            "t: str = Input(min_length=1, max_length=100, regex='^[a-z]+$')",
            json!({"maxLength":100.0,"minLength":1.0,"pattern":"^[a-z]+$","title":"T","type":"string","x-order":0}),
        ),
        (
            "mode: Literal['a', 'b'] = 'a'",
            json!({"allOf":[{"$ref":"#/components/schemas/mode"}],"default":"a","x-order":0}),
        ),
    ];
    for (parameter, expected) in cases {
        let found = property(parameter);
        assert_eq!(
            found.as_object().unwrap().len(),
            expected.as_object().unwrap().len(),
            "{parameter}: {found}"
        );
        for (key, value) in expected.as_object().unwrap() {
            let same = match (value.as_f64(), found[key].as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
                _ => *value == found[key],
            };
            assert!(same, "{parameter}: {key} is {}", found[key]);
        }
    }
}

#[test]
fn requiredness_follows_defaults_and_optionality() {
    let cases = [
        ("x: str", true),
        ("x: str = Input()", true),
        ("x: str = ''", false),
        ("x: int = 0", false),
        ("x: bool = False", false),
        ("x: list[str] = []", false),
        ("x: int = Input(default=None)", true),
        ("x: int = None", true),
        ("x: Optional[str]", false),
        ("x: Optional[str] = None", false),
        ("x: Optional[int] = 3", false),
        ("x: Secret = Input()", true),
        ("x: Secret = Input(default=None)", false),
        ("x: str | float | None", true),
        ("x: str | float | None = Input(default=None)", false),
    ];
    for (parameter, required) in cases {
        let input = schemas(&format!("(self, {parameter}) -> str"))["Input"].clone();
        assert_eq!(input["required"] == json!(["x"]), required, "{parameter}");
    }
}

#[test]
fn outputs_become_components() {
    let cases = [
        ("str", json!({"title":"Output","type":"string"})),
        (
            "list[Path]",
            json!({"items":{"format":"uri","type":"string"},"title":"Output","type":"array"}),
        ),
        (
            "list",
            json!({"items":{"type":"object"},"title":"Output","type":"array"}),
        ),
        (
            "dict[str, list[int]]",
            json!({"additionalProperties":{"items":{"type":"integer"},"type":"array"},"title":"Output","type":"object"}),
        ),
        (
            "Iterator[str]",
            json!({"items":{"type":"string"},"title":"Output","type":"array","x-cog-array-type":"iterator"}),
        ),
        (
            "ConcatenateIterator[str]",
            json!({"items":{"type":"string"},"title":"Output","type":"array","x-cog-array-display":"concatenate","x-cog-array-type":"iterator"}),
        ),
    ];
    for (annotation, expected) in cases {
        assert_eq!(output(annotation), expected, "{annotation}");
    }
}

#[test]
fn mistakes_are_told_by_kind_and_text() {
    let cases = [
        (
            "(self, s='x') -> str",
            ErrorKind::MissingTypeAnnotation,
            "parameter 's' on run has no type annotation",
        ),
        ("(self)", ErrorKind::MissingReturnType, "run"),
        (
            "(self, x: str = UNDEFINED) -> str",
            ErrorKind::DefaultNotResolvable,
            "default `UNDEFINED` cannot be statically resolved",
        ),
        (
            "(self, x: str = Input(choices=[c for c in y])) -> str",
            ErrorKind::ChoicesNotResolvable,
            "'x'",
        ),
        (
            "(self, x: list = Input(default_factory=list)) -> str",
            ErrorKind::UnresolvableType,
            "cannot resolve type",
        ),
        (
            "(self, x: str = Input(default_factory=list)) -> str",
            ErrorKind::DefaultFactoryNotSupported,
            "default_factory",
        ),
        (
            "(self, x: Path | str) -> str",
            ErrorKind::UnsupportedType,
            "Path is not supported in union inputs",
        ),
        (
            "(self, x: str = Input(accept='a')) -> str",
            ErrorKind::AcceptOnNonFileType,
            "'x'",
        ),
        (
            "(self, x: List[Optional[str]]) -> str",
            ErrorKind::UnsupportedType,
            "nested generics",
        ),
        (
            "(self, *args: str) -> str",
            ErrorKind::Other,
            "parameter '*args' on run names no input (typed_parameter has no identifier)",
        ),
        (
            "(self, **options: str) -> str",
            ErrorKind::Other,
            "parameter '**options'",
        ),
        (
            "(self) -> ConcatenateIterator[int]",
            ErrorKind::ConcatIteratorNotStr,
            "must be str, got int",
        ),
        (
            "(self) -> Optional[str]",
            ErrorKind::OptionalOutput,
            "Optional is not allowed as a return type",
        ),
        (
            "(self) -> str | None",
            ErrorKind::OptionalOutput,
            "Optional is not allowed as a return type",
        ),
        (
            "(self) -> Mystery",
            ErrorKind::UnresolvableType,
            "not a primitive type",
        ),
        (
            "(self) -> tuple[int]",
            ErrorKind::UnsupportedType,
            "tuple[...] is not a supported output type",
        ),
    ];
    for (signature_text, kind, text) in cases {
        let error = error(signature_text);
        assert_eq!(error.kind, kind, "{signature_text}: {error}");
        assert!(error.message.contains(text), "{signature_text}: {error}");
    }
}

#[test]
fn a_slip_is_told_beside_what_could_be_recognised() {
    let slip = |source: &str| run(source).map(|made| made.syntax_error.map(|error| error.message));
    let sound = "\u{feff}class Runner:\n    def run(self) -> str: ...\n";
    assert_eq!(slip(sound), Ok(None));
    let newer = "class Runner:\n    def run[T: int](self) -> str:\n        match f'{x!r:{\"w\"}}':\n            case _: ...\n";
    assert_eq!(slip(newer), Ok(None));
    let no_colon = "import cog\nclass Runner:\n    def run(self) -> str\n        return é\n";
    let message =
        "syntax error in run.py, line 3, column 25: Expected `:`, found newline".to_owned();
    assert_eq!(slip(no_colon), Ok(Some(message)));
    let hidden = slip("x = (\nclass Runner:\n    def run(self) -> str: ...\n").unwrap_err();
    assert_eq!(hidden.kind, ErrorKind::Parse);
    // Read as if it were UTF-8, a file in Latin-1 may look broken.
    assert_eq!(
        slip("caf\u{fffd} = 1\nclass Runner:\n    def run(self) -> str: ...\n"),
        Ok(None)
    );
}

#[test]
fn models_of_other_files_and_packages_are_inlined() {
    let runner = "from cog import BaseRunner\nfrom output_types import Result as R\nfrom mypackage import Other\n\
                  class Runner(BaseRunner):\n    def run(self) -> R: ...\n";
    let types = "from pydantic import BaseModel as PBM\nfrom typing import Optional\n\
                 class Result(PBM):\n    text: str\n    confidence: float = 0.0\n    err: Optional[str] = None\n    child: Optional['Result'] = None\n";
    let document: Value = serde_json::from_str(
        &run_files(&[("run.py", runner), ("output_types.py", types)])
            .unwrap()
            .json,
    )
    .unwrap();
    let output = &document["components"]["schemas"]["Output"];
    assert_eq!(output["required"], json!(["text"]));
    assert_eq!(
        output["properties"]["child"],
        json!({"nullable":true,"title":"Child","type":"object"})
    );

    let runner = "from mypackage import Output\nclass Runner:\n    def run(self) -> Output: ...\n";
    let package = [
        ("run.py", runner),
        ("mypackage/__init__.py", "from .inner import Output\n"),
        (
            "mypackage/inner.py",
            "from cog import BaseModel\nclass Output(BaseModel):\n    a: int\n",
        ),
    ];
    assert!(
        run_files(&package)
            .unwrap()
            .json
            .contains(r#""Output":{"properties":{"a":{"title":"A","type":"integer"}}"#)
    );
}

#[test]
fn an_imported_type_that_is_not_here_names_its_module() {
    let error =
        run("from some_pkg import WeirdType\nclass Runner:\n    def run(self) -> WeirdType: ...\n")
            .unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnresolvableType);
    for text in [
        "cannot resolve type 'WeirdType'",
        "imported from 'some_pkg'",
        "Annotated[WeirdType, Opaque]",
        ".pyi stub",
    ] {
        assert!(error.message.contains(text), "{error}");
    }
}

#[test]
fn methods_are_inherited_and_run_is_preferred() {
    let child = "import shared\nclass Runner(shared.Base):\n    pass\n";
    let base = "class Base:\n    def run(self, s: str) -> str: ...\n    def predict(self, s: int) -> int: ...\n";
    let schema = run_files(&[("run.py", child), ("shared.py", base)]).unwrap();
    assert!(
        schema
            .json
            .contains(r#""s":{"title":"S","type":"string","x-order":0}"#)
    );
    assert!(schema.warnings.is_empty());
    let old = run("class Runner:\n    def predict(self) -> str: ...\n").unwrap();
    assert_eq!(
        old.warnings,
        ["cog: warning: Runner.predict() is deprecated; use run() instead"]
    );
    let none = run("class Runner:\n    def setup(self): ...\n").unwrap_err();
    assert_eq!(none.message, "Runner must define run() or predict()");
}

#[test]
fn shared_inputs_keep_their_metadata() {
    let source = format!(
        "{IMPORTS}D = {{'1:1': (1, 1), '2:1': (2, 1)}}\nclass Inputs:\n    ar = Input(description='d', choices=list(D.keys()) + ['custom'], default='1:1')\n    \
         @staticmethod\n    def guidance(default): return Input(ge=0.0, le=20.0, default=default)\n\
         class Runner:\n    def run(self, ar: str = Inputs.ar, g: float = Inputs.guidance(7.5)) -> str: ...\n"
    );
    let document: Value = serde_json::from_str(&run(&source).unwrap().json).unwrap();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ar"]["enum"], json!(["1:1", "2:1", "custom"]));
    assert_eq!(
        schemas["Input"]["properties"]["g"],
        json!({"default":7.5,"maximum":20,"minimum":0,"title":"G","type":"number","x-order":1})
    );
}

#[test]
fn decorators_say_how_a_model_is_served() {
    let source = format!(
        "{IMPORTS}class Runner:\n    @cog.streaming\n    @cog.concurrent(max=32)\n    async def run(self) -> AsyncIterator[str]: ...\n"
    );
    let schema = run(&source).unwrap();
    assert!(schema.json.contains(r#""x-cog-streaming":true"#));
    assert_eq!(
        (schema.handler.is_concurrent, schema.handler.concurrency_max),
        (true, Some(32))
    );
    let sync = source.replace("async def", "def");
    assert!(
        run(&sync)
            .unwrap_err()
            .message
            .contains("requires an async run() or predict() method")
    );
    let threads = sync
        .replace("max=32", "max=4, threads=True")
        .replace("AsyncIterator", "Iterator");
    let schema = run(&threads).unwrap();
    assert!(schema.handler.is_concurrent);
    assert_eq!(schema.handler.concurrency_max, Some(4));
    let wrong = source.replace("max=32", "max=4, threads=True");
    assert!(run(&wrong).unwrap_err().message.contains("not async"));
    let odd = threads.replace("threads=True", "threads=1");
    assert!(run(&odd).unwrap_err().message.contains("True or False"));
    let plain = source.replace("AsyncIterator[str]", "str");
    assert!(
        run(&plain)
            .unwrap_err()
            .message
            .contains("@streaming requires")
    );
}

#[test]
fn training_is_merged_into_the_document() {
    let tree = files(&[(
        "run.py",
        "def train(n: int) -> str: ...\nclass Runner:\n    def run(self, s: str) -> str: ...\n",
    )]);
    let request = Request {
        tree: &tree,
        runner: Some("run.py:Runner"),
        train: Some("run.py:train"),
        cog_version: "1",
    };
    let json = generate(&request).unwrap().json;
    let document: Value = serde_json::from_str(&json).unwrap();
    assert!(json.starts_with("{\n  \"components\": {\n"));
    assert_eq!(
        document["components"]["schemas"]["Input"]["required"],
        json!(["s"])
    );
    assert_eq!(
        document["components"]["schemas"]["TrainingInput"]["required"],
        json!(["n"])
    );
    assert!(document["paths"]["/trainings"].is_object());
}

#[test]
fn references_have_a_file_and_a_name() {
    for reference in ["no_colon", ":X", "f.py:", ""] {
        let tree = files(&[]);
        let request = Request {
            tree: &tree,
            runner: Some(reference),
            train: None,
            cog_version: "1",
        };
        assert_eq!(
            generate(&request).unwrap_err().kind,
            ErrorKind::InvalidPredictRef,
            "{reference}"
        );
    }
    let tree = files(&[]);
    let request = Request {
        tree: &tree,
        runner: Some("../x.py:X"),
        train: None,
        cog_version: "1",
    };
    assert!(
        generate(&request)
            .unwrap_err()
            .message
            .contains("is outside source directory")
    );
}

#[test]
fn a_default_outside_its_bounds_is_refused() {
    let schema = run(&signature("(self, n: int = Input(default=1, ge=2)) -> str")).unwrap();
    let error = validate_document(&schema.json).unwrap_err().to_string();
    assert!(
        error.contains("invalid") && error.contains("minimum"),
        "{error}"
    );
}

mod never_panics {
    use proptest::prelude::*;

    use super::{run, signature};

    proptest! {
        #[test]
        fn on_any_text(source in "\\PC{0,300}") {
            let _ = run(&source);
        }

        #[test]
        fn on_pieces_of_python(pieces in prop::collection::vec(prop::sample::select(vec![
            "class Runner", "(", ")", ":", "\n    ", "def run", "self", ", ", "x: ", "str", " | ", "None", " = ", "Input(",
            "choices=", "[", "]", "'a'", "1", "-", "->", "Optional[", "list[", "dict", "from cog import *\n", "import a\n",
            "\n", "@cog.streaming", "Annotated[", "Opaque", "Literal[", "{", "}", "lambda", "f'{x}'", "\"\"\"",
        ]), 0..60)) {
            let _ = run(&pieces.concat());
        }
    }

    #[test]
    fn on_deep_nesting() {
        for (open, close) in [
            ("(", ")"),
            ("[", "]"),
            ("list[", "]"),
            ("-", ""),
            ("not ", ""),
            ("a.", ""),
            ("1+", ""),
            ("lambda: ", ""),
        ] {
            for depth in [150, 20_000] {
                let expression = format!("{}x{}", open.repeat(depth), close.repeat(depth));
                let _ = run(&signature(&format!(
                    "(self, a: {expression} = {expression}) -> {expression}"
                )));
                let _ = run(&format!("X = {expression}\n"));
            }
        }
    }
}
