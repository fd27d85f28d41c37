//! What a build would do, without doing it: as far as it is known without asking anybody, or with all answers.

use cog_config::{Completed, Implied, Stage};
use serde::Serialize;

use crate::environment;
use crate::error::Result;
use crate::implied::{ImpliedPolicy, Project, Sources};
use crate::lock::Lock;
use crate::plan::BuildPlan;
use crate::request::BuildRequest;

/// What is known of a build from the project alone.
#[derive(Debug, Serialize)]
pub struct Outline {
    /// The project with every default decided.
    pub completed: Completed,
    /// Packages of the distribution that the project's commands, requirements and source imply.
    pub implied: Vec<Implied>,
    /// The steps, lowest first.
    pub steps: Vec<OutlinedStep>,
}

/// A step before the outside world was asked.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum OutlinedStep {
    /// The first of these that its registry has; the Debian base if no registry is reached.
    Base {
        /// Image references, the best first.
        candidates: Vec<String>,
    },
    /// Packages of the distribution that the project implies.
    ImpliedPackages {
        /// Their names.
        packages: Vec<String>,
    },
    /// Packages of the distribution that the project names.
    SystemPackages {
        /// Their names.
        packages: Vec<String>,
    },
    /// The virtual environment.
    PythonPackages {
        /// The requirement lines as they are resolved.
        requirements: Vec<String>,
    },
    /// A command of the project.
    Command {
        /// As it is run.
        command: String,
    },
    /// SDK and server.
    Runtime,
    /// The project's files.
    Source,
}

/// A build with all answers of the outside world.
#[derive(Debug, Serialize)]
pub struct ResolvedOutline {
    /// What is known without them.
    #[serde(flatten)]
    pub outline: Outline,
    /// The answers.
    pub lock: Lock,
    /// All that is done, and all that it depends on.
    pub plan: BuildPlan,
    /// The key of each step of the plan.
    pub keys: Vec<String>,
}

/// The outline of the build of `request`. Nothing outside of the project is asked.
pub fn outline(request: &BuildRequest<'_>) -> Result<Outline> {
    request.check()?;
    let completed = request.complete()?;
    let lines = request.chosen_lines(&completed);
    let implied = match request.implied {
        ImpliedPolicy::Add => {
            let sources = Sources::default();
            let folder = request.project_dir;
            Project::new(folder, request.config, &lines, &sources).on_the_usual_release()?
        }
        ImpliedPolicy::Ignore => Vec::new(),
    };
    let steps = steps(request, &completed, lines, &implied);
    Ok(Outline {
        completed,
        implied,
        steps,
    })
}

/// The outline with a lock and the plan that follows from it. What is asked may take time and be downloaded; nothing is
/// built, except what source distributions need to be resolved.
pub fn resolved_outline(request: &BuildRequest<'_>) -> Result<ResolvedOutline> {
    let outline = outline(request)?;
    let _lease = request.store.lease()?;
    let executor = request.executor();
    let secrets = request.secret_values()?;
    let environment::Planned { lock, plan, .. } =
        environment::plan(request, &outline.completed, &secrets, &executor)?;
    let keys = plan.keys().iter().map(ToString::to_string).collect();
    Ok(ResolvedOutline {
        outline,
        lock,
        plan,
        keys,
    })
}

fn steps(
    request: &BuildRequest<'_>,
    completed: &Completed,
    requirements: Vec<String>,
    implied: &[Implied],
) -> Vec<OutlinedStep> {
    let references = completed
        .bases
        .iter()
        .filter_map(|base| base.reference.clone());
    let mut steps = vec![OutlinedStep::Base {
        candidates: references.collect(),
    }];
    let of_image = implied.iter().filter(|one| one.stage == Stage::Run);
    let packages: Vec<String> = of_image.map(|one| one.package.clone()).collect();
    if !packages.is_empty() {
        steps.push(OutlinedStep::ImpliedPackages { packages });
    }
    let packages = request.config.system_packages().to_vec();
    if !packages.is_empty() {
        steps.push(OutlinedStep::SystemPackages { packages });
    }
    steps.push(OutlinedStep::PythonPackages { requirements });
    let commands = request.config.commands().into_iter();
    steps.extend(commands.map(|one| OutlinedStep::Command {
        command: one.command.trim().to_owned(),
    }));
    steps.extend([OutlinedStep::Runtime, OutlinedStep::Source]);
    steps
}
