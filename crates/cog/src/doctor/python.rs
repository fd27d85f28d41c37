//! The Python of this machine. Containers bring their own; the host engine and editors use this one.

use super::ask::ask;
use super::finding::Finding;
use super::subject::Subject;

/// Names by which it is looked for.
const PROGRAMS: [&str; 2] = ["python3", "python"];

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let Ok(loaded) = &subject.loaded else {
        return Vec::new();
    };
    let wanted = loaded.config.python_version().unwrap_or_default();
    compare(local().as_deref(), wanted)
        .map(|finding| match subject.line("build.python_version") {
            Some(line) => finding.at(subject.config_name(), line),
            None => finding,
        })
        .into_iter()
        .collect()
}

fn local() -> Option<String> {
    PROGRAMS.iter().find_map(|program| {
        let said = ask(program, &["--version"])?;
        Some(said.trim().strip_prefix("Python ")?.to_owned())
    })
}

/// Only major and minor count.
fn compare(local: Option<&str>, wanted: &str) -> Option<Finding> {
    let Some(local) = local else {
        let finding = Finding::warning("Python not found in PATH");
        return Some(finding.with_remediation(
            "Install Python if you use `--engine host`; containers bring their own",
        ));
    };
    let minor = |version: &str| {
        let mut parts = version.split('.');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    let differ = minor(wanted).is_some_and(|wanted| minor(local) != Some(wanted));
    differ.then(|| {
        let message = format!("local Python is {local} but cog.yaml specifies {wanted}");
        Finding::warning(message).with_remediation(
            "Nothing has to be done for models in containers; `--engine host` takes the version that is nearest",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_and_minor_are_compared() {
        let said = |local, wanted| compare(local, wanted).map(|finding| finding.to_string());
        assert_eq!(said(Some("3.11.4"), "3.11"), None);
        assert_eq!(said(Some("3.11.4"), "3.11.9"), None);
        assert_eq!(said(Some("3.11.4"), ""), None);
        assert_eq!(
            said(Some("3.13.0"), "3.1").as_deref(),
            Some("local Python is 3.13.0 but cog.yaml specifies 3.1")
        );
        assert_eq!(
            said(None, "3.1").as_deref(),
            Some("Python not found in PATH")
        );
    }
}
