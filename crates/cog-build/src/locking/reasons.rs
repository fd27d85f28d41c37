//! Why a lock file says what it says, in words.

use cog_python::accelerator::{FrameworkBuild, Source, Target, torch_build};

use crate::base::{Origin, PinnedBase, everywhere};
use crate::lock::Answers;
use crate::lock_file::{Decided, Inputs, LockFile};
use crate::resolve::Question;

/// What is known of torch from where its files are, which a lock file does not say.
const TORCH: &str = "torch build";

/// What was decided for the project from the tables.
pub(super) fn of_project(question: &Question<'_>) -> Vec<Decided> {
    let decisions = question.completed.decisions.iter();
    let decided = decisions.map(|one| Decided {
        subject: one.subject.to_owned(),
        value: everywhere(&one.value, &question.request.options),
        reason: one.reason.clone(),
    });
    decided.collect()
}

/// What followed for a platform from what was found. `old` is a file with the same Python packages.
pub(super) fn of_platform(
    question: &Question<'_>,
    base: &PinnedBase,
    answers: &Answers,
    old: Option<&LockFile>,
) -> Vec<Decided> {
    let known = old.and_then(|old| {
        let part = old.platform(question.native.executor.architecture)?;
        // Files that were made by earlier versions say it for all platforms.
        let mut decisions = part.decisions.iter().chain(&old.decisions);
        decisions.find(|one| one.subject == TORCH)
    });
    let torch = match known {
        Some(known) => Some(known.clone()),
        None => torch_build(&answers.python.resolution).map(|torch| of_torch(&torch)),
    };
    let base = Decided {
        subject: "base taken".to_owned(),
        value: base.name(),
        reason: of_base(base, &question.inputs()).to_owned(),
    };
    std::iter::once(base).chain(torch).collect()
}

fn of_base(base: &PinnedBase, inputs: &Inputs) -> &'static str {
    let wanted = inputs.bases.iter();
    let place = wanted.clone().position(|one| *one == base.name());
    match (&base.origin, place) {
        (Origin::Debian(_), _) if wanted.eq(["debian"]) => "it is asked for",
        (Origin::Debian(_), _) => "no registry could be reached for those that are wanted",
        (Origin::Image { .. }, Some(0)) if inputs.bases.len() == 1 => "it is asked for",
        (Origin::Image { .. }, Some(0)) => "the first that is wanted",
        (Origin::Image { .. }, _) => "the first of those wanted that there is",
    }
}

fn of_torch(torch: &FrameworkBuild) -> Decided {
    let target = match &torch.target {
        Target::Cpu => "the CPU alone".to_owned(),
        Target::Cuda(Some((major, minor))) => format!("CUDA {major}.{minor}"),
        Target::Cuda(None) => "CUDA".to_owned(),
        Target::Rocm(version) => format!("ROCm {version}"),
        Target::Other(other) => other.clone(),
        Target::Unknown => "unknown hardware".to_owned(),
    };
    let reason = match &torch.source {
        Source::LocalVersion(_) => "its version says so".to_owned(),
        Source::Library(name) => format!("`{name}` comes with it"),
        Source::Index(_) => "the index that it is from says so".to_owned(),
        Source::Convention => "what the public index has under this version".to_owned(),
    };
    Decided {
        subject: TORCH.to_owned(),
        value: format!("{} for {target}", torch.version),
        reason,
    }
}
