//! The rules that types can't express, in the order in which they are reported.

use std::path::Path;

use crate::config::{Build, Config, PythonVersion};
use crate::error::{Location, PYTHON_PACKAGES, Problem, Warning};
use crate::parse::{Draft, Text};
use crate::project::Files;
use crate::version::Version;
use crate::{advice, cuda, environment, reference, requirements, weights};

const OLDEST_PYTHON: (u32, u32) = (3, 10);
const TOO_OLD: &str = "minimum supported Python version is 3.10";
const OLDEST_CUDA: u32 = 11;
/// Python below this can't run several predictions at once.
const CONCURRENT_PYTHON: (u32, u32) = (3, 11);

/// All problems, and the configuration as far as it makes sense.
pub(crate) fn check(draft: &Draft, files: &dyn Files) -> (Config, Vec<Problem>) {
    let mut problems = Problems::default();
    let runner = problems.runner(draft);
    let train = problems.reference("train", "train.py:Trainer", draft.train.as_ref());
    let build = draft
        .build
        .as_ref()
        .map(|(build, location)| problems.build(build, *location, draft, files));
    let environment = environment::read(&draft.environment, &mut problems.0);
    let concurrency_max = problems.concurrency(draft, build.as_ref());
    problems.model(draft);
    let weights = weights::check(draft, &mut problems.0);
    let text = |text: &Option<Text>| {
        text.as_ref()
            .map(|text| text.text.clone())
            .filter(|text| !text.is_empty())
    };
    let config = Config {
        build,
        image: text(&draft.image),
        model: text(&draft.model),
        runner,
        train,
        concurrency_max,
        environment,
        weights,
    };
    (config, problems.0)
}

pub(crate) fn deprecations(draft: &Draft) -> Vec<Warning> {
    let used = |text: &Option<Text>| text.as_ref().is_some_and(|text| !text.text.is_empty());
    let build =
        |test: fn(&Build) -> bool| draft.build.as_ref().is_some_and(|(build, _)| test(build));
    [
        (used(&draft.predict), "predict", "run"),
        (
            draft.concurrency_max.is_some(),
            "concurrency.max",
            "@cog.concurrent(max=...)",
        ),
        (
            build(|build| !build.python_packages.is_empty()),
            PYTHON_PACKAGES,
            "build.python_requirements",
        ),
        (
            build(|build| !build.pre_install.is_empty()),
            "build.pre_install",
            "build.run",
        ),
    ]
    .into_iter()
    .filter(|(deprecated, ..)| *deprecated)
    .map(|(_, field, replacement)| Warning::Deprecated { field, replacement })
    .collect()
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, message: impl Into<String>, location: Option<Location>) {
        self.0.push(Problem {
            message: message.into(),
            location,
            hint: None,
        });
    }

    fn invalid(&mut self, field: &str, value: &str, message: &str, location: Option<Location>) {
        self.add(format!("invalid {field} \"{value}\": {message}"), location);
    }

    /// Says what to do about the latest problem.
    fn hint(&mut self, hint: String) {
        if let Some(problem) = self.0.last_mut() {
            problem.hint = Some(hint);
        }
    }

    fn runner(&mut self, draft: &Draft) -> Option<String> {
        let filled = |text: &Option<Text>| text.clone().filter(|text| !text.text.is_empty());
        match (filled(&draft.run), filled(&draft.predict)) {
            (Some(run), Some(_)) => {
                self.add(
                    "invalid run: only one of run or predict can be set",
                    Some(run.location),
                );
                None
            }
            (Some(run), None) => self.reference("run", "run.py:Runner", Some(&run)),
            (None, predict) => self.reference("predict", "predict.py:Predictor", predict.as_ref()),
        }
    }

    fn reference(&mut self, field: &str, example: &str, text: Option<&Text>) -> Option<String> {
        let text = text.filter(|text| !text.text.is_empty())?;
        if text.text.matches(".py:").count() == 1 {
            return Some(text.text.clone());
        }
        self.invalid(
            field,
            &text.text,
            &format!("must be in the form '{example}'"),
            Some(text.location),
        );
        None
    }

    fn build(
        &mut self,
        build: &Build,
        location: Location,
        draft: &Draft,
        files: &dyn Files,
    ) -> Build {
        let mut build = build.clone();
        build.python_requirements = build.python_requirements.filter(|file| !file.is_empty());
        let lines = requirement_lines(&build, files);
        if let Some(version) = self.python(draft, location, &lines) {
            build.python_version = version;
        }
        self.requirements(&build, draft, files);
        if let Some(cuda) = build.cuda.clone().filter(|cuda| !cuda.is_empty()) {
            self.cuda(&cuda, &build, &lines, draft);
        }
        build
    }

    fn python(
        &mut self,
        draft: &Draft,
        build: Location,
        lines: &[String],
    ) -> Option<PythonVersion> {
        let text = draft.python_version.as_ref();
        let Some(text) = text.filter(|text| !text.text.trim().is_empty()) else {
            // One that is of the wrong type is reported as such.
            if draft.mistyped_python {
                return None;
            }
            self.add(
                "invalid build.python_version: python_version is required. Add it to the build section of your \
                 cog.yaml, e.g. `python_version: \"3.13\"`",
                Some(build),
            );
            return None;
        };
        match python_version(&text.text) {
            Ok(version) => Some(version),
            Err(message) => {
                self.invalid(
                    "build.python_version",
                    &text.text,
                    message,
                    Some(text.location),
                );
                if message == TOO_OLD {
                    self.hint(advice::newer_python(lines));
                }
                None
            }
        }
    }

    fn requirements(&mut self, build: &Build, draft: &Draft, files: &dyn Files) {
        let Some(file) = build.python_requirements.as_deref() else {
            return;
        };
        if !build.python_packages.is_empty() {
            self.add(
                "invalid build: only one of python_packages or python_requirements can be set, not both",
                draft.place("python_packages"),
            );
        }
        if !files.exists(file) {
            self.invalid(
                "build.python_requirements",
                file,
                "file does not exist",
                draft.place("python_requirements"),
            );
        }
    }

    fn cuda(&mut self, cuda: &str, build: &Build, lines: &[String], draft: &Draft) {
        let location = draft.place("cuda");
        if let Some(message) = cuda_problem(cuda) {
            self.invalid("build.cuda", cuda, message, location);
        }
        if !build.gpu {
            return;
        }
        let cudnn = build.cudnn.as_deref().filter(|cudnn| !cudnn.is_empty());
        if let Some(message) = cudnn.and_then(|cudnn| cudnn_problem(cuda, cudnn)) {
            self.add(message, draft.place("cudnn"));
        }
        if let Some(message) = tensorflow_problem(cuda, lines) {
            self.add(message, location);
        }
    }

    fn concurrency(&mut self, draft: &Draft, build: Option<&Build>) -> Option<u32> {
        let (max, location) = draft.concurrency_max?;
        let version = build.map(|build| (build.python_version.major, build.python_version.minor));
        let old =
            version.is_some_and(|version| version >= OLDEST_PYTHON && version < CONCURRENT_PYTHON);
        if max < 1 {
            self.invalid(
                "concurrency.max",
                &max.to_string(),
                "must be at least 1",
                Some(location),
            );
        } else if max > 1 && old {
            let message = "concurrency requires Python 3.11 or higher";
            self.invalid("concurrency.max", &max.to_string(), message, Some(location));
            self.hint("write `python_version: \"3.11\"`, or a newer one".to_owned());
        }
        u32::try_from(max).ok().filter(|max| *max > 0)
    }

    fn model(&mut self, draft: &Draft) {
        let Some(model) = draft.model.as_ref().filter(|model| !model.text.is_empty()) else {
            return;
        };
        if draft
            .image
            .as_ref()
            .is_some_and(|image| !image.text.is_empty())
        {
            self.add(
                "invalid model: 'model' and 'image' cannot both be set",
                Some(model.location),
            );
        }
        if let Err(message) = reference::bare_repository(&model.text) {
            self.invalid("model", &model.text, &message, Some(model.location));
        }
    }
}

