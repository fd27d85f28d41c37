//! What to do about an error of uv.

use cog_errors::Hint;

use super::UvError;

impl Hint for UvError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing => "install uv or pip, then try again",
            Self::NoSuchVersion { .. } => {
                "check the spelling, and which versions there are; an index of your own is named with an \
                 `--extra-index-url` line"
            }
            Self::NoWheel { text, .. } => {
                return Some(match pythons_with_wheels(text).as_deref() {
                    None | Some([]) => {
                        "choose another version of the package, or another `python_version`"
                            .to_owned()
                    }
                    Some(pythons) => format!(
                        "choose another version of the package, or a `python_version` that it has a wheel for: {}",
                        pythons.join(", ")
                    ),
                });
            }
            Self::Conflict { .. } => {
                "loosen one of the versions named, or leave it out so that one that fits is chosen"
            }
            Self::Unresolvable { .. } => {
                "check names and versions in the requirements, and that they fit `python_version`"
            }
            Self::Hash(error) => return error.hint(),
            Self::Unreachable(what) => return Some(what.hint()),
            Self::Python(what) => return what.hint(),
            Self::Unauthorized(_) => {
                "put user name and password into the URL of the index, `${VARIABLE}` stands for a variable, or \
                 into `~/.netrc`"
            }
            Self::NeedsBuild(_) => {
                "packages without a wheel are built in a container, which cannot run here; use a \
                 version that has a wheel"
            }
            Self::BuildFailed { text, .. } if needs_compiler(text) => {
                "it needs a C compiler: add `build-essential` and `python3-dev` to \
                 `build.system_packages` in cog.yaml"
            }
            Self::BuildFailed { text, .. } => {
                const NEEDS: &str = "if it needs libraries or tools to build, add them to `build.system_packages` in cog.yaml";
                let pin = built_pin(text).map_or("it".to_owned(), |pin| format!("`{pin}`"));
                let other = format!(
                    "there is no wheel of {pin} for this Python and platform: choose a newer version of it, or an \
                     older `python_version`"
                );
                return Some(if is_of_older_pythons(text) {
                    other
                } else if built_pin(text).is_some() {
                    format!("{other}; {NEEDS}")
                } else {
                    NEEDS.to_owned()
                });
            }
            Self::DiskFull(_) => "free some space with `cog prune`",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// The Pythons that uv, in `text`, says there are wheels for; nothing if it does not say.
fn pythons_with_wheels(text: &str) -> Option<Vec<String>> {
    let (_, tags) = text.split_once("with the following Python ")?;
    let (_, tags) = tags.split_once(':')?;
    let end = tags.find('\n').unwrap_or(tags.len());
    let mut minors: Vec<(u32, u32)> = tags[..end]
        .split('`')
        .filter_map(|tag| {
            let digits = tag
                .strip_prefix("cp")?
                .trim_end_matches(['m', 'u', 't', 'd']);
            let (major, minor) = digits.split_at_checked(1)?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect();
    minors.sort_unstable();
    minors.dedup();
    let shown = minors
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    Some(shown.collect())
}

/// The distribution of an index that was built from source, as `name==version`.
fn built_pin(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("Failed to build `")?;
    let (pin, _) = after.split_once('`')?;
    (pin.contains("==") && !pin.contains('@')).then_some(pin)
}

/// Whether code of a package counts on what newer Pythons, or what builds packages there, have no more.
fn is_of_older_pythons(text: &str) -> bool {
    let gone = [
        "No module named 'distutils",
        "No module named 'imp'",
        "No module named 'pipes'",
        "No module named 'asyncore'",
        "No module named 'pkg_resources'",
        "has no attribute 'ImpImporter'",
        "has no attribute 'SafeConfigParser'",
        "has no attribute 'readfp'",
        "from 'collections'",
        "use_2to3 is invalid",
        "longintrepr.h",
    ];
    gone.iter().any(|gone| text.contains(gone))
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
