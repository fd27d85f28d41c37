//! What carries out a plan.

mod native;

pub(crate) use native::Native;

use crate::error::Result;
use crate::plan::BuildPlan;

/// Something that carries out a plan. It gets the plan and nothing else that decides the result; what it needs to do
/// its work (a store, an engine, secrets' contents) is its own.
pub trait Backend {
    /// What comes of it.
    type Output;

    /// Does the steps of `plan`, lowest first.
    fn execute(&self, plan: &BuildPlan) -> Result<Self::Output>;
}
