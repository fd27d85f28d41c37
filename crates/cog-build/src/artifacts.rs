//! Requirements whose files are looked at without anything being built.

use std::path::Path;

use cog_config::Config;
use cog_python::requirements::Requirements;

use crate::error::Result;

/// Refuses requirements that could not be built, such as files that are not there or lie outside of the project.
pub fn check_requirements(config: &Config, project_dir: &Path) -> Result<()> {
    let (lines, base_dir) = config.requirement_lines(project_dir)?;
    Requirements::read(
        &lines,
        &base_dir,
        project_dir,
        crate::request::lines_of_file,
    )?;
    Ok(())
}
