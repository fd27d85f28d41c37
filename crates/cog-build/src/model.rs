//! What an image says about its model: the interface, and how many predictions run at once. Both are
//! read from the source; no Python is run.

use std::path::PathBuf;

use cog_config::Config;
use cog_schema::{Directory, DocumentError, Handler, Request, validate_document};

use crate::error::{BuildError, Result};
use crate::reporter::Event;
use crate::request::{BuildRequest, SchemaSource};
use crate::sdk::VERSION;

/// Path of a schema to use instead of the generated one.
pub const COG_OPENAPI_SCHEMA: &str = "COG_OPENAPI_SCHEMA";

/// What is known about a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// The schema, if it was asked for.
    pub(crate) schema: Option<String>,
    /// Predictions at a time, if the project says so.
    pub(crate) concurrency: Option<u32>,
}

impl Model {
    /// Reads the model of `request`.
    pub(crate) fn read(request: &BuildRequest<'_>) -> Result<Self> {
        let given = given_schema(&request.schema)?;
        let generated = generate(request);
        let (schema, handler) = match (given, generated) {
            (Given::Text(text), generated) => (Some(text), generated.ok().map(|one| one.handler)),
            (Given::Omitted, generated) => (None, generated.ok().map(|one| one.handler)),
            (Given::Nothing, generated) => {
                let generated = generated?;
                if let Some(error) = generated.syntax_error {
                    return Err(error.into());
                }
                for message in &generated.warnings {
                    request.reporter.report(Event::Warning { message });
                }
                (Some(generated.json), Some(generated.handler))
            }
        };
        if let Some(schema) = &schema {
            check(schema)?;
        }
        let concurrency = concurrency(request.config, handler)?;
        Ok(Self {
            schema,
            concurrency,
        })
    }
}

fn generate(request: &BuildRequest<'_>) -> Result<cog_schema::Schema, cog_schema::SchemaError> {
    cog_schema::generate(&Request {
        tree: &Directory::new(request.project_dir),
        runner: request.config.runner.as_deref(),
        train: request.config.train.as_deref(),
        cog_version: VERSION,
    })
}

enum Given {
    Text(String),
    Omitted,
    Nothing,
}

fn given_schema(source: &SchemaSource) -> Result<Given> {
    match source {
        SchemaSource::Text(text) => return Ok(Given::Text(text.clone())),
        SchemaSource::Omit => return Ok(Given::Omitted),
        SchemaSource::Generate => {}
    }
    let Some(path) = std::env::var_os(COG_OPENAPI_SCHEMA).filter(|path| !path.is_empty()) else {
        return Ok(Given::Nothing);
    };
    let path = PathBuf::from(path);
    match fs_err::read_to_string(&path) {
        Ok(text) => Ok(Given::Text(text)),
        Err(reason) => Err(BuildError::SchemaFile { path, reason }),
    }
}

fn check(schema: &str) -> Result<()> {
    validate_document(schema).map_err(|error| match error {
        DocumentError::Invalid(_) => BuildError::InvalidSchema {
            error,
            document: schema.to_owned(),
        },
        error @ DocumentError::Unreadable(_) => BuildError::UnreadableSchema(error),
    })
}

/// The configuration's number goes before the decorator's. More than one needs a model that can wait.
fn concurrency(config: &Config, handler: Option<Handler>) -> Result<Option<u32>> {
    let decorated = handler.and_then(|handler| handler.concurrency_max);
    let (max, field) = match (config.concurrency_max, decorated) {
        (Some(max), _) => (max, "concurrency.max > 1"),
        (None, Some(max)) => (max, "@cog.concurrent(max > 1)"),
        (None, None) => return Ok(None),
    };
    if max > 1 {
        let version = config.build.as_ref().map(|build| &build.python_version);
        if version.is_some_and(|version| (version.major, version.minor) < (3, 11)) {
            return Err(BuildError::OldPythonForConcurrency);
        }
        if handler.is_some_and(|handler| !handler.is_concurrent) {
            return Err(BuildError::SyncConcurrency { field });
        }
    }
    Ok(Some(max))
}

#[cfg(test)]
mod tests {
    use cog_config::{Build, PythonVersion};

    use super::*;

    fn check(
        configured: Option<u32>,
        decorated: Option<u32>,
        is_concurrent: bool,
        minor: u32,
    ) -> Result<Option<u32>, String> {
        let python_version = PythonVersion {
            major: 3,
            minor,
            text: format!("3.{minor}"),
        };
        let config = Config {
            build: Some(Build {
                python_version,
                ..Build::default()
            }),
            concurrency_max: configured,
            ..Config::default()
        };
        let handler = Handler {
            is_concurrent,
            concurrency_max: decorated,
        };
        concurrency(&config, Some(handler)).map_err(|error| error.to_string())
    }

    #[test]
    fn concurrency_needs_an_async_model() {
        assert_eq!(check(None, None, false, 11), Ok(None));
        assert_eq!(check(Some(1), None, false, 10), Ok(Some(1)));
        assert_eq!(check(Some(5), Some(3), true, 11), Ok(Some(5)));
        assert_eq!(check(None, Some(3), true, 11), Ok(Some(3)));
        assert_eq!(
            check(Some(2), None, false, 11),
            Err("concurrency.max > 1 requires an async run() or predict() method".into())
        );
        assert_eq!(
            check(None, Some(2), false, 11),
            Err("@cog.concurrent(max > 1) requires an async run() or predict() method".into())
        );
        assert_eq!(
            check(None, Some(2), true, 10),
            Err("concurrency requires Python 3.11 or higher".into())
        );
    }
}
