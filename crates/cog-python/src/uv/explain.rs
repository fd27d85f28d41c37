//! What uv's messages mean, shortened to what a person needs.

mod hint;
mod text;

use std::fmt;
use std::path::PathBuf;

use super::python::MissingPython;
use crate::resolution::{HashError, PylockError};
pub use text::without_credentials;
pub(super) use text::{INPUT, PINS, failed_url, host, shorten};
use text::{in_users_terms, package, urls};

/// Resolving or installing Python packages failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UvError {
    /// Neither uv nor pip is there.
    #[error("`uv` is not on PATH, and there is no `pip` to install it with")]
    Missing,
    /// pip could not install uv.
    #[error("could not install `uv` into the cache:\n{0}")]
    Bootstrap(String),
    /// A file of the cache could not be written.
    #[error("could not prepare the cache for `uv`")]
    Cache(#[source] std::io::Error),
    /// A file with the caller's settings for uv is no such file.
    #[error("`{}`, which uv takes settings from, cannot be read: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong, without anything of its content.
        reason: String,
    },
    /// The program did not start.
    #[error("could not start `{program}`")]
    Start {
        /// The program.
        program: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// The system does not tell how it ended.
    #[error("could not wait for `uv`")]
    Wait(#[source] std::io::Error),
    /// Its answer makes no sense.
    #[error(transparent)]
    Answer(#[from] Box<PylockError>),
    /// What was resolved is not what the requirements allow.
    #[error(transparent)]
    Hash(#[from] Box<HashError>),
    /// No index has the package, or none the version.
    #[error("no such version of a Python package that {file} asks for:\n{text}")]
    NoSuchVersion {
        /// The user's file.
        file: String,
        /// In uv's words.
        text: String,
    },
    /// There are files of the version, but none for this Python or platform.
    #[error(
        "a Python package that {file} asks for has no wheel for this Python and platform:\n{text}"
    )]
    NoWheel {
        /// The user's file.
        file: String,
        /// In uv's words.
        text: String,
    },
    /// No versions fit together.
    #[error("the Python packages that {file} asks for do not fit together:\n{text}")]
    Conflict {
        /// The user's file.
        file: String,
        /// In uv's words.
        text: String,
    },
    /// Resolving failed for another reason.
    #[error("the packages of {file} cannot be resolved:\n{text}")]
    Unresolvable {
        /// The user's file.
        file: String,
        /// In uv's words.
        text: String,
    },
    /// A package has no wheel and building was not allowed.
    #[error("a Python package has to be built from source:\n{0}")]
    NeedsBuild(String),
    /// Building a source distribution failed.
    #[error("a Python package that {file} asks for could not be built from source:\n{text}")]
    BuildFailed {
        /// The user's file.
        file: String,
        /// In uv's words.
        text: String,
    },
    /// An index, or another server with packages, did not answer.
    #[error("{0}")]
    Unreachable(Box<Unreachable>),
    /// An index wants other credentials.
    #[error("{} wants credentials, or other ones than it got:\n{}", .0.subject(), .0.text)]
    Unauthorized(Box<Unreachable>),
    /// The disk is full.
    #[error("no space left while installing Python packages:\n{0}")]
    DiskFull(String),
    /// A Python could not be downloaded.
    #[error("{0}")]
    Python(Box<MissingPython>),
    /// Anything else that went wrong while installing.
    #[error("the Python packages cannot be installed:\n{0}")]
    Install(String),
}

/// A server that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Its host, with the port if there is one.
    pub host: Option<String>,
    /// What it was asked for.
    pub package: Option<String>,
    /// The line of the user's file that names the server.
    pub line: Option<String>,
    /// The user's file.
    pub file: String,
    /// In uv's words.
    pub text: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} cannot be reached:\n{}",
            self.subject(),
            self.text
        )
    }
}

impl Unreachable {
    fn new(text: String, context: &Context<'_>) -> Self {
        let url = failed_url(&text);
        let host = url.as_deref().and_then(host);
        let names_it = |line: &&String| {
            host.as_deref()
                .is_some_and(|host| urls(line).any(|url| self::host(url).as_deref() == Some(host)))
        };
        Self {
            line: context
                .lines
                .iter()
                .find(names_it)
                .map(|line| without_credentials(line)),
            package: url.as_deref().and_then(package),
            host,
            file: context.file.to_owned(),
            text,
        }
    }

