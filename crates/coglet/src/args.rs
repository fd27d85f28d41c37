//! The command line. Seven options, read by hand: the server has to listen a few milliseconds after
//! it was started, and an argument parser would be a tenth of its size.

use std::ffi::OsString;

use reqwest::Url;

/// Printed by `--help`, and before the error when an argument is not understood.
pub const USAGE: &str = "\
usage: coglet [-h] [-v] [--host HOST] [--port PORT] [--threads N] [--upload-url URL]
              [--await-explicit-shutdown VALUE] [--x-mode {predict,train}]

  -h, --help                       show this text
  -v, --version                    show the version
  --host HOST                      address to listen on (default 0.0.0.0)
  --port PORT                      port to listen on, 0 for any (default: env PORT, else 5000)
  --await-explicit-shutdown VALUE  any text: ignore SIGTERM, stop on POST /shutdown or SIGINT
  --x-mode {predict,train}         which reference to load (default predict)
  --threads N                      accepted and ignored
  --upload-url URL                 where file outputs are sent";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve(Arguments),
    Version,
    Help,
}

/// The options of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    pub host: String,
    pub port: Option<u16>,
    pub sigterm: Sigterm,
    pub mode: Mode,
    pub upload_url: Option<Url>,
}

/// Which handler of the model the worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Predict,
    Train,
}

/// What SIGTERM does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sigterm {
    Drains,
    IsIgnored,
}

/// An argument that was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("unrecognized argument: `{0}`")]
    Unknown(String),
    #[error("argument {0}: expected one value")]
    MissingValue(&'static str),
    #[error("argument {name}: invalid value: `{value}`")]
    InvalidValue { name: &'static str, value: String },
    /// It may hold a password, and is not shown.
    #[error("argument --upload-url: expected a URL that begins with http:// or https://")]
    InvalidUploadUrl,
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".into(),
            port: None,
            sigterm: Sigterm::Drains,
            mode: Mode::Predict,
            upload_url: None,
        }
    }
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let words: Result<Vec<String>, OsString> = arguments.map(OsString::into_string).collect();
        let words = words.map_err(|word| UsageError::NotText(word.to_string_lossy().into()))?;
        let mut words = words.into_iter();
        let mut parsed = Arguments::default();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = |name| {
                attached
                    .clone()
                    .or_else(|| words.next())
                    .ok_or(UsageError::MissingValue(name))
            };
            match name {
                "-v" | "--version" => return Ok(Self::Version),
                "-h" | "--help" => return Ok(Self::Help),
                "--host" => parsed.host = value("--host")?,
                "--port" => parsed.port = Some(number("--port", &value("--port")?)?),
                "--threads" => {
                    number::<u32>("--threads", &value("--threads")?)?;
                }
                "--upload-url" => parsed.upload_url = upload_url(&value("--upload-url")?)?,
                "--await-explicit-shutdown" => {
                    // Any text turns it on, `false` included: deployments rely on it.
                    if !value("--await-explicit-shutdown")?.is_empty() {
                        parsed.sigterm = Sigterm::IsIgnored;
                    }
                }
                "--x-mode" => parsed.mode = mode(&value("--x-mode")?)?,
                _ => return Err(UsageError::Unknown(word)),
            }
        }
        Ok(Self::Serve(parsed))
    }
}

fn mode(value: &str) -> Result<Mode, UsageError> {
    match value {
        "predict" => Ok(Mode::Predict),
        "train" => Ok(Mode::Train),
        _ => Err(UsageError::InvalidValue {
            name: "--x-mode",
            value: value.into(),
        }),
    }
}

/// Nothing if it is empty.
fn upload_url(value: &str) -> Result<Option<Url>, UsageError> {
    if value.is_empty() {
        return Ok(None);
    }
    let url: Option<Url> = value.parse().ok();
    match url.filter(|url| matches!(url.scheme(), "http" | "https")) {
        Some(url) => Ok(Some(url)),
        None => Err(UsageError::InvalidUploadUrl),
    }
}

fn number<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, UsageError> {
    value.parse().map_err(|_| UsageError::InvalidValue {
        name,
        value: value.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Command, UsageError> {
        Command::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        assert_eq!(parse(&[]), Ok(Command::Serve(Arguments::default())));
    }

    #[test]
    fn values_come_attached_or_next() {
        let expected = Arguments {
            host: "::1".into(),
            port: Some(0),
            mode: Mode::Train,
            ..Arguments::default()
        };
        let given = [
            "--host",
            "::1",
            "--port=0",
            "--x-mode",
            "train",
            "--threads=4",
        ];
        assert_eq!(parse(&given), Ok(Command::Serve(expected)));
    }

    #[test]
    fn any_text_turns_explicit_shutdown_on() {
        let Ok(Command::Serve(arguments)) = parse(&["--await-explicit-shutdown", "false"]) else {
            panic!("refused")
        };
        assert_eq!(arguments.sigterm, Sigterm::IsIgnored);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            parse(&["--hots", "x"]),
            Err(UsageError::Unknown("--hots".into()))
        );
        assert_eq!(parse(&["--host"]), Err(UsageError::MissingValue("--host")));
        let bad_mode = UsageError::InvalidValue {
            name: "--x-mode",
            value: "both".into(),
        };
        assert_eq!(parse(&["--x-mode", "both"]), Err(bad_mode));
        for port in ["", "-1", "65536", "http"] {
            let bad_port = UsageError::InvalidValue {
                name: "--port",
                value: port.into(),
            };
            assert_eq!(parse(&["--port", port]), Err(bad_port));
        }
        let odd = std::os::unix::ffi::OsStringExt::from_vec(b"--host=a\xff".to_vec());
        assert_eq!(
            Command::parse([odd].into_iter()),
            Err(UsageError::NotText("--host=a\u{fffd}".into()))
        );
    }

    #[test]
    fn uploads_go_over_http() {
        let uploads = |url| match parse(&["--upload-url", url]) {
            Ok(Command::Serve(arguments)) => Ok(arguments.upload_url.map(String::from)),
            Ok(_) => panic!("not served"),
            Err(error) => Err(error),
        };
        assert_eq!(uploads("https://h/a?b"), Ok(Some("https://h/a?b".into())));
        assert_eq!(uploads(""), Ok(None));
        for wrong in [
            "ftp://h/a",
            "h/a",
            "/a",
            "http://",
            "https://a b/",
            "file:///a",
        ] {
            assert_eq!(uploads(wrong), Err(UsageError::InvalidUploadUrl), "{wrong}");
        }
    }
}
