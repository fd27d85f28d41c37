//! Contexts of the `docker` program, as its configuration has them.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::DockerError;

/// The context that stands for the usual socket.
pub(super) const DEFAULT: &str = "default";
/// Where contexts are, in the folder of the configuration.
pub(super) const FOLDER: &str = "contexts/meta";
const TLS_FOLDER: &str = "contexts/tls";
/// Configurations are smaller.
const MOST: u64 = 4 << 20;

/// The daemon of a context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) host: String,
    /// The folder with our certificate, if the daemon has one.
    pub(super) certificates: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    name: String,
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Debug, Default, Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    host: String,
}

/// The context that the configuration in `folder` names.
pub(super) fn current(folder: &Path) -> Result<Option<String>, DockerError> {
    let config: Option<Config> = read(&folder.join("config.json"))?;
    let name = config.and_then(|config| config.current_context);
    Ok(name.filter(|name| !name.is_empty()))
}

/// The context `name`, which says in its own file what it is called: folders have names of digests.
pub(super) fn find(folder: &Path, name: &str) -> Result<Option<Context>, DockerError> {
    let Ok(entries) = fs_err::read_dir(folder.join(FOLDER)) else {
        return Ok(None);
    };
    for entry in entries.flatten() {
        let Some(meta): Option<Meta> = read(&entry.path().join("meta.json"))? else {
            continue;
        };
        let Some(endpoint) = meta.endpoints.docker.filter(|_| meta.name == name) else {
            continue;
        };
        let certificates = folder
            .join(TLS_FOLDER)
            .join(entry.file_name())
            .join("docker");
        return Ok(Some(Context {
            host: endpoint.host,
            certificates: certificates.is_dir().then_some(certificates),
        }));
    }
    Ok(None)
}

/// A JSON file; nothing if it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DockerError> {
    let bad = |reason: String| DockerError::BadFile {
        path: path.to_owned(),
        reason,
    };
    let file = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| bad(error.to_string()))?,
    };
    let mut text = String::new();
    file.take(MOST)
        .read_to_string(&mut text)
        .map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| bad(error.to_string()))
}
