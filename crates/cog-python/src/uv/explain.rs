//! What uv's messages mean, shortened to what a person needs.

use cog_errors::Hint;

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
    /// The program did not start.
    #[error("could not start `{program}`")]
    Start {
        /// The program.
        program: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// No versions fit together, or a package does not exist.
    #[error("the Python requirements cannot be resolved:\n{0}")]
    Unresolvable(String),
    /// A package has no wheel and building was not allowed.
    #[error("a Python package has to be built from source:\n{0}")]
    NeedsBuild(String),
    /// Building a source distribution failed.
    #[error("a Python package could not be built from source:\n{0}")]
    BuildFailed(String),
    /// An index did not answer.
    #[error("could not reach the Python package index:\n{0}")]
    Unreachable(String),
    /// The disk is full.
    #[error("no space left while installing Python packages:\n{0}")]
    DiskFull(String),
    /// Anything else that went wrong while installing.
    #[error("the Python packages cannot be installed:\n{0}")]
    Install(String),
}

impl UvError {
    pub fn resolving(stderr: &str) -> Self {
        Self::classify(stderr, Self::Unresolvable)
    }

    pub fn installing(stderr: &str) -> Self {
        Self::classify(stderr, Self::Install)
    }

    fn classify(stderr: &str, otherwise: fn(String) -> Self) -> Self {
        let contains = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
        let text = shorten(stderr);
        if contains(&["No space left on device", "os error 28"]) {
            Self::DiskFull(text)
        } else if contains(&[
            "building from source is disabled",
            "Building source distributions",
        ]) {
            Self::NeedsBuild(text)
        } else if contains(&["Failed to build", "build backend", "Build backend"]) {
            Self::BuildFailed(text)
        } else if contains(&[
            "error sending request",
            "Could not connect",
            "dns error",
            "network is unreachable",
            "operation timed out",
        ]) {
            Self::Unreachable(text)
        } else {
            otherwise(text)
        }
    }
}

impl Hint for UvError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing => "install uv or pip, then try again",
            Self::Unresolvable(_) => {
                "check names and versions in the requirements, and that they fit `python_version`"
            }
            Self::Unreachable(_) => {
                "check the network; a mirror can be set with `UV_DEFAULT_INDEX` or an \
                 `--index-url` line in the requirements file"
            }
            Self::NeedsBuild(_) => {
                "packages without a wheel are built in a container, which cannot run here; use a \
                 version that has a wheel"
            }
            Self::BuildFailed(text) if needs_compiler(text) => {
                "it needs a C compiler: add `build-essential` and `python3-dev` to \
                 `build.system_packages` in cog.yaml"
            }
            Self::BuildFailed(_) => {
                "if it needs libraries or tools to build, add them to `build.system_packages` in \
                 cog.yaml"
            }
            Self::DiskFull(_) => "free some space with `cog prune`",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn needs_compiler(text: &str) -> bool {
    let compilers = [
        "gcc",
        "'cc'",
        "g++",
        "c++",
        "clang",
        "Unable to find a compatible Visual",
    ];
    let missing = [
        "command",
        "No such file",
        "not found",
        "Unable to find",
        "unable to execute",
    ];
    compilers.iter().any(|name| text.contains(name))
        && missing.iter().any(|word| text.contains(word))
        || ["Python.h", "C compiler"]
            .iter()
            .any(|words| text.contains(words))
}

const MAX_LINES: usize = 14;
const MAX_LINE: usize = 400;

