use super::*;

/// What is written with `\n` here may have other line ends in a file, and comes out with them.
fn check(change: fn(&str, &str) -> std::result::Result<String, Refused>, old: &str, new: &str) {
    assert_eq!(change(old, "predict.py").as_deref(), Ok(new), "{old}");
    let dos = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(
        change(&dos(old), "predict.py"),
        Ok(dos(new)),
        "with CRLF: {old}"
    );
}

fn refused(change: fn(&str, &str) -> std::result::Result<String, Refused>, source: &str) -> String {
    change(source, "predict.py").unwrap_err().to_string()
}

#[test]
fn a_predictor_becomes_a_runner() {
    check(
        to_runner,
        "# A model.\n\
         from cog import BasePredictor, Input  # the SDK\n\n\n\
         class Predictor( BasePredictor ):\n\
         \x20   \"\"\"Predictor of things.\"\"\"\n\n\
         \x20   def setup(self) -> None:\n\
         \x20       self.warm = self.predict(1)\n\n\
         \x20   @torch.inference_mode()\n\
         \x20   def predict(self, n: int) -> int:  # the work\n\
         \x20       return helper.predict(n)\n\n\n\
         class Other:\n\
         \x20   def predict(self):\n\
         \x20       return self.predict()\n\n\n\
         if __name__ == '__main__':\n\
         \x20   p = Predictor()\n\
         \x20   p.predict(1), Predictor().predict(2)\n",
        "# A model.\n\
         from cog import BaseRunner, Input  # the SDK\n\n\n\
         class Runner( BaseRunner ):\n\
         \x20   \"\"\"Predictor of things.\"\"\"\n\n\
         \x20   def setup(self) -> None:\n\
         \x20       self.warm = self.run(1)\n\n\
         \x20   @torch.inference_mode()\n\
         \x20   def run(self, n: int) -> int:  # the work\n\
         \x20       return helper.predict(n)\n\n\n\
         class Other:\n\
         \x20   def predict(self):\n\
         \x20       return self.predict()\n\n\n\
         if __name__ == '__main__':\n\
         \x20   p = Runner()\n\
         \x20   p.run(1), Runner().run(2)\n",
    );
}

#[test]
fn imports_follow() {
    let class = |base: &str| format!("class Predictor({base}):\n    def predict(self): ...\n");
    let made = |base: &str| format!("class Runner({base}):\n    def run(self): ...\n");
    for (before, base, after, new_base) in [
        (
            "from cog.predictor import BasePredictor\n",
            "BasePredictor",
            "from cog.predictor import BaseRunner\n",
            "BaseRunner",
        ),
        (
            "import cog\n",
            "cog.BasePredictor",
            "import cog\n",
            "cog.BaseRunner",
        ),
        (
            "from cog import BasePredictor, BaseRunner\n",
            "BasePredictor",
            "from cog import BaseRunner\n",
            "BaseRunner",
        ),
        (
            "from cog import BasePredictor, Path\nclass Mine(BasePredictor): ...\n",
            "BasePredictor",
            "from cog import BasePredictor, Path, BaseRunner\nclass Mine(BasePredictor): ...\n",
            "BaseRunner",
        ),
        (
            "from cog import (\n    BasePredictor,\n    Path,\n)\nx = BasePredictor\n",
            "BasePredictor",
            "from cog import (\n    BasePredictor,\n    Path,\n    BaseRunner,\n)\nx = BasePredictor\n",
            "BaseRunner",
        ),
        ("", "Base", "", "Base"),
    ] {
        let (old, new) = (
            before.to_owned() + &class(base),
            after.to_owned() + &made(new_base),
        );
        check(to_runner, &old, &new);
    }
}

#[test]
fn what_is_not_plain_stays() {
    let base = "from cog import BasePredictor\n";
    let class = "class Predictor(BasePredictor):\n    def predict(self): ...\n";
    for (source, why) in [
        (base.to_owned(), "no class Predictor in predict.py"),
        (
            format!("{base}{class}{class}"),
            "there are several classes Predictor (predict.py:4)",
        ),
        (
            format!("{base}{class}    def run(self): ...\n"),
            "the class has a method run() already (predict.py:4)",
        ),
        (
            format!("{base}class Predictor(BasePredictor): ...\n"),
            "the class has no method predict() (predict.py:2)",
        ),
        (
            format!("{base}{class}    def predict(self): ...\n"),
            "the class has predict() twice (predict.py:4)",
        ),
        (
            format!(
                "from cog import BasePredictor as B\n{}",
                class.replace("BasePredictor", "B")
            ),
            "BasePredictor is imported by another name (predict.py:1)",
        ),
        (
            format!("from mine import BasePredictor\n{class}"),
            "this BasePredictor is not cog's (predict.py:2)",
        ),
        (
            class.to_owned(),
            "this BasePredictor is not cog's (predict.py:1)",
        ),
        (
            format!("{base}class BasePredictor: ...\n{class}"),
            "`BasePredictor` has another meaning, too (predict.py:2)",
        ),
        (
            format!("{base}{class}Predictor = wrap(Predictor)\n"),
            "`Predictor` has another meaning, too (predict.py:4)",
        ),
        (
            format!("{base}from subprocess import Runner\n{class}"),
            "`Runner` is the name of something else (predict.py:2)",
        ),
        (
            format!("{base}{class}    def setup(self): self.predict = 1\n"),
            "predict is assigned to (predict.py:4)",
        ),
    ] {
        assert_eq!(refused(to_runner, &source), why, "{source}");
    }
    let broken = refused(to_runner, &format!("{base}{class}def (:\n"));
    assert!(
        broken.starts_with("syntax error in predict.py, line 4"),
        "{broken}"
    );
}

