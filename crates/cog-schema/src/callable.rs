//! The function or method that a reference names, and what its decorators say.

use std::rc::Rc;

use serde_json::Value;

use crate::error::{ErrorKind, Place, Result, SchemaError};
use crate::literal;
use crate::project::{File, Found, Project, Resolved};
use crate::syntax::{Class, Expr, ExprKind, Function};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Predict,
    Train,
}

pub(crate) struct Callable {
    pub(crate) file: Rc<File>,
    pub(crate) function: Function,
    /// The concurrency it was decorated with.
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) streaming: bool,
}

const MAX_HOPS: usize = 32;

/// Finds `name` in `file`: a class, else a function.
pub(crate) fn find(
    project: &Project<'_>,
    file: &Rc<File>,
    name: &str,
    mode: Mode,
) -> Result<Callable> {
    if let Some(class) = file
        .module
        .classes
        .iter()
        .rev()
        .find(|class| class.name == name)
    {
        let found = Found {
            file: Rc::clone(file),
            class: class.clone(),
        };
        return match mode {
            Mode::Predict => method(project, &found, name),
            Mode::Train => trainer(&found, name),
        };
    }
    let default = match mode {
        Mode::Predict => "predict",
        Mode::Train => "train",
    };
    let function = |name: &str| {
        file.module
            .functions
            .iter()
            .rev()
            .find(|function| function.name == name)
    };
    let function = function(name)
        .or_else(|| function(default))
        .ok_or_else(|| not_found(file, name))?;
    decorated(Rc::clone(file), function.clone())
}

fn not_found(file: &File, name: &str) -> SchemaError {
    let names = file.module.classes.iter().map(|class| class.name.as_str());
    let names: Vec<&str> = names
        .chain(
            file.module
                .functions
                .iter()
                .map(|function| function.name.as_str()),
        )
        .collect();
    let message = match names.as_slice() {
        [] => format!("{name} not found in {}", file.path),
        names => format!(
            "{name} not found in {}; found: {}",
            file.path,
            names.join(", ")
        ),
    };
    SchemaError::new(ErrorKind::PredictorNotFound, message)
}

fn method(project: &Project<'_>, found: &Found, name: &str) -> Result<Callable> {
    if let Some(callable) = inherited(project, found, "run", 0) {
        return callable;
    }
    let callable = inherited(project, found, "predict", 0).ok_or_else(|| {
        SchemaError::new(
            ErrorKind::MethodNotFound,
            format!("{name} must define run() or predict()"),
        )
        .at(|| class_place(found))
    })??;
    project.warnings.borrow_mut().push(format!(
        "cog: warning: {name}.predict() is deprecated; use run() instead"
    ));
    Ok(callable)
}

fn class_place(found: &Found) -> Place {
    let Class { name, offset, .. } = &found.class;
    found.file.place(*offset, format!("the class {name}"))
}

fn inherited(
    project: &Project<'_>,
    found: &Found,
    method: &str,
    hops: usize,
) -> Option<Result<Callable>> {
    if hops > MAX_HOPS {
        return None;
    }
    if let Some(function) = found
        .class
        .methods
        .iter()
        .rev()
        .find(|function| function.name == method)
    {
        return Some(decorated(Rc::clone(&found.file), function.clone()));
    }
    found.class.bases.iter().find_map(|base| match &base.kind {
        ExprKind::Name(name) => match project.resolve(&found.file, name) {
            Resolved::Class(parent) => inherited(project, &parent, method, hops + 1),
            _ => None,
        },
        _ => None,
    })
}

fn trainer(found: &Found, name: &str) -> Result<Callable> {
    let function = found
        .class
        .methods
        .iter()
        .rev()
        .find(|function| function.name == "train")
        .ok_or_else(|| {
            SchemaError::new(ErrorKind::MethodNotFound, format!("{name}.train not found"))
                .at(|| class_place(found))
        })?;
    decorated(Rc::clone(&found.file), function.clone())
}

/// From `@cog.concurrent`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Concurrency {
    pub(crate) max: u32,
    /// A method that is not async may be called from several threads at once.
    pub(crate) threads: bool,
}

fn decorated(file: Rc<File>, function: Function) -> Result<Callable> {
    let place = file.place(function.offset, format!("{}()", function.name));
    with_decorators(file, function).map_err(|error| error.at(|| place))
}

fn with_decorators(file: Rc<File>, function: Function) -> Result<Callable> {
    let mut concurrency = None;
    let mut streaming = false;
    for decorator in &function.decorators {
        let (name, keywords) = match &decorator.kind {
            ExprKind::Name(name) => (name, None),
            ExprKind::Call {
                callee, keywords, ..
            } => (callee, Some(keywords)),
            _ => continue,
        };
        if Project::is_from(&file, name, &["cog"], "streaming") {
            streaming = true;
        } else if Project::is_from(&file, name, &["cog"], "concurrent") {
            concurrency = Some(concurrent(decorator, keywords.map(Vec::as_slice))?);
        }
    }
    if let Some(Concurrency { max, threads }) = concurrency {
        if max > 1 && !threads && !function.is_async {
            return Err(constraint(
                "@concurrent(max > 1) requires an async run() or predict() method",
            ));
        }
        if threads && function.is_async {
            return Err(constraint(
                "@concurrent(threads=True) is for methods that are not async",
            ));
        }
    }
    Ok(Callable {
        file,
        function,
        concurrency,
        streaming,
    })
}

/// What `@cog.concurrent` says, as literals.
fn concurrent(decorator: &Expr, keywords: Option<&[(String, Expr)]>) -> Result<Concurrency> {
    let mut found = Concurrency {
        max: 1,
        threads: false,
    };
    let positional =
        matches!(&decorator.kind, ExprKind::Call { arguments, .. } if !arguments.is_empty());
    if positional {
        return Err(constraint(
            "@concurrent only supports literal integer max=... arguments",
        ));
    }
    for (name, value) in keywords.unwrap_or_default() {
        match (name.as_str(), literal::value(value)) {
            ("max", Some(Value::Number(number))) if number.is_i64() => {
                let max = number.as_i64().unwrap_or_default();
                if max < 1 {
                    return Err(constraint("@concurrent max must be at least 1"));
                }
                found.max =
                    u32::try_from(max).map_err(|_| constraint("@concurrent max is too large"))?;
            }
            ("max", _) => return Err(constraint("@concurrent max must be an integer literal")),
            ("threads", Some(Value::Bool(threads))) => found.threads = threads,
            ("threads", _) => {
                return Err(constraint("@concurrent threads must be True or False"));
            }
            _ => {
                return Err(constraint(
                    "@concurrent only supports literal integer max=... arguments",
                ));
            }
        }
    }
    Ok(found)
}

fn constraint(message: &str) -> SchemaError {
    SchemaError::new(ErrorKind::InvalidConstraint, message)
}
