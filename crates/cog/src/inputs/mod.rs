//! What a user gives as inputs, made into JSON and checked against the model's document before anything starts.
//!
//! `parse` reads flags and JSON, `check` holds the result against the model's rules. Nothing here downloads: URLs are text.

mod check;
mod forgotten;
mod parse;
mod served;

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;

use cog_engine::{KernelProbe, Probe as _};
use cog_inputs::{Inputs, Kind, ModelInputs, components};
use serde_json::{Map, Value};

pub(crate) use forgotten::forgotten_at;
use served::Served;

use crate::args::EngineArg;

/// What was given on the command line.
pub(crate) struct Given<'a> {
    /// `-i name=value`, in order.
    pub(crate) flags: &'a [String],
    /// `--json`.
    pub(crate) json: Option<&'a str>,
}

/// Files up to this size are part of the request, as they always were; larger ones are fetched by the server. Of the
/// many inputs that a model may have, each can be as large and the request is still one that servers take.
const MAX_INLINE: u64 = 4 << 20;

/// Where `@file` and `-` come from.
pub(crate) trait Files {
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    fn stdin(&self) -> io::Result<Vec<u8>>;
    /// A file for an input that takes files. It is opened once: a pipe has its content only once.
    fn open(&self, path: &str) -> io::Result<Opened>;
}

/// How a model's server gets a file.
pub(crate) enum Opened {
    /// From us, at this URL: it is too large for a request.
    Large(String),
    /// In the request.
    Small {
        /// What it is called; nothing of a pipe.
        name: Option<String>,
        content: Vec<u8>,
    },
}

/// The real ones; a leading `~` is the user's home.
pub(crate) struct Disk {
    engine: EngineArg,
    served: OnceCell<Served>,
}

impl Disk {
    /// For a model that is run by this engine.
    pub(crate) fn of(engine: EngineArg) -> Self {
        Self {
            engine,
            served: OnceCell::new(),
        }
    }

    /// Whether the model's server can fetch from us: one in a daemon's container has a loopback of its own.
    fn can_be_fetched(&self) -> bool {
        match self.engine {
            EngineArg::Embedded | EngineArg::Host => true,
            EngineArg::Docker => false,
            EngineArg::Auto => KernelProbe.containers().is_ok() || KernelProbe.daemon().is_err(),
        }
    }

    fn served(&self) -> io::Result<&Served> {
        if let Some(served) = self.served.get() {
            return Ok(served);
        }
        let served = Served::start()?;
        Ok(self.served.get_or_init(|| served))
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        fs_err::read(expanded(path))
    }

    fn open(&self, path: &str) -> io::Result<Opened> {
        let path = expanded(path);
        let mut file = fs_err::File::open(&path)?;
        let found = file.metadata()?;
        if found.is_file() && found.len() > MAX_INLINE && self.can_be_fetched() {
            let url = self.served()?.add(&path, file.into_parts().0);
            return Ok(Opened::Large(url));
        }
        let mut content = Vec::new();
        io::Read::read_to_end(&mut file, &mut content)?;
        let name = path.file_name().filter(|_| found.is_file());
        Ok(Opened::Small {
            name: name.map(|name| name.to_string_lossy().into_owned()),
            content,
        })
    }

    fn stdin(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut content)?;
        Ok(content)
    }
}

/// The path with a leading `~` replaced by the home directory.
pub(crate) fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// Inputs that can't be used. The texts are what users of the reference know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("Failed to parse input '{0}', expected format is 'name=value'")]
    NoValue(String),
    #[error("Must use one of --json or --input to provide model inputs")]
    Both,
    #[error("Failed to read JSON from file \"{file}\": {source}")]
    JsonFile { file: String, source: io::Error },
    #[error("Failed to parse JSON: {0}")]
    Json(String),
    #[error("input \"{name}\": {source}")]
    File { name: String, source: io::Error },
    #[error("input \"{name}\": failed to read file \"{file}\": {source}")]
    JsonValueFile {
        name: String,
        file: String,
        source: io::Error,
    },
    #[error("{0}")]
    Unknown(String),
    #[error("OpenAPI schema {0}")]
    Schema(String),
    #[error("{}", list(.0))]
    Invalid(Vec<String>),
}

fn list(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        several => format!("input validation failed:\n- {}", several.join("\n- ")),
    }
}

/// The inputs as the server takes them. Names are checked first, then files are read, then values are checked.
pub(crate) fn resolve(
    given: &Given<'_>,
    document: &Value,
    kind: Kind,
    files: &dyn Files,
) -> Result<Map<String, Value>, InputError> {
    let model = ModelInputs::of(document);
    let inputs = declared(&model, document, kind)?;
    let values = match (given.json, given.flags) {
        (Some(_), [_, ..]) => return Err(InputError::Both),
        (Some(json), []) => parse::json(json, inputs, files)?,
        (None, flags) => parse::flags(flags, inputs, files)?,
    };
    check::values(&values, inputs)?;
    Ok(values)
}

fn declared<'m>(
    model: &'m ModelInputs,
    document: &Value,
    kind: Kind,
) -> Result<&'m Inputs, InputError> {
    model.inputs(kind).ok_or_else(|| {
        let missing = match (components(document), kind) {
            (None, _) => "components",
            (Some(_), Kind::Prediction) => "Input component",
            (Some(_), Kind::Training) => "TrainingInput or Input component",
        };
        InputError::Schema(format!("is missing {missing}"))
    })
}

#[cfg(test)]
mod tests;
