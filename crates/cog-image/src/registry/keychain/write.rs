//! Stores credentials as `docker login` does: with the helper that the file names, else in the file itself.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde_json::{Map, Value, json};

use super::{Config, Keychain, helper_program, key_of, read};

/// Of what a helper says, in characters.
const MAX_MESSAGE: usize = 300;

/// Why credentials could not be stored. Shows no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file operation failed; the message names the path.
    #[error("could not store the credentials")]
    Io(#[from] io::Error),

    /// The file is there, but cannot be added to.
    #[error("could not store the credentials: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },

    /// The environment names no place for them.
    #[error("no place for credentials: neither `DOCKER_CONFIG` nor `HOME` is set")]
    NoPlace,

    /// The user's name cannot be written down.
    #[error("a user name has no colon")]
    Colon,

    /// The program that keeps credentials did not take them.
    #[error("`{program}` did not store the credentials: {reason}")]
    Helper {
        /// Its name.
        program: String,
        /// What it said.
        reason: String,
    },
}

impl Keychain {
    /// Stores a user and password for `registry` where they are found again, in the file that is looked at
    /// first or the helper that it names. What else is in the file stays.
    pub fn store(
        &self,
        registry: &str,
        username: &str,
        password: &str,
    ) -> Result<(), CredentialsError> {
        if username.contains(':') {
            return Err(CredentialsError::Colon);
        }
        let file = self.files.first().ok_or(CredentialsError::NoPlace)?;
        let unreadable = |reason| CredentialsError::Unreadable { reason };
        let config = read(file).map_err(unreadable)?.unwrap_or_default();
        if let Some(helper) = config.helper(registry) {
            return give_to_helper(helper, key_of(registry), username, password);
        }
        let auth = STANDARD.encode(format!("{username}:{password}"));
        add_to_file(file, key_of(registry), &auth)
    }
}

impl Config {
    fn helper(&self, registry: &str) -> Option<&str> {
        self.helper_for(registry)
            .map(String::as_str)
            .filter(|helper| !helper.is_empty())
    }
}

/// Runs `docker-credential-<helper> store`.
fn give_to_helper(
    helper: &str,
    server: &str,
    username: &str,
    password: &str,
) -> Result<(), CredentialsError> {
    let unreadable = |reason| CredentialsError::Unreadable { reason };
    let program = helper_program(helper).map_err(unreadable)?;
    let failed = |reason: String| CredentialsError::Helper {
        program: program.clone(),
        reason,
    };
    let could_not_run = |error: io::Error| failed(format!("it could not be run: {error}"));
    let mut child = Command::new(&program)
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(could_not_run)?;
    let credentials = json!({ "ServerURL": server, "Username": username, "Secret": password });
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has its reasons, which its status tells.
        let _ = stdin.write_all(credentials.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(could_not_run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], b" ", &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let said = said.trim().replace(password, "****");
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE)
        .collect();
    Err(failed(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }))
}

/// Sets what `auths` of the file has for `key`. The file is whole at every moment, and for its owner alone.
fn add_to_file(file: &Path, key: &str, auth: &str) -> Result<(), CredentialsError> {
    // Where it is a link, what it leads to is replaced.
    let file = fs_err::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mut document = match fs_err::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error.into()),
    };
    if document.is_null() {
        document = Value::Object(Map::new());
    }
    let unreadable = || CredentialsError::Unreadable {
        reason: format!("`{}` is not of Docker's form", file.display()),
    };
    let auths = document
        .as_object_mut()
        .ok_or_else(unreadable)?
        .entry("auths")
        .or_insert(Value::Null);
    if auths.is_null() {
        *auths = Value::Object(Map::new());
    }
    let auths = auths.as_object_mut().ok_or_else(unreadable)?;
    auths.insert(key.to_owned(), json!({ "auth": auth }));
    replace(&file, &pretty(&document))?;
    Ok(())
}

/// As Docker writes it.
fn pretty(document: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(document, &mut serializer)
        .expect("values have text keys, and writing to memory never fails");
    text
}

fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| {
                let text = format!("failed to create directory `{}`: {error}", folder.display());
                io::Error::new(error.kind(), text)
            })?;
    }
    let temporary = temporary_name(file);
    let write = || {
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut new = options.open(&temporary)?;
        new.write_all(content)?;
        new.sync_data()?;
        fs_err::rename(&temporary, file)
    };
    write().inspect_err(|_| {
        // What went wrong matters more than what could not be cleared away after it.
        let _ = fs_err::remove_file(&temporary);
    })
}

fn temporary_name(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", crate::store::unique_name()));
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::registry::Credentials;

    fn basic(username: &str, password: &str) -> Credentials {
        Credentials::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn what_is_stored_is_found_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/folder/config.json");
        let keychain = Keychain::files(vec![file.clone()]);
        keychain.store("a.example:5000", "me", "pass:wörd").unwrap();
        let found = |registry| keychain.credentials(registry).unwrap();
        assert_eq!(found("a.example:5000"), Some(basic("me", "pass:wörd")));
        let mode = fs_err::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let old = r#"{"auths":{"https://b.example/v1/":{"auth":"eDp5"},"c.example":{"identitytoken":"t"}},"proxies":{"x":1},"z":[1.50]}"#;
        fs_err::write(&file, old).unwrap();
        keychain.store("docker.io", "hub", "1").unwrap();
        keychain.store("b.example", "new", "2").unwrap();
        keychain.store("c.example", "new", "3").unwrap();
        assert_eq!(found("docker.io"), Some(basic("hub", "1")));
        assert_eq!(found("b.example"), Some(basic("new", "2")));
        assert_eq!(found("c.example"), Some(basic("new", "3")));
        let text = fs_err::read_to_string(&file).unwrap();
        assert!(text.contains("\n\t\"proxies\": {"), "{text}");
        assert!(text.contains("https://index.docker.io/v1/"), "{text}");
        let names = fs_err::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let [link, real] = ["config.json", "real.json"].map(|name| dir.path().join(name));
        fs_err::write(&real, "{}").unwrap();
        fs_err::os::unix::fs::symlink(&real, &link).unwrap();
        let keychain = Keychain::files(vec![link.clone()]);
        keychain.store("a.example", "u", "p").unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs_err::read_to_string(&real).unwrap().contains("a.example"));
    }

    #[test]
    fn files_of_another_form_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        let keychain = Keychain::files(vec![file.clone()]);
        for content in ["not json", "[]", r#"{"auths":[]}"#, r#"{"auths":{"a":"#] {
            fs_err::write(&file, content).unwrap();
            let error = keychain.store("a.example", "u", "secret").unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(fs_err::read_to_string(&file).unwrap(), content);
        }
        assert!(Keychain::empty().store("a.example", "u", "p").is_err());
        assert!(keychain.store("a.example", "u:v", "p").is_err());
    }

    #[test]
    fn helpers_that_are_not_there_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs_err::write(&file, r#"{"credsStore":"surely-not-installed"}"#).unwrap();
        let keychain = Keychain::files(vec![file]);
        let error = keychain.store("a.example", "u", "secret").unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("`docker-credential-surely-not-installed` did not store"),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}