#[test]
fn old_names_are_found_with_their_lines() {
    assert_eq!(old_runner("\nclass Predictor: ...\n", "p.py"), Ok(Some(2)));
    assert_eq!(old_runner("class Runner: ...\n", "p.py"), Ok(None));
    assert_eq!(
        old_runner("if x:\n    class Predictor: ...\n", "p.py"),
        Ok(None)
    );
    let source =
        "import os\nfrom predict import Predictor\nimport predict\nfrom predict.x import y\n";
    assert_eq!(importers(source, "train.py"), Ok(vec![2, 3]));
}

#[test]
fn models_of_pydantic_become_cogs() {
    check(
        with_cog_models,
        "from cog import BaseRunner, Path\n\
         from pydantic import BaseModel, ConfigDict\n\n\n\
         class Output(BaseModel):\n\
         \x20   model_config = ConfigDict(arbitrary_types_allowed=True)\n\n\
         \x20   file: Path\n",
        "from cog import BaseRunner, Path, BaseModel\n\n\n\
         class Output(BaseModel):\n\n\
         \x20   file: Path\n",
    );
    check(
        with_cog_models,
        "from pydantic import BaseModel, ConfigDict, Field\n\n\
         class Output(BaseModel):\n\
         \x20   model_config = ConfigDict(extra='forbid', arbitrary_types_allowed=True)  # any\n\
         \x20   n: int = Field(default=1)\n\n\
         class Kept(BaseModel):\n\
         \x20   n: int\n",
        "from cog import BaseModel as CogBaseModel\n\
         from pydantic import BaseModel, ConfigDict, Field\n\n\
         class Output(CogBaseModel):\n\
         \x20   model_config = ConfigDict(extra='forbid')  # any\n\
         \x20   n: int = Field(default=1)\n\n\
         class Kept(BaseModel):\n\
         \x20   n: int\n",
    );
    check(
        with_cog_models,
        "import cog\nimport pydantic\nfrom cog import BaseModel as Model\n\n\
         class Output(pydantic.BaseModel):\n\
         \x20   model_config: dict = pydantic.ConfigDict(arbitrary_types_allowed=True)\n",
        "import cog\nfrom cog import BaseModel as Model\n\n\
         class Output(Model):\n\
         \x20   pass\n",
    );
}

#[test]
fn other_models_are_left_alone() {
    for source in [
        "from pydantic import BaseModel\nclass A(BaseModel): ...\n",
        "from pydantic import BaseModel, ConfigDict\nclass A(BaseModel):\n    model_config = ConfigDict(extra='x')\n",
        "from pydantic import BaseModel, ConfigDict\nclass A(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=False)\n",
        "from cog import BaseModel\nfrom pydantic import ConfigDict\nclass A(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n",
    ] {
        assert_eq!(pydantic_models(source, "p.py"), Ok(Vec::new()), "{source}");
        assert_eq!(with_cog_models(source, "p.py").as_deref(), Ok(source));
    }
    let found = pydantic_models(
        "import pydantic as p\n\nclass A(p.BaseModel):\n    model_config = p.ConfigDict(arbitrary_types_allowed=True)\n",
        "p.py",
    );
    let expected = PydanticModel {
        class: "A".into(),
        line: 3,
    };
    assert_eq!(found, Ok(vec![expected]));
}

#[test]
fn an_expired_import_goes_with_what_used_it() {
    check(
        without_expired_imports,
        "import os\nimport warnings\n\
         from cog import Path\n\
         from cog.types import ExperimentalFeatureWarning  # metrics\n\n\
         warnings.filterwarnings(\n\
         \x20   'ignore', category=ExperimentalFeatureWarning\n\
         )\n\
         print(os.name)\n",
        "import os\nfrom cog import Path\n\nprint(os.name)\n",
    );
    check(
        without_expired_imports,
        "from cog.types import ExperimentalFeatureWarning as W, Secret\nimport warnings\n\
         warnings.simplefilter('ignore', W); warnings.warn('x')\n",
        "from cog.types import Secret\nimport warnings\npass; warnings.warn('x')\n",
    );
    let inside = "from cog.types import ExperimentalFeatureWarning\n\
                  def f():\n    raise ExperimentalFeatureWarning\n";
    assert_eq!(
        refused(without_expired_imports, inside),
        "ExperimentalFeatureWarning is used in a way that has to be changed by hand (predict.py:3)"
    );
    let found = expired_imports(inside, "p.py").unwrap();
    assert_eq!(
        (found[0].name, found[0].line),
        ("ExperimentalFeatureWarning", 1)
    );
    let fine = "from cog import ExperimentalFeatureWarning\n";
    assert_eq!(expired_imports(fine, "p.py"), Ok(Vec::new()));
}

#[test]
fn a_survey_tells_what_references_can_name() {
    let source = "class A:\n    def run(self): ...\n    def predict(self) -> str: ...\n\
                  class B:\n    def predict(self): ...\n\
                  def f() -> int: ...\ndef g(): ...\n";
    let survey = survey(source, "run.py").unwrap();
    assert_eq!(survey.classes, ["A", "B"]);
    assert!(survey.defines("g") && !survey.defines("h"));
    for (name, expected) in [
        ("A", Some(("A.run()", 2))),
        ("B", Some(("B.predict()", 5))),
        ("f", None),
        ("g", Some(("g()", 7))),
    ] {
        let found = survey.unannotated(name, &["run", "predict"]);
        let expected = expected.map(|(name, line): (&str, usize)| (name.to_owned(), line));
        assert_eq!(found, expected, "{name}");
    }
    let broken = super::survey("class A(:\n", "run.py").unwrap();
    assert!(broken.syntax_error.is_some());
}
