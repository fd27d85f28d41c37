//! From the configuration to a [`Lock`]: everything that is asked of the outside world is asked here.

use cog_config::Completed;
use cog_image::Layer;

use crate::backend::{Backend as _, Native};
use crate::base::{self, LockedBase};
use crate::certificate::{COG_CA_CERT, Certificates};
use crate::error::Result;
use crate::lock::Lock;
use crate::plan::{BuildPlan, Implied};
use crate::request::BuildRequest;
use crate::steps::{python_packages, runtime};

/// Asks for all that an image of the project of `request` depends on.
pub(crate) fn resolve(
    request: &BuildRequest<'_>,
    completed: &Completed,
    native: &Native<'_>,
    implied: &Implied,
) -> Result<Lock> {
    let workshop = native.workshop;
    let requirements = request.requirements(completed, workshop)?;
    let certificates = Certificates::read(&std::env::var(COG_CA_CERT).unwrap_or_default())?;
    let base = base::resolve(workshop, &request.base, completed)?;
    let python = python_packages::lock_for_image(workshop, &base, &requirements, || {
        foundation(request, native, &base, certificates.as_ref(), implied)
    })?;
    Ok(Lock {
        base,
        certificates,
        python,
        runtime: runtime::lock(workshop, &native.server)?,
    })
}

/// What source distributions are built over: all that comes before Python's packages.
fn foundation(
    request: &BuildRequest<'_>,
    native: &Native<'_>,
    base: &LockedBase,
    certificates: Option<&Certificates>,
    implied: &Implied,
) -> Result<Vec<Layer>> {
    let settings = native.workshop.plan_settings();
    let plan = BuildPlan::foundation(request.config, base, certificates, implied, settings.layers);
    let outputs = native.execute(&plan)?;
    let above = outputs.into_iter().flat_map(|output| output.layers);
    Ok(base.layers.iter().cloned().chain(above).collect())
}
