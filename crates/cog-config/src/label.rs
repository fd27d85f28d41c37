//! The configuration as JSON for the image's label. Keys come in a fixed order, unset fields are left out.

use serde_json::{Map, Value, json};

use crate::config::{Build, Config, RunCommand, WeightSource, Weights};

pub(crate) fn write(config: &Config) -> String {
    let mut object = Object::default();
    if let Some(build) = &config.build {
        object.put("build", Some(build_object(build)));
    }
    object.put("image", config.image.clone().map(Value::from));
    object.put("model", config.model.clone().map(Value::from));
    object.put("predict", config.runner.clone().map(Value::from));
    object.put("train", config.train.clone().map(Value::from));
    object.put(
        "concurrency",
        config.concurrency_max.map(|max| json!({ "max": max })),
    );
    let environment = config
        .environment
        .iter()
        .map(|variable| format!("{}={}", variable.name, variable.value));
    object.list("environment", environment.map(Value::from).collect());
    object.list(
        "weights",
        config.weights.iter().map(weights_object).collect(),
    );
    // As the reference writes it: these three are escaped so that the text can stand in HTML.
    object
        .value()
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn build_object(build: &Build) -> Value {
    let texts = |list: &[String]| list.iter().cloned().map(Value::from).collect();
    let mut object = Object::default();
    object.put("gpu", build.gpu.then_some(Value::Bool(true)));
    object.put(
        "python_version",
        Some(build.python_version.text.clone().into()).filter(|text| text != ""),
    );
    object.put(
        "python_requirements",
        build.python_requirements.clone().map(Value::from),
    );
    object.list("python_packages", texts(&build.python_packages));
    object.list("run", build.run.iter().map(run_object).collect());
    object.list("system_packages", texts(&build.system_packages));
    object.list("pre_install", texts(&build.pre_install));
    object.put("cuda", build.cuda.clone().map(Value::from));
    object.put("cudnn", build.cudnn.clone().map(Value::from));
    object.put("sdk_version", build.sdk_version.clone().map(Value::from));
    object.value()
}

fn run_object(run: &RunCommand) -> Value {
    let mut object = Object::default();
    object.put("command", Some(run.command.clone().into()));
    let mounts = run.mounts.iter();
    object.list(
        "mounts",
        mounts
            .map(|mount| json!({ "type": mount.kind, "id": mount.id, "target": mount.target }))
            .collect(),
    );
    object.value()
}

fn weights_object(weights: &Weights) -> Value {
    let mut sources: Vec<Value> = weights.sources.iter().map(source_object).collect();
    let source = if sources.len() == 1 {
        sources.remove(0)
    } else {
        Value::Array(sources)
    };
    json!({ "name": weights.name, "target": weights.target, "source": source })
}

fn source_object(source: &WeightSource) -> Value {
    let texts = |list: &[String]| list.iter().cloned().map(Value::from).collect();
    let mut object = Object::default();
    object.put("uri", Some(source.uri.clone().into()));
    object.list("include", texts(&source.include));
    object.list("exclude", texts(&source.exclude));
    object.value()
}

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
    }

    fn list(&mut self, key: &str, items: Vec<Value>) {
        self.put(key, (!items.is_empty()).then_some(Value::Array(items)));
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}