    fn subject(&self) -> String {
        let server = match &self.host {
            Some(host) => format!("the Python package index `{host}`"),
            None => "the Python package index".to_owned(),
        };
        match &self.package {
            Some(package) => format!("{server}, where `{package}` was looked for,"),
            None => server,
        }
    }

    fn hint(&self) -> String {
        if self.text.contains("invalid peer certificate") {
            return "if the server's authority is one of your organisation, name a file with the authority's certificate \
                    in `COG_CA_CERT`, or add it to the system's"
                .to_owned();
        }
        match &self.line {
            Some(line) => format!(
                "check the network and the line `{line}` in {}; without that line, packages are taken from \
                 the other indexes alone",
                self.file
            ),
            None => format!(
                "check the network; a mirror can be set with `UV_DEFAULT_INDEX` or an `--index-url` line in {}",
                self.file
            ),
        }
    }
}

/// What is known of the requirements that uv was given.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The user's file, for messages.
    pub file: &'a str,
    /// Its lines.
    pub lines: &'a [String],
}

impl Default for Context<'_> {
    fn default() -> Self {
        Self {
            file: "the requirements",
            lines: &[],
        }
    }
}

impl UvError {
    /// What `stderr` means, which uv wrote when it could not resolve.
    pub fn resolving(stderr: &str, context: &Context<'_>) -> Self {
        Self::classify(stderr, context).unwrap_or_else(|text| {
            let file = context.file.to_owned();
            let contains = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
            if contains(&["no wheels with a matching", "no wheels are available"]) {
                Self::NoWheel { file, text }
            } else if contains(&["was not found in the"]) {
                // Whoever depends on it: no other version makes it be there.
                Self::NoSuchVersion { file, text }
            } else if contains(&["depends on", "And because"]) {
                Self::Conflict { file, text }
            } else if contains(&[
                "there is no version of",
                "there are no versions of",
                "is available",
                "are available",
            ]) {
                Self::NoSuchVersion { file, text }
            } else if contains(&["you require"]) {
                Self::Conflict { file, text }
            } else {
                Self::Unresolvable { file, text }
            }
        })
    }

    /// What `stderr` means, which uv wrote when it could not install.
    pub fn installing(stderr: &str, context: &Context<'_>) -> Self {
        Self::classify(stderr, context).unwrap_or_else(Self::Install)
    }

    /// What `stderr` means, which uv wrote when it could not download the Python `version`.
    pub(super) fn downloading_python(stderr: &str, version: &str) -> Self {
        match Self::classify(stderr, &Context::default()) {
            Ok(error @ Self::DiskFull(_)) => error,
            _ => Self::Python(Box::new(MissingPython::new(stderr, version))),
        }
    }

    /// What may go wrong at any time, or the text that explains something else.
    fn classify(stderr: &str, context: &Context<'_>) -> Result<Self, String> {
        let contains = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
        let text = in_users_terms(&shorten(stderr), context.file);
        let error = if contains(&["No space left on device", "os error 28"]) {
            Self::DiskFull(text)
        } else if contains(&[
            "building from source is disabled",
            "Building source distributions",
        ]) {
            Self::NeedsBuild(text)
        } else if contains(&["Failed to build", "build backend", "Build backend"]) {
            let file = context.file.to_owned();
            Self::BuildFailed { file, text }
        } else if contains(&[
            "401 Unauthorized",
            "403 Forbidden",
            "lack of valid authentication",
        ]) {
            Self::Unauthorized(Box::new(Unreachable::new(text, context)))
        } else if contains(&[
            "error sending request",
            "Could not connect",
            "dns error",
            "network is unreachable",
            "operation timed out",
            "Could not resolve host",
            "Failed to connect to",
            "HTTP status server error",
            "error decoding response body",
            "Network connectivity is disabled",
        ]) {
            Self::Unreachable(Box::new(Unreachable::new(text, context)))
        } else {
            return Err(text);
        };
        Ok(error)
    }
}

