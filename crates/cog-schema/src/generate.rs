//! From references to the document.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::callable::{self, Callable, Mode};
use crate::document::{self, Parts};
use crate::error::{ErrorKind, Place, Result, SchemaError};
use crate::input::Inputs;
use crate::json::{Json, Layout};
use crate::output::Outputs;
use crate::project::{File, Project};
use crate::tree::SourceTree;

/// What a document is made of.
pub struct Request<'a> {
    /// The project's files.
    pub tree: &'a dyn SourceTree,
    /// The model, as `file.py:Name`.
    pub runner: Option<&'a str>,
    /// The trainer, as `file.py:Name`.
    pub train: Option<&'a str>,
    /// Version of the tool, which the document names.
    pub cog_version: &'a str,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its exact text.
    pub json: String,
    /// Lines for the user.
    pub warnings: Vec<String>,
    /// Where the inputs are in the source, by names such as `Input.prompt` and `TrainingInput.prompt`.
    pub places: BTreeMap<String, Place>,
    /// What the source says of the model besides.
    pub handler: Handler,
    /// Why Python will not load the model or the trainer: the document is made of what could be recognised.
    pub syntax_error: Option<SchemaError>,
}

/// What an image needs to know of the model's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Handler {
    /// Several predictions can run at once: it is an `async def`, or its author says that it is
    /// thread-safe.
    pub is_concurrent: bool,
    /// From `@cog.concurrent(max=…)`.
    pub concurrency_max: Option<u32>,
}

/// Makes the document of a model, a trainer, or both.
pub fn generate(request: &Request<'_>) -> Result<Schema> {
    let project = Project::new(request.tree);
    let mut handler = Handler::default();
    let mut syntax_error = None;
    let mut places = BTreeMap::new();
    let mut one = |reference: Option<&str>, mode: Mode, prefix: &str| -> Result<Option<Json>> {
        let Some(reference) = reference else {
            return Ok(None);
        };
        let made = single(&project, reference, mode, request.cog_version)
            .map_err(|error| error.prefixed(prefix))?;
        if mode == Mode::Predict {
            handler = made.handler;
        }
        syntax_error = syntax_error.take().or(made.syntax_error);
        places.extend(made.places);
        Ok(Some(made.document))
    };
    let both = request.runner.is_some() && request.train.is_some();
    let prefix = |prefix: &'static str| if both { prefix } else { "" };
    let predict = one(request.runner, Mode::Predict, prefix("predict schema: "))?;
    let train = one(request.train, Mode::Train, prefix("train schema: "))?;
    let json = match (predict, train) {
        (Some(predict), Some(train)) => document::merge(predict, train).write(Layout::Indented),
        (Some(one), None) | (None, Some(one)) => one.write(Layout::Compact),
        (None, None) => {
            return Err(SchemaError::new(
                ErrorKind::Other,
                "no predict or train reference found in cog.yaml",
            ));
        }
    };
    Ok(Schema {
        json,
        warnings: project.warnings.take(),
        places,
        handler,
        syntax_error,
    })
}

/// What one reference gives.
struct Single {
    document: Json,
    places: Vec<(String, Place)>,
    handler: Handler,
    syntax_error: Option<SchemaError>,
}

fn single(project: &Project<'_>, reference: &str, mode: Mode, version: &str) -> Result<Single> {
    let (path, name) = split(reference)?;
    let source = read(project, &path)?;
    let file = project.entry(&path, &source)?;
    let syntax_error = file.module.error.clone();
    // What is missing may only be hidden behind a slip further up.
    let Interface {
        document,
        places,
        callable,
    } = interface(project, &file, name, mode, version)
        .map_err(|error| syntax_error.clone().unwrap_or(error))?;
    let concurrency = callable.concurrency;
    let handler = Handler {
        is_concurrent: callable.function.is_async || concurrency.is_some_and(|found| found.threads),
        concurrency_max: concurrency.map(|found| found.max),
    };
    Ok(Single {
        document,
        places,
        handler,
        syntax_error,
    })
}

/// What a function or method takes and gives.
struct Interface {
    document: Json,
    places: Vec<(String, Place)>,
    callable: Callable,
}

fn interface(
    project: &Project<'_>,
    file: &Rc<File>,
    name: &str,
    mode: Mode,
    version: &str,
) -> Result<Interface> {
    let callable = callable::find(project, file, name, mode)?;
    let inputs = Inputs {
        project,
        file: callable.file.clone(),
    };
    let properties = inputs.properties(&callable.function)?;
    let function = &callable.function;
    let place = |what: String| callable.file.place(function.offset, what);
    let Some(returns) = &function.returns else {
        return Err(SchemaError::new(
            ErrorKind::MissingReturnType,
            format!(
                "{}() in {} is missing a return type annotation",
                function.name, callable.file.path
            ),
        )
        .at(|| place(format!("{}()", function.name))));
    };
    let output = Outputs { project }.output(&callable.file, returns);
    let output = output.map_err(|error| {
        error.at(|| {
            place(format!(
                "what {}() returns, `{}`",
                function.name, returns.text
            ))
        })
    })?;
    if callable.streaming && !output.is_iterator {
        return Err(SchemaError::new(
            ErrorKind::InvalidConstraint,
            "@streaming requires Iterator[...], AsyncIterator[...], ConcatenateIterator[...] or \
             AsyncConcatenateIterator[...] return type",
        )
        .at(|| place(format!("{}()", function.name))));
    }
    let component = document::input_component(mode);
    let places = properties.iter();
    let places = places.map(|one| (format!("{component}.{}", one.name), one.place.clone()));
    let places = places.collect();
    let parts = Parts {
        mode,
        properties,
        output: output.schema,
        streaming: callable.streaming,
    };
    Ok(Interface {
        document: document::document(parts, version),
        places,
        callable,
    })
}

/// The path, cleaned, and the name.
fn split(reference: &str) -> Result<(String, &str)> {
    let (path, name) = reference.split_once(':').filter(|(path, name)| !path.is_empty() && !name.is_empty()).ok_or_else(|| {
        let message = format!(
            "invalid predict reference '{reference}' — expected format: file.py:ClassName or file.py:function_name"
        );
        SchemaError::new(ErrorKind::InvalidPredictRef, message)
    })?;
    let outside = || {
        let message = format!("predictor source path \"{path}\" is outside source directory");
        SchemaError::new(ErrorKind::Other, message)
    };
    let mut parts: Vec<&str> = Vec::new();
    if path.starts_with('/') {
        return Err(outside());
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok((parts.join("/"), name))
}

fn read(project: &Project<'_>, path: &str) -> Result<String> {
    let failed = |why: &str| {
        SchemaError::new(
            ErrorKind::Other,
            format!("failed to read predictor source {path}: {why}"),
        )
    };
    match project.read(path) {
        Ok(Some(source)) => Ok(source),
        Ok(None) => Err(failed("no such file")),
        Err(error) => Err(failed(&error.to_string())),
    }
}
