//! What a project asks for, as far as the outside world answers it; and how one such question differs from another.

use cog_config::Completed;
use cog_python::requirements::{Requirements, package_name};
use cog_python::uv::public_input;

use crate::base::everywhere;
use crate::request::BuildRequest;
use crate::{BaseChoice, COG_BASE};

/// The question that a lock file answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// The version of Python.
    pub(crate) python: String,
    /// The images to build on, the best first; or `debian`.
    pub(crate) bases: Vec<String>,
    /// The lines that are resolved, without credentials.
    pub(crate) requirements: Vec<String>,
    /// Versions that packages may have.
    pub(crate) constraints: Vec<String>,
    /// Wheels, archives and folders of the project that are installed, each with a checksum.
    pub(crate) files: Vec<String>,
    /// Packages of the distribution that the project names.
    pub(crate) system_packages: Vec<String>,
}

/// What of a lock file an input decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All that is found for a platform.
    Platform,
    /// The base, and all that is installed on it.
    Base,
    /// Python packages.
    Python,
    /// Packages of the distribution.
    System,
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) part: Part,
    /// In words.
    pub(crate) text: String,
}

impl Inputs {
    pub(crate) fn of(
        request: &BuildRequest<'_>,
        completed: &Completed,
        requirements: &Requirements,
    ) -> Self {
        let candidates = completed.bases.iter();
        let bases = match &request.base {
            BaseChoice::Default => candidates
                .filter_map(|base| base.reference.as_deref())
                .map(|reference| everywhere(reference, &request.options))
                .collect(),
            BaseChoice::Debian => vec!["debian".to_owned()],
            BaseChoice::Reference(reference) => vec![everywhere(reference, &request.options)],
        };
        let strict = requirements
            .require_hashes
            .then(|| "--require-hashes".to_owned());
        let lines = public_input(requirements, &completed.python.minor);
        let artifacts = requirements.artifacts.iter();
        let artifacts = artifacts.map(|one| (&one.project_path, &one.sha256));
        let folders = requirements.folders.iter();
        let folders = folders.map(|one| (&one.project_path, &one.sha256));
        Self {
            python: completed.python.version.clone(),
            bases,
            requirements: strict.into_iter().chain(lines).collect(),
            constraints: requirements.public_constraints(),
            files: artifacts
                .chain(folders)
                .map(|(path, sha256)| format!("{} sha256:{sha256}", path.display()))
                .collect(),
            system_packages: request.config.system_packages().to_vec(),
        }
    }
}

/// What is different in `now`, whose requirements are in the file `source`, from what it was when the file `lock` was made.
pub(crate) fn differences(
    before: &Inputs,
    now: &Inputs,
    source: &str,
    lock: &str,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |part, text| found.push(Difference { part, text });
    if before.python != now.python {
        add(
            Part::Base,
            format!(
                "Python is to be {}, and {lock} was made for {}",
                now.python, before.python
            ),
        );
    } else if before.bases != now.bases {
        add(
            Part::Base,
            format!(
                "the base is to be {}, and {lock} was made for {}",
                alternatives(&now.bases),
                alternatives(&before.bases)
            ),
        );
    }
    let lists = [
        (
            Part::Python,
            source,
            &before.requirements,
            &now.requirements,
        ),
        (Part::Python, source, &before.constraints, &now.constraints),
        (
            Part::System,
            "`build.system_packages`",
            &before.system_packages,
            &now.system_packages,
        ),
    ];
    for (part, place, before, now) in lists {
        for text in of_lists(before, now, place, lock) {
            add(part, text);
        }
    }
    for text in of_files(&before.files, &now.files, lock) {
        add(Part::Python, text);
    }
    found
}

/// A text for each file or folder that is new, gone or changed.
fn of_files(before: &[String], now: &[String], lock: &str) -> Vec<String> {
    let path = |line: &String| subject(line);
    let is_in = |line: &String, lines: &[String]| lines.iter().any(|one| path(one) == path(line));
    let mut texts = Vec::new();
    for line in now.iter().filter(|line| !before.contains(line)) {
        let path = path(line);
        texts.push(if is_in(line, before) {
            format!("`{path}` of the project has changed since {lock} was made")
        } else {
            format!("`{path}` of the project is installed, and {lock} was made without it")
        });
    }
    for line in before.iter().filter(|line| !is_in(line, now)) {
        let path = path(line);
        texts.push(format!(
            "`{path}` of the project is no longer installed, and {lock} was made with it"
        ));
    }
    texts
}

fn alternatives(bases: &[String]) -> String {
    let quoted: Vec<String> = bases.iter().map(|one| format!("`{one}`")).collect();
    quoted.join(" or ")
}