#[cfg(test)]
mod tests {
    use cog_errors::Hint as _;

    use super::*;

    fn resolving(stderr: &str) -> UvError {
        let lines = [
            "--extra-index-url https://me:secret@e.com/whl/cpu/".to_owned(),
            "six".to_owned(),
        ];
        let context = Context {
            file: "requirements.txt",
            lines: &lines,
        };
        UvError::resolving(stderr, &context)
    }

    #[test]
    fn reasons_are_told_apart_in_uvs_words() {
        let unsatisfiable = |because: &str| {
            resolving(&format!(
                "error: No solution found when resolving dependencies\n  cause: Because {because}, we can \
                 conclude that your requirements are unsatisfiable.\n"
            ))
        };
        let missing = unsatisfiable(
            "no-such-thing was not found in the package registry and you require no-such-thing",
        );
        assert!(matches!(missing, UvError::NoSuchVersion { .. }));
        let of_another = unsatisfiable(
            "no-such-thing was not found in the package registry and bad==1 depends on no-such-thing",
        );
        assert!(matches!(of_another, UvError::NoSuchVersion { .. }));
        let text = missing.to_string();
        assert!(text.contains("no-such-thing was not found"), "{text}");
        assert!(text.contains("that requirements.txt asks for"), "{text}");
        assert!(!text.contains("error:"));
        assert!(matches!(
            unsatisfiable("there is no version of six==99 and you require six==99"),
            UvError::NoSuchVersion { .. }
        ));
        assert!(matches!(
            unsatisfiable(
                "requests==2.32.3 depends on idna>=2.5,<4 and you require requests==2.32.3, we can \
                 conclude that you require idna>=2.5,<4.\n         And because you require idna<2"
            ),
            UvError::Conflict { .. }
        ));
        assert!(matches!(
            unsatisfiable("you require six==1 and six==2"),
            UvError::Conflict { .. }
        ));
        assert!(matches!(
            unsatisfiable(
                "torch==1.4.0 has no wheels with a matching Python ABI tag (e.g., `cp313`) and you \
                 require torch==1.4.0"
            ),
            UvError::NoWheel { .. }
        ));
    }