fn python_version(text: &str) -> Result<PythonVersion, &'static str> {
    let text = text.trim();
    let mut parts = text.split('.');
    let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
        return Err("must include major and minor version (e.g., '3.11')");
    };
    let major = major.parse().map_err(|_| "invalid major version number")?;
    let minor = minor.parse().map_err(|_| "invalid minor version number")?;
    if (major, minor) < OLDEST_PYTHON {
        return Err(TOO_OLD);
    }
    Ok(PythonVersion {
        major,
        minor,
        text: text.to_owned(),
    })
}

fn cuda_problem(text: &str) -> Option<&'static str> {
    let Some((major, _)) = text.split_once('.') else {
        return Some("must include both major and minor versions (e.g., '11.8')");
    };
    match major.parse::<u32>() {
        Err(_) => Some("invalid major version number"),
        Ok(major) if major < OLDEST_CUDA => Some("minimum supported CUDA version is 11"),
        Ok(_) => None,
    }
}

/// What is incompatible between the two, if base images have this CUDA at all.
fn cudnn_problem(cuda: &str, cudnn: &str) -> Option<String> {
    let offered = cuda::cudnns_of_cuda(&Version::parse(cuda)?);
    let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
    let known = !offered.is_empty() && !offered.iter().any(|one| one == cudnn);
    known.then(|| {
        format!(
            "CUDA {cuda} is incompatible with CuDNN {cudnn}: compatible CuDNN versions are: {}",
            offered.join(", ")
        )
    })
}

fn tensorflow_problem(cuda: &str, lines: &[String]) -> Option<String> {
    let mut lines = lines.iter();
    let line = lines.find(|line| requirements::name(line) == Some("tensorflow"))?;
    let version = requirements::exact_pin(line)?;
    let row = cuda::tensorflow_row(&Version::parse(&version)?)?;
    let fits = cuda.starts_with(&row.cuda.major.to_string());
    (!fits).then(|| {
        format!(
            "TensorFlow {version} is incompatible with CUDA {cuda}: TensorFlow {version} requires CUDA {}",
            row.cuda
        )
    })
}

/// The requirement lines, as far as they can be read.
fn requirement_lines(build: &Build, files: &dyn Files) -> Vec<String> {
    let file = build.python_requirements.as_deref();
    let Some((file, text)) = file.and_then(|file| Some((file, files.read(file)?))) else {
        return requirements::lines(&build.python_packages.join("\n"));
    };
    let beside = |name: &str| files.read(Path::new(file).with_file_name(name).to_str()?);
    requirements::lines_of(file, &text, beside).unwrap_or_default()
}