/// A text for each line that is new, gone or changed. The order counts too, but only if nothing else does.
fn of_lists(before: &[String], now: &[String], place: &str, lock: &str) -> Vec<String> {
    let mut gone: Vec<&String> = before.iter().filter(|line| !now.contains(line)).collect();
    let new: Vec<&String> = now.iter().filter(|line| !before.contains(line)).collect();
    let mut texts = Vec::new();
    for line in &new {
        let earlier = gone.iter().position(|one| subject(one) == subject(line));
        texts.push(match earlier.map(|at| gone.remove(at)) {
            Some(earlier) => {
                format!("{place} has `{line}`, and {lock} was made with `{earlier}`")
            }
            None => format!("{place} has `{line}`, and {lock} was made without it"),
        });
    }
    texts.extend(
        gone.iter()
            .map(|line| format!("{place} no longer has `{line}`, which {lock} was made with")),
    );
    if texts.is_empty() && before != now {
        let moved = before.iter().zip(now).find(|(before, now)| before != now);
        let line = moved.map_or_else(|| now.last(), |(_, now)| Some(now));
        let line = line.or(before.last()).map_or("", String::as_str);
        texts.push(format!(
            "{place} has `{line}` in another place or number than {lock} was made with"
        ));
    }
    texts
}

/// What two lines have to have in common to be about the same thing.
fn subject(line: &str) -> String {
    if let Some((path, _)) = line.split_once(" sha256:") {
        return path.to_owned();
    }
    package_name(line).unwrap_or_else(|| {
        let word = line.split([' ', '=']).next().unwrap_or(line);
        word.to_owned()
    })
}

/// Whether the command line, and not the project, decides the base.
pub(crate) fn chooses_base(request: &BuildRequest<'_>) -> Option<String> {
    let options = &request.options;
    let flag = if request.base != BaseChoice::Default {
        format!("`--base` or `{COG_BASE}`")
    } else if options.cog_base != cog_config::CogBase::Preferred {
        "`--use-cog-base-image`".to_owned()
    } else if options.cuda_base != cog_config::CudaBase::Auto {
        "`--use-cuda-base-image`".to_owned()
    } else {
        return None;
    };
    Some(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(requirements: &[&str]) -> Inputs {
        Inputs {
            python: "3.11".to_owned(),
            bases: vec!["python:3.11-slim".to_owned()],
            requirements: requirements.iter().map(|&line| line.to_owned()).collect(),
            ..Inputs::default()
        }
    }

    fn told(before: &Inputs, now: &Inputs) -> Vec<String> {
        let found = differences(before, now, "requirements.txt", "cog.lock").into_iter();
        found.map(|one| one.text).collect()
    }

    #[test]
    fn the_line_that_differs_is_named() {
        let before = inputs(&["numpy==1.26.4", "six", "--pre"]);
        assert_eq!(told(&before, &before), [""; 0]);
        assert_eq!(
            told(&before, &inputs(&["numpy==2.0", "--pre", "rich"])),
            [
                "requirements.txt has `numpy==2.0`, and cog.lock was made with `numpy==1.26.4`",
                "requirements.txt has `rich`, and cog.lock was made without it",
                "requirements.txt no longer has `six`, which cog.lock was made with",
            ]
        );
        assert_eq!(
            told(&before, &inputs(&["six", "numpy==1.26.4", "--pre"])),
            ["requirements.txt has `six` in another place or number than cog.lock was made with"]
        );
        assert_eq!(
            told(&before, &inputs(&["numpy==1.26.4", "six", "--pre", "six"])),
            ["requirements.txt has `six` in another place or number than cog.lock was made with"]
        );
    }

    #[test]
    fn other_inputs_are_told_apart() {
        let before = Inputs {
            files: vec!["a.whl sha256:00".to_owned()],
            system_packages: vec!["ffmpeg".to_owned()],
            ..inputs(&[])
        };
        let now = Inputs {
            bases: vec!["debian".to_owned()],
            files: vec!["a.whl sha256:01".to_owned()],
            system_packages: Vec::new(),
            ..inputs(&[])
        };
        assert_eq!(
            told(&before, &now),
            [
                "the base is to be `debian`, and cog.lock was made for `python:3.11-slim`",
                "`build.system_packages` no longer has `ffmpeg`, which cog.lock was made with",
                "`a.whl` of the project has changed since cog.lock was made",
            ]
        );
        let now = Inputs {
            python: "3.12".to_owned(),
            ..before.clone()
        };
        assert_eq!(
            told(&before, &now),
            ["Python is to be 3.12, and cog.lock was made for 3.11"]
        );
    }
}
