//! `cog doctor`: what is wrong with a project or with this machine, and what of it can be mended at once.
//!
//! Each check has a file of its own. It looks at a [`Subject`] and gives [`Finding`]s; some can mend what they find, and
//! then the project is read anew, so that later checks see it as it is. Only the files that cog.yaml names are looked at.

mod annotations;
mod ask;
mod config;
mod engine;
mod finding;
mod gpu;
mod imports;
mod inputs;
mod interface;
mod pydantic;
mod python;
mod reference;
mod report;
mod subject;

use anyhow::bail;

use crate::args::DoctorArgs;
use crate::outputs::pretty;
use crate::session::Session;
use finding::Finding;
use report::Report;
use subject::Subject;

/// What a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Config,
    Python,
    Environment,
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Self::Config => "Config",
            Self::Python => "Python",
            Self::Environment => "Environment",
        }
    }
}

/// Something that is looked at.
struct Check {
    group: Group,
    title: &'static str,
    find: fn(&Subject) -> Vec<Finding>,
    /// Mends what was found, or says why not; then nothing was changed.
    fix: Option<fn(&Subject) -> anyhow::Result<()>>,
}

/// In the order in which they are made.
const CHECKS: [Check; 13] = [
    Check {
        group: Group::Config,
        title: "Config parsing",
        find: config::syntax,
        fix: None,
    },
    Check {
        group: Group::Config,
        title: "Config schema",
        find: config::rules,
        fix: None,
    },
    Check {
        group: Group::Config,
        title: "Deprecated predict interface names",
        find: interface::find,
        fix: Some(interface::fix),
    },
    Check {
        group: Group::Config,
        title: "Deprecated fields",
        find: config::deprecated,
        fix: None,
    },
    Check {
        group: Group::Config,
        title: "Versions",
        find: config::versions,
        fix: None,
    },
    Check {
        group: Group::Python,
        title: "Predict reference",
        find: reference::find,
        fix: None,
    },
    Check {
        group: Group::Python,
        title: "Pydantic BaseModel workaround",
        find: pydantic::find,
        fix: Some(pydantic::fix),
    },
    Check {
        group: Group::Python,
        title: "Deprecated imports",
        find: imports::find,
        fix: Some(imports::fix),
    },
    Check {
        group: Group::Python,
        title: "Type annotations",
        find: annotations::find,
        fix: None,
    },
    Check {
        group: Group::Python,
        title: "Inputs and output",
        find: inputs::find,
        fix: None,
    },
    Check {
        group: Group::Environment,
        title: "Engine",
        find: engine::find,
        fix: None,
    },
    Check {
        group: Group::Environment,
        title: "Python version",
        find: python::find,
        fix: None,
    },
    Check {
        group: Group::Environment,
        title: "GPU compatibility",
        find: gpu::find,
        fix: None,
    },
];

pub(crate) fn doctor(session: &Session<'_>, args: &DoctorArgs) -> anyhow::Result<()> {
    let file = cog_config::find(session.directory(), &args.project.file)?;
    let report = Report::begin(session.printer, args.fix);
    let report = checked(&file, &CHECKS, report, args.fix)?;
    let document = args.json.then(|| report.as_json());
    let has_found = report.end();
    if let Some(document) = document {
        let text = format!("{}\n", pretty(&document)?);
        session.printer.result("the report", &text)?;
    }
    if has_found {
        bail!("doctor found issues");
    }
    Ok(())
}

fn checked<'p>(
    file: &cog_config::ProjectFile,
    checks: &[Check],
    mut report: Report<'p>,
    mends: bool,
) -> anyhow::Result<Report<'p>> {
    let mut subject = Subject::read(file)?;
    let mut group = None;
    for check in checks {
        if group.replace(check.group) != Some(check.group) {
            report.group(check.group.title());
        }
        let found = (check.find)(&subject);
        let fix = check.fix.filter(|_| mends && !found.is_empty());
        match fix.map(|fix| fix(&subject)) {
            None => report.found(check, &found),
            Some(Err(why)) => report.refused(check, &found, &why),
            Some(Ok(())) => {
                subject = Subject::read(file)?;
                let left = (check.find)(&subject);
                report.fixed(check, &found, &left);
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
