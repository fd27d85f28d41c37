//! From the configuration to [`Answers`]: everything that is asked of the outside world is asked here, unless it is known
//! from a lock file.

use cog_config::Completed;
use cog_engine::GpuHost;
use cog_image::Layer;
use cog_python::accelerator::{FrameworkBuild, torch_build};
use cog_python::requirements::Requirements;
use cog_python::uv::{Unreachable, UvError};

use crate::architecture::Architecture;
use crate::backend::{Backend as _, Native};
use crate::base::{self, Ground, LockedBase};
use crate::certificate::Certificates;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::foreign;
use crate::gpu::{self, BaseCuda};
use crate::implied::{self, Project, Sources};
use crate::lock::{Answers, LockedPython, LockedSystem};
use crate::lock_file::Inputs;
use crate::locking::Known;
use crate::plan::{BuildPlan, BuildTools, ImpliedPackages};
use crate::request::{BuildRequest, TorchIndex};
use crate::steps::build_tools;
use crate::steps::python_packages::{self, Earlier};

/// A project that is to be built, and what it takes to find out of what.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) request: &'a BuildRequest<'a>,
    pub(crate) completed: &'a Completed,
    pub(crate) native: &'a Native<'a>,
    /// The requirements that are resolved.
    pub(crate) requirements: &'a Requirements,
    pub(crate) sources: &'a Sources,
}

impl<'a> Question<'a> {
    /// The project's own words and files.
    pub(crate) fn project(&self) -> Project<'a> {
        let Self {
            request, completed, ..
        } = *self;
        Project::new(
            request.project_dir,
            request.config,
            &completed.requirements,
            self.sources,
        )
    }

    /// For what.
    pub(crate) fn architecture(&self) -> Architecture {
        self.native.executor.architecture
    }

    /// What is asked, as lock files say it.
    pub(crate) fn inputs(&self) -> Inputs {
        Inputs::of(self.request, self.completed, self.requirements)
    }

    /// The same with PyTorch from the index that it has by itself, where a flag says another one.
    pub(crate) fn inputs_by_cuda(&self) -> Result<Option<Inputs>> {
        if self.request.torch_index == TorchIndex::ByCuda {
            return Ok(None);
        }
        let lines = &self.completed.requirements;
        let requirements = self.request.read_requirements(lines)?;
        let inputs = Inputs::of(self.request, self.completed, &requirements);
        Ok(Some(inputs))
    }
}

/// Asks for all that an image of the project of `question` depends on, and is not `known`.
pub(crate) fn resolve(
    question: &Question<'_>,
    known: &Known,
) -> Result<(Answers, ImpliedPackages)> {
    let Question {
        request,
        completed,
        native,
        requirements,
        ..
    } = *question;
    let executor = native.executor;
    let certificates = Certificates::of_environment()?;
    let project = question.project();
    let base = match &known.base {
        Some(pinned) => base::resolve_pinned(executor, pinned, completed),
        None => base::resolve(executor, &request.base, completed),
    };
    let base = base.map_err(|error| {
        foreign::with_own_words(error, request.config, || {
            let (packages, _) = project.on(Ground::default(), None, request.implied)?;
            Ok(packages)
        })
    })?;
    let lock = |requirements: &Requirements| {
        let earlier = Earlier {
            preferred: &known.preferred,
            refresh: known.refresh,
        };
        python_packages::lock_for_image(executor, &base, requirements, earlier, || {
            let (implied, _) = project.on(base.ground(), None, request.implied)?;
            foundation(request, native, &base, certificates.as_ref(), &implied)
        })
    };
    let asked = match &known.python {
        Some(pins) => Ok(pins.answer(requirements)),
        None => lock(requirements),
    };
    let python = match asked {
        Err(BuildError::Uv(UvError::Unreachable(source)))
            if request.torch_index == TorchIndex::ByCuda && completed.uses_torch_index() =>
        {
            let lines = completed.requirements_on_default_index();
            let instead = lock(&request.read_requirements(&lines)?);
            let instead = instead
                .ok()
                .and_then(|python| torch_build(&python.resolution));
            return Err(unreachable_torch(*source, instead));
        }
        // What else takes programs of another platform is told with what is wrong here.
        result if !executor.architecture.is_host() => result,
        result => Ok(result?),
    };
    let resolution = python.as_ref().ok().map(|python| &python.resolution);
    let (packages, found) = project.on(base.ground(), resolution, request.implied)?;
    let named = packages.named(request.config, base.has_common_packages());
    let python = foreign::check(executor, request.config, &packages, &named, python)?;
    tell_of_gpu(executor, completed, &base, &python)?;
    implied::tell(executor, &found, &packages.renamed);
    let answers = Answers {
        base,
        certificates,
        system: known.versions(&packages.image, &named),
        python,
    };
    Ok((answers, packages))
}

/// What source distributions are built over: all that comes before Python's packages.
fn foundation(
    request: &BuildRequest<'_>,
    native: &Native<'_>,
    base: &LockedBase,
    certificates: Option<&Certificates>,
    implied: &ImpliedPackages,
) -> Result<Vec<Layer>> {
    let settings = native.executor.plan_settings();
    let plan = BuildPlan::foundation(
        request.config,
        base,
        certificates,
        implied,
        &LockedSystem::default(),
        settings.layers,
    );
    let outputs = native.execute(&plan)?;
    let above = outputs.into_iter().flat_map(|output| output.layers);
    let layers: Vec<Layer> = base.layers.iter().cloned().chain(above).collect();
    let tools = BuildTools {
        packages: implied.source_tools.clone(),
        release: base.debian.clone(),
    };
    build_tools::beneath(native.executor, &tools, base, &layers)
}

/// The error for an index of PyTorch's that is not reached, with what the default index has.
fn unreachable_torch(source: Unreachable, instead: Option<FrameworkBuild>) -> BuildError {
    let instead = instead.map(|torch| {
        let cuda = torch.cuda().map_or(String::new(), |(major, minor)| {
            format!(" built for CUDA {major}.{minor}")
        });
        format!("torch {}{cuda}", torch.version)
    });
    BuildError::TorchIndex {
        instead,
        source: Box::new(UvError::Unreachable(Box::new(source))),
    }
}

/// Says once what may keep the packages from using the GPU.
fn tell_of_gpu(
    executor: &Executor<'_>,
    completed: &Completed,
    base: &LockedBase,
    python: &LockedPython,
) -> Result<()> {
    let mut variables = base.environment.iter();
    let has_cuda = if variables.any(|(name, _)| name == "CUDA_VERSION") {
        BaseCuda::Yes
    } else {
        BaseCuda::No
    };
    // Images for another platform are not run here.
    let driver = executor.architecture.is_host();
    let driver = driver
        .then(|| GpuHost::of_this_machine().driver())
        .flatten();
    for warning in gpu::warnings(completed, &python.resolution, has_cuda, driver.as_ref()) {
        executor.warn_once_in_project("the gpu", &warning)?;
    }
    Ok(())
}
