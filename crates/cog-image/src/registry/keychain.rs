//! Credentials that `docker login`, `podman login`, `cog login` and their helpers have stored. `write` stores them.

mod write;

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

pub use write::CredentialsError;

/// What Docker calls its own registry in these files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Where its content is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Proof of identity for a registry. Its text form shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User and password, or access token in place of one.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A refresh token, exchanged for access tokens.
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username}, ****)"),
            Self::Identity(_) => f.write_str("Identity(****)"),
        }
    }
}

/// Where to look for credentials: files in Docker's `config.json` format, the first that knows a registry
/// wins.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    /// User and password, joined by a colon, in base 64.
    #[serde(rename = "auth")]
    pair: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Keychain {
    /// Knows no credentials.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads these files.
    pub fn files(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// The files that Docker and Podman use: `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`.
    pub fn from_environment() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let docker = variable("DOCKER_CONFIG")
            .or_else(|| variable("HOME").map(|home| home.join(".docker")))
            .map(|dir| dir.join("config.json"));
        let podman = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        Self::files(
            [variable("REGISTRY_AUTH_FILE"), docker, podman]
                .into_iter()
                .flatten()
                .collect(),
        )
    }

    /// Name and password for the host of a registry, as a builder asks for them: a token is a password without a name. What
    /// cannot be read is not there.
    pub fn name_and_password(&self, host: &str) -> Option<(String, String)> {
        let registry = match host {
            DOCKER_HUB_HOST => "docker.io",
            other => other,
        };
        Some(match self.credentials(registry).ok()?? {
            Credentials::Basic { username, password } => (username, password),
            Credentials::Identity(token) => (String::new(), token),
        })
    }

    /// Credentials for `registry`. May run a helper program. The error says, in words, why credentials
    /// that should be there could not be read.
    pub(super) fn credentials(&self, registry: &str) -> Result<Option<Credentials>, String> {
        for file in &self.files {
            let Some(config) = read(file)? else { continue };
            if let Some(found) = config.credentials(registry)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn read(file: &Path) -> Result<Option<Config>, String> {
    match fs_err::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
        // The parser's message could quote a secret.
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| format!("`{}` is not valid JSON of Docker's form", file.display())),
    }
}

impl Config {
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, String> {
        let key = key_of(registry);
        if let Some(helper) = self.helper_for(registry)
            && let Some(found) = ask_helper(helper, key)?
        {
            return Ok(Some(found));
        }
        let by_host = || {
            let mut auths = self.auths.iter();
            Some(auths.find(|(name, _)| host_of(name) == registry)?.1)
        };
        let auth = self.auths.get(key).or_else(by_host);
        auth.map_or(Ok(None), |auth| auth.credentials(registry))
    }

    fn helper_for(&self, registry: &str) -> Option<&String> {
        [key_of(registry), registry]
            .into_iter()
            .find_map(|name| self.cred_helpers.get(name))
            .or(self.creds_store.as_ref())
    }
}

/// What the files call the registry.
fn key_of(registry: &str) -> &str {
    match registry {
        "docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// Old files have whole URLs as keys.
fn host_of(key: &str) -> &str {
    let rest = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

impl Auth {
    fn credentials(&self, registry: &str) -> Result<Option<Credentials>, String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let (Some(username), Some(password)) = (filled(&self.username), filled(&self.password)) {
            return Ok(Some(Credentials::Basic { username, password }));
        }
        let Some(auth) = filled(&self.pair) else {
            return Ok(None);
        };
        let decoded = STANDARD
            .decode(auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (username, password) =
            pair.ok_or_else(|| format!("the stored credentials for {registry} are damaged"))?;
        // Some writers pad the password with zeros.
        let password = password.trim_end_matches('\0');
        Ok(Some(Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        }))
    }
}

/// Runs `docker-credential-<helper> get`.
fn ask_helper(helper: &str, server: &str) -> Result<Option<Credentials>, String> {
    let program = helper_program(helper)?;
    let failed = |error: std::io::Error| format!("`{program}` could not be run: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has its reasons, which its status tells.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        // Helpers have no other way to say that they know nothing.
        return Ok(None);
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("`{program}` gave an invalid answer"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Basic {
            username: answer.username,
            password: answer.secret,
        },
    }))
}

/// The name of the program, which is no path.
fn helper_program(helper: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(plain) {
        return Err(format!("`{helper}` is not the name of a credential helper"));
    }
    Ok(format!("docker-credential-{helper}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    fn keychain(text: &str) -> (tempfile::TempDir, Keychain) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs_err::write(&file, text).unwrap();
        (
            dir,
            Keychain::files(vec![PathBuf::from("/nonexistent"), file]),
        )
    }

    #[test]
    fn stored_credentials_are_found_by_host() {
        let (_dir, keychain) = keychain(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M6d29yZA=="},
                "https://old.example/v2/": {"username": "u", "password": "p"},
                "token.example:5000": {"auth": "eDp5", "identitytoken": "t"},
                "empty.example": {},
                "bad.example": {"auth": "!"}
            }, "unknown": 1}"#,
        );
        let found = |registry| keychain.credentials(registry);
        assert_eq!(found("docker.io").unwrap(), Some(basic("hub", "pass:word")));
        assert_eq!(found("old.example").unwrap(), Some(basic("u", "p")));
        assert_eq!(
            found("token.example:5000").unwrap(),
            Some(Credentials::Identity("t".into()))
        );
        assert_eq!(found("empty.example").unwrap(), None);
        assert_eq!(found("other.example").unwrap(), None);
        assert!(found("bad.example").unwrap_err().contains("damaged"));
    }

    #[test]
    fn secrets_are_never_shown() {
        let shown = format!(
            "{:?} {:?}",
            basic("user", "secret"),
            Credentials::Identity("secret".into())
        );
        assert!(shown.contains("user") && !shown.contains("secret"));
        let (_dir, keychain) = keychain(r#"{"auths": {"a": {"auth": "secret" "#);
        assert!(!keychain.credentials("a").unwrap_err().contains("secret"));
    }

    #[test]
    fn helper_names_are_no_paths() {
        assert!(ask_helper("../../bin/sh", "x").is_err());
        assert!(
            ask_helper("surely-not-installed", "x")
                .unwrap_err()
                .contains("could not be run")
        );
    }
}
