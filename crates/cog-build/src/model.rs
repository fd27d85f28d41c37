//! What an image says about its model: the schema, and how many predictions run at once. Both are
//! read from the source; no Python is run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cog_config::Config;
use cog_image::Digest;
use cog_schema::{Directory, DocumentError, Handler, Request, SourceTree, validate_document};

use crate::error::{BuildError, Result};
use crate::request::BuildRequest;
use crate::sdk::VERSION;

/// Path of a schema to use instead of the generated one.
pub const COG_OPENAPI_SCHEMA: &str = "COG_OPENAPI_SCHEMA";

/// Where the schema of a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SchemaSource {
    /// From the file that [`COG_OPENAPI_SCHEMA`] names, else from the model's source.
    #[default]
    Generate,
    /// This text, which is used unchanged.
    Text(String),
    /// There is none.
    Omit,
}

/// What a model's source says of it. Commands read it once and hand it on to the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The schema, if it was asked for.
    pub schema: Option<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
    handler: Option<Handler>,
    /// The files that were read, and what they were then; nothing for one that was not there.
    read: Vec<(String, Option<Digest>)>,
}

impl Interface {
    /// Reads the source in `project_dir`. The schema is checked, wherever it comes from.
    pub fn read(project_dir: &Path, config: &Config, source: &SchemaSource) -> Result<Self> {
        let given = given_schema(source)?;
        if given == Given::Nothing && config.runner.is_none() && config.train.is_none() {
            return Err(BuildError::NoModel);
        }
        let tree = Noting::new(project_dir);
        let generated = generate(&tree, config);
        let mut places = BTreeMap::new();
        let mut interface = match (given, generated) {
            (Given::Text(text), generated) => Self {
                schema: Some(text),
                handler: generated.ok().map(|one| one.handler),
                ..Self::default()
            },
            (Given::Omitted, generated) => Self {
                handler: generated.ok().map(|one| one.handler),
                ..Self::default()
            },
            (Given::Nothing, generated) => {
                let generated = generated?;
                if let Some(error) = generated.syntax_error {
                    return Err(error.into());
                }
                places = generated.places;
                Self {
                    schema: Some(generated.json),
                    warnings: generated.warnings,
                    handler: Some(generated.handler),
                    ..Self::default()
                }
            }
        };
        if let Some(schema) = &interface.schema {
            validate_document(schema).map_err(|reason| {
                let place = match &reason {
                    DocumentError::Default { input, .. } => places.remove(input),
                    DocumentError::Unreadable(_) | DocumentError::Invalid(_) => None,
                };
                BuildError::InvalidSchema { reason, place }
            })?;
        }
        interface.read = tree.read.into_inner();
        Ok(interface)
    }

    /// Refuses source that is not any more what all this was read from: an image would tell of another model than it has.
    pub(crate) fn check(&self, project_dir: &Path) -> Result<()> {
        let tree = Directory::new(project_dir);
        for (path, before) in &self.read {
            if digest(&tree.read(path)) != *before {
                return Err(BuildError::SourceChanged { path: path.clone() });
            }
        }
        Ok(())
    }
}

/// The source, with notes of what of it was read.
struct Noting {
    tree: Directory,
    read: RefCell<Vec<(String, Option<Digest>)>>,
}

impl Noting {
    fn new(project_dir: &Path) -> Self {
        Self {
            tree: Directory::new(project_dir),
            read: RefCell::default(),
        }
    }
}

impl SourceTree for Noting {
    fn read(&self, path: &str) -> io::Result<Option<String>> {
        let result = self.tree.read(path);
        let digest = digest(&result);
        self.read.borrow_mut().push((path.to_owned(), digest));
        result
    }
}

fn digest(read: &io::Result<Option<String>>) -> Option<Digest> {
    let text = read.as_ref().ok()?.as_ref()?;
    Some(Digest::of(text.as_bytes()))
}

/// A model as an image has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// The schema, if it was asked for.
    pub(crate) schema: Option<String>,
    /// Predictions at a time, if the project says so.
    pub(crate) concurrency: Option<u32>,
}

impl Model {
    /// The model of `request`.
    pub(crate) fn of(request: &BuildRequest<'_>) -> Result<Self> {
        let Interface {
            schema, handler, ..
        } = &request.interface;
        Ok(Self {
            schema: schema.clone(),
            concurrency: concurrency(request.config, *handler)?,
        })
    }
}

fn generate(
    tree: &dyn SourceTree,
    config: &Config,
) -> Result<cog_schema::Schema, cog_schema::SchemaError> {
    cog_schema::generate(&Request {
        tree,
        runner: config.runner.as_deref(),
        train: config.train.as_deref(),
        cog_version: VERSION,
    })
}

#[derive(PartialEq, Eq)]
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

    #[test]
    fn source_that_changed_since_it_was_read_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run.py");
        let write = |input: &str| {
            let text =
                format!("class Runner:\n    def run(self, s: {input}) -> str:\n        return s\n");
            fs_err::write(&path, text).expect("written");
        };
        let config = Config {
            runner: Some("run.py:Runner".to_owned()),
            ..Config::default()
        };
        for source in [SchemaSource::Generate, SchemaSource::Omit] {
            write("str");
            let interface = Interface::read(folder.path(), &config, &source).expect("it is read");
            interface.check(folder.path()).expect("nothing changed");
            write("str");
            interface.check(folder.path()).expect("it is the same");
            write("int");
            let error = interface.check(folder.path()).expect_err("it changed");
            assert_eq!(
                error.to_string(),
                "`run.py` changed while the image was built"
            );
            fs_err::remove_file(&path).expect("removed");
            interface.check(folder.path()).expect_err("it is gone");
        }
    }

    #[test]
    fn a_source_is_read_once_with_what_is_odd_about_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs_err::write(
            folder.path().join("run.py"),
            "class Runner:\n    def predict(self, a: str, b) -> str:\n        return a\n",
        )
        .expect("written");
        let config = Config {
            runner: Some("run.py:Runner".into()),
            ..Config::default()
        };
        let read = |source: &SchemaSource| Interface::read(folder.path(), &config, source);
        let interface = read(&SchemaSource::Generate).expect("it is read");
        let schema = interface.schema.expect("there is one");
        assert!(!interface.warnings.is_empty());
        let text = SchemaSource::Text(schema.clone());
        let given = read(&text).expect("it is read");
        assert_eq!((given.schema, given.warnings), (Some(schema), vec![]));
        let omitted = read(&SchemaSource::Omit).expect("it is read");
        assert_eq!((omitted.schema, omitted.warnings), (None, vec![]));
        let none = Interface::read(folder.path(), &Config::default(), &SchemaSource::Generate);
        assert!(matches!(none, Err(BuildError::NoModel)));
    }
}