/// The part of a tool's output that explains its failure: without warnings and what belongs to
/// them, from the first error on, without credentials, and not endless.
pub(super) fn shorten(stderr: &str) -> String {
    let mut in_warning = false;
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| {
            if line.starts_with("warning:") || line.starts_with("WARNING:") {
                in_warning = true;
            } else if !line.starts_with(' ') {
                in_warning = false;
            }
            // What this one recommends is said better by our own hint.
            let vague = line.starts_with("hint: Build failures usually");
            !in_warning && !vague && !line.trim().is_empty()
        })
        .collect();
    let start = lines
        .iter()
        .position(|line| line.to_ascii_lowercase().starts_with("error:"))
        .unwrap_or(0);
    let relevant = &lines[start..];
    let cut = if relevant.len() > MAX_LINES {
        let tail = &relevant[relevant.len() - (MAX_LINES - 5)..];
        [&relevant[..4], &["  …"], tail].concat()
    } else {
        relevant.to_vec()
    };
    cut.iter()
        .map(|line| shorten_line(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shorten_line(line: &str) -> String {
    let line = ["error: ", "ERROR: "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix))
        .unwrap_or(line);
    let line = without_credentials(line);
    match line.char_indices().nth(MAX_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `text` with what stands between `://` and `@` of its URLs left out.
pub fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|character: char| character.is_whitespace() || "/?#`'\"<>".contains(character))
            .unwrap_or(after.len());
        let authority = &after[..end];
        clean.push_str(
            authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host),
        );
        rest = &after[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWNLOAD_WARNING: &str = "warning: A managed Python download is available\n  \
        cause: Request failed after 3 retries\n  cause: error sending request for url\n";

    #[test]
    fn a_missing_package_is_explained_in_uvs_words() {
        let error = UvError::resolving(
            "error: No solution found when resolving dependencies\n  cause: Because no-such-thing \
             was not found in the package registry and you require no-such-thing, we can conclude \
             that your requirements are unsatisfiable.\n",
        );
        assert!(matches!(error, UvError::Unresolvable(_)));
        assert!(
            error.to_string().contains("no-such-thing was not found"),
            "{error}"
        );
        assert!(!error.to_string().contains("error:"));
    }

    #[test]
    fn kinds_are_told_apart() {
        let offline = "error: Request failed after 3 retries\n  cause: Failed to fetch: \
            https://me:secret@example.com/simple/x/\n  cause: error sending request for url \
            (https://me:secret@example.com/simple/x/)\n";
        let error = UvError::resolving(offline);
        assert!(matches!(error, UvError::Unreachable(_)), "{error}");
        assert!(!error.to_string().contains("secret"));
        let build = "error: No solution found\n  cause: Because docopt==0.6.2 has no usable \
            wheels\n\nhint: Wheels are required for `docopt` because building from source is \
            disabled for all packages\n";
        assert!(matches!(UvError::resolving(build), UvError::NeedsBuild(_)));
        let compiler = UvError::installing(
            "error: Failed to build `x`\n  error: command 'gcc' failed: No such file or directory",
        );
        assert!(
            compiler
                .hint()
                .expect("there is one")
                .contains("build-essential")
        );
        assert!(matches!(
            UvError::installing("error: No space left on device (os error 28)"),
            UvError::DiskFull(_)
        ));
        assert!(matches!(
            UvError::installing("error: odd"),
            UvError::Install(_)
        ));
    }

    #[test]
    fn warnings_go_and_length_is_bounded() {
        assert_eq!(
            shorten(&format!("{DOWNLOAD_WARNING}error: broken\n  cause: x")),
            "broken\n  cause: x"
        );
        let long: String = (0..1000)
            .flat_map(|line| ["error: ".to_owned(), line.to_string(), "\n".to_owned()])
            .collect();
        let short = shorten(&long);
        assert_eq!(short.lines().count(), MAX_LINES);
        assert!(short.starts_with("0\n") && short.ends_with("999"));
        assert!(shorten(&"x".repeat(10_000)).len() < 1000);
    }

    #[test]
    fn credentials_are_left_out() {
        let table = [
            ("https://u:p@h/x", "https://h/x"),
            ("a https://u@h b ssh://git:x@h:1", "a https://h b ssh://h:1"),
            ("https://h/a@b", "https://h/a@b"),
            ("no url @ all", "no url @ all"),
        ];
        for (text, expected) in table {
            assert_eq!(without_credentials(text), expected);
        }
    }
}