    #[test]
    fn an_index_that_cannot_be_reached_is_named_with_the_line_that_names_it() {
        let offline = |url: &str| {
            resolving(&format!(
                "error: Request failed after 3 retries in 6.3s\n  cause: Failed to fetch: {url}\n  \
                 cause: error sending request for url ({url})\n  cause: client error (Connect)\n  \
                 cause: dns error\n"
            ))
        };
        let error = offline("https://me:secret@e.com/whl/cpu/numpy/");
        let UvError::Unreachable(what) = &error else {
            panic!("{error}");
        };
        assert_eq!(what.host.as_deref(), Some("e.com"));
        assert_eq!(what.package.as_deref(), Some("numpy"));
        let text = format!("{error}\n{}", error.hint().unwrap());
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.starts_with("the Python package index `e.com`, where `numpy` was looked for, cannot be reached:\n"),
            "{text}"
        );
        assert!(text.contains("dns error"), "{text}");
        assert!(
            text.contains(
                "the line `--extra-index-url https://e.com/whl/cpu/` in requirements.txt"
            ),
            "{text}"
        );
        let default = offline("https://pypi.example.org:8443/simple/six/");
        let text = format!("{default}\n{}", default.hint().unwrap());
        assert!(
            text.contains("`pypi.example.org:8443`, where `six`"),
            "{text}"
        );
        assert!(text.contains("UV_DEFAULT_INDEX"), "{text}");
        let file = offline("https://files.example.org/a/numpy-2.0-cp311.whl");
        assert!(file.to_string().contains("where `numpy`"), "{file}");
        let git = resolving(
            "error: Git operation failed\n  cause: failed to clone into: c\n  fatal: unable to access \
             'http://127.0.0.1:9/x/': Failed to connect to 127.0.0.1 port 9",
        );
        assert!(git.to_string().contains("`127.0.0.1:9`"), "{git}");
    }

    #[test]
    fn our_own_file_is_not_named() {
        let error = resolving(
            "error: Couldn't parse requirement in `requirements.in` at position 12\n  cause: no such \
             comparison operator \"=\", must be one of ~= ==\n         six=1\n            ^^\n",
        );
        assert_eq!(
            error.to_string(),
            "the packages of requirements.txt cannot be resolved:\nCouldn't parse requirement in \
             requirements.txt\n  cause: no such comparison operator \"=\", must be one of ~= ==\n         \
             six=1\n            ^^"
        );
    }

    #[test]
    fn files_are_named_as_the_project_has_them() {
        for (said, told) in [
            (
                "Failed to read `six @ file:///root/.cache/cog/tmp/x/artifacts/wheels/six.whl`",
                "Failed to read `six @ wheels/six.whl`",
            ),
            ("in /tmp/cog-build/artifacts/pkg:", "in pkg:"),
            (
                "Because pins.txt and /artifacts/a",
                "Because requirements.txt and a",
            ),
            ("https://h/artifacts/a.whl", "https://h/artifacts/a.whl"),
        ] {
            let error = UvError::installing(
                said,
                &Context {
                    file: "requirements.txt",
                    lines: &[],
                },
            );
            let text = error.to_string();
            assert!(text.ends_with(told), "{text}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let installing = |text: &str| UvError::installing(text, &Context::default());
        let build = "error: No solution found\n  cause: Because docopt==0.6.2 has no usable \
            wheels\n\nhint: Wheels are required for `docopt` because building from source is \
            disabled for all packages\n";
        assert!(matches!(resolving(build), UvError::NeedsBuild(_)));
        let forbidden = resolving(
            "error: Failed to fetch: https://e.com/whl/cpu/x/\n  cause: HTTP status client error (403 \
             Forbidden) for url (https://e.com/whl/cpu/x/)",
        );
        assert!(
            forbidden.to_string().starts_with(
                "the Python package index `e.com`, where `x` was looked for, wants credentials"
            ),
            "{forbidden}"
        );
        let broken = installing("error: The build backend returned an error\n  cause: x");
        assert!(
            broken
                .to_string()
                .starts_with("a Python package that the requirements asks for could not be built"),
            "{broken}"
        );
        let compiler = installing(
            "error: Failed to build `x`\n  error: command 'gcc' failed: No such file or directory",
        );
        assert!(
            compiler
                .hint()
                .expect("there is one")
                .contains("build-essential")
        );
        assert!(matches!(
            installing("error: No space left on device (os error 28)"),
            UvError::DiskFull(_)
        ));
        assert!(matches!(installing("error: odd"), UvError::Install(_)));
    }

    #[test]
    fn what_has_no_wheel_for_this_python_is_told_with_the_pythons_that_have_one() {
        let hint = |stderr: &str| resolving(stderr).hint().expect("there is one");
        let old = hint(
            "error: No solution found when resolving dependencies\n  cause: Because torch==1.4.0 has no wheels with a \
             matching Python ABI tag (e.g., `cp313`) and you require torch==1.4.0, we can conclude that your requirements \
             are unsatisfiable.\n\nhint: You require CPython 3.13 (`cp313`), but we only found wheels for `torch` (v1.4.0) \
             with the following Python ABI tags: `cp35m`, `cp36m`, `cp38`, `cp310`\n",
        );
        assert!(
            old.ends_with("has a wheel for: 3.5, 3.6, 3.8, 3.10"),
            "{old}"
        );
        let built = hint(
            "error: Failed to build `numpy==1.19.5`\n  cause: The build backend returned an error\n  ModuleNotFoundError: \
             No module named 'distutils'\n",
        );
        assert!(
            built.starts_with("there is no wheel of `numpy==1.19.5` for this Python"),
            "{built}"
        );
        assert!(!built.contains("system_packages"), "{built}");
        let library = hint(
            "error: Failed to build `psycopg2==2.9.9`\n  cause: pg_config executable not found.\n",
        );
        assert!(
            library.contains("`psycopg2==2.9.9`") && library.contains("system_packages"),
            "{library}"
        );
        let own = hint("error: Failed to build `x @ file:///artifacts/x`\n  cause: broken\n");
        assert!(own.starts_with("if it needs libraries"), "{own}");
    }
}
