//! cog.yaml: whether it is YAML, whether it says what can be, and what of it is old.

use cog_config::{CogBase, ConfigError, Options, Warning, complete};
use cog_errors::{Colour, Hint as _, render};

use super::finding::Finding;
use super::subject::Subject;

/// Whether it is YAML.
pub(super) fn syntax(subject: &Subject) -> Vec<Finding> {
    let name = subject.config_name();
    match &subject.loaded {
        Err(ConfigError::Syntax {
            detail, location, ..
        }) => {
            let finding = Finding::error(format!("{name} has invalid YAML: {detail}"));
            vec![finding.at(name, location.map(|location| location.line))]
        }
        _ => Vec::new(),
    }
}

/// Whether it says what can be; what it says in vain is told, too.
pub(super) fn rules(subject: &Subject) -> Vec<Finding> {
    let name = subject.config_name();
    let (problems, warnings) = match &subject.loaded {
        Err(ConfigError::Syntax { .. }) => return Vec::new(),
        Err(ConfigError::Invalid {
            problems, ignored, ..
        }) => (problems.as_slice(), ignored),
        Err(other) => {
            let why = render(other, other.hint().as_deref(), Colour::Off);
            return vec![Finding::error(format!("{name} validation failed: {why}")).at(name, None)];
        }
        Ok(loaded) => (&[][..], &loaded.warnings),
    };
    let problem = |problem: &cog_config::Problem| {
        let finding = Finding::error(format!("{name} validation failed: {}", problem.message))
            .at(name, problem.location.map(|location| location.line));
        match &problem.hint {
            Some(hint) => finding.with_remediation(hint.clone()),
            None => finding,
        }
    };
    let warning = |warning: &Warning| {
        let line = match warning {
            Warning::Deprecated { .. } => return None,
            Warning::Unknown { location, .. } => Some(location.line),
            Warning::Empty { .. } => None,
        };
        Some(Finding::warning(warning.to_string()).at(name, line))
    };
    let told = problems.iter().map(problem);
    told.chain(warnings.iter().filter_map(warning)).collect()
}

/// Fields that have a successor. `predict` is told with all that belongs to it.
pub(super) fn deprecated(subject: &Subject) -> Vec<Finding> {
    let Ok(loaded) = &subject.loaded else {
        return Vec::new();
    };
    let name = subject.config_name();
    let found = loaded.warnings.iter().filter_map(|warning| match warning {
        Warning::Deprecated { field, replacement } if *field != "predict" => {
            let line = subject.line(field).or_else(|| subject.line("concurrency"));
            let message =
                format!("\"{field}\" is deprecated: \"{replacement}\" has taken its place");
            let finding = Finding::warning(message).at(name, line);
            Some(finding.with_remediation(format!("Use \"{replacement}\" instead")))
        }
        _ => None,
    });
    found.collect()
}

/// Whether versions of Python packages and CUDA can be decided as cog.yaml has them.
pub(super) fn versions(subject: &Subject) -> Vec<Finding> {
    let Ok(loaded) = &subject.loaded else {
        return Vec::new();
    };
    let name = subject.config_name();
    let options = Options {
        cog_base: CogBase::Off,
        ..Options::default()
    };
    let lines = match loaded.config.requirement_lines(&subject.file.directory) {
        Ok((lines, _)) => lines,
        Err(error) => {
            let why = render(&error, None, Colour::Off);
            let finding = Finding::error(why).at(name, subject.line("build.python_requirements"));
            return vec![match error.hint() {
                Some(hint) => finding.with_remediation(hint),
                None => finding,
            }];
        }
    };
    match complete(&loaded.config, &lines, &options) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let finding = Finding::error(render(&error, None, Colour::Off));
            let finding = finding.at(name, subject.line("build"));
            vec![match error.hint() {
                Some(hint) => finding.with_remediation(hint),
                None => finding,
            }]
        }
    }
}
