//! Whether anything on this machine can run a model: containers of our own, a daemon, or at least a Python.

use cog_engine::{KernelProbe, Probe};
use cog_errors::{Colour, Hint as _, render};

use super::ask::ask;
use super::finding::Finding;
use super::subject::{Subject, is_set};

const SKIP: &str = "COG_SKIP_DOCKER_CHECK";
const ENGINE: &str = "COG_ENGINE";

/// The oldest Python that the host engine runs models with.
const OLDEST_MINOR: u32 = 10;

pub(super) fn find(_: &Subject) -> Vec<Finding> {
    if is_set(SKIP) {
        return Vec::new();
    }
    let chosen = std::env::var(ENGINE).unwrap_or_default();
    check(&chosen, &KernelProbe, has_python)
        .into_iter()
        .collect()
}

/// `chosen` is the engine that the environment asks for, if it does.
fn check(chosen: &str, probe: &dyn Probe, has_python: impl Fn() -> bool) -> Option<Finding> {
    let daemon = || {
        probe.daemon().err().map(|error| {
            let why = render(&error, None, Colour::Off);
            (why, error.hint())
        })
    };
    match chosen {
        "docker" => daemon().map(|(why, hint)| {
            let finding = Finding::error(format!("Docker is not available: {why}"));
            finding.with_remediation(
                hint.unwrap_or_else(|| format!("Start Docker or Podman, or unset {ENGINE}")),
            )
        }),
        "host" => (!has_python()).then(no_python),
        "embedded" => probe.containers().err().map(|why| {
            let finding = Finding::error(format!("containers cannot be run here: {why}"));
            finding.with_remediation(remedy(&why))
        }),
        _ => {
            let why = probe.containers().err()?;
            let (no_daemon, _) = daemon()?;
            let remedy = format!("{}; or start Docker or Podman", remedy(&why));
            let finding = if has_python() {
                Finding::warning(format!(
                    "models run on the host, without a container: {why}; {no_daemon}"
                ))
            } else {
                Finding::error(format!(
                    "nothing here can run a model. No containers: {why}. No daemon: {no_daemon}. No Python 3.{OLDEST_MINOR} or newer"
                ))
            };
            Some(finding.with_remediation(remedy))
        }
    }
}

fn no_python() -> Finding {
    let message = format!("no Python 3.{OLDEST_MINOR} or newer was found for `--engine host`");
    Finding::error(message).with_remediation("Install one, for example with `uv python install`")
}

/// What makes containers possible, by what is in their way.
fn remedy(why: &str) -> &'static str {
    const REMEDIES: [(&str, &str); 5] = [
        (
            "max_user_namespaces",
            "As root: `sysctl -w user.max_user_namespaces=15000`",
        ),
        (
            "unprivileged_userns_clone",
            "As root: `sysctl -w kernel.unprivileged_userns_clone=1`",
        ),
        (
            "no rights",
            "As root: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor profile for cog that has `userns`",
        ),
        (
            "overlay",
            "As root: `modprobe overlay`; without root, Linux 5.11 or newer is needed",
        ),
        ("need Linux", "Use Docker or Podman: `--engine docker`"),
    ];
    let known = REMEDIES.iter().find(|(word, _)| why.contains(word));
    known.map_or(
        "Allow user namespaces; in a container, start it with `--privileged` or `--security-opt seccomp=unconfined`",
        |(_, remedy)| remedy,
    )
}

fn has_python() -> bool {
    let code = format!("import sys; sys.exit(sys.version_info < (3, {OLDEST_MINOR}))");
    ["python3", "python"]
        .iter()
        .any(|program| ask(program, &["-I", "-c", &code]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cog_engine::docker::{Daemon, DockerError};

    struct Machine(Result<(), &'static str>);

    impl Probe for Machine {
        fn containers(&self) -> Result<(), String> {
            self.0.map_err(str::to_owned)
        }

        fn daemon(&self) -> Result<Daemon, DockerError> {
            Err(DockerError::Ping {
                address: "unix:///x".into(),
                reason: "no such socket".into(),
            })
        }
    }

    const ABLE: Machine = Machine(Ok(()));
    const UNABLE: Machine = Machine(Err(
        "user namespaces are disabled (`user.max_user_namespaces` is 0)",
    ));

    #[test]
    fn one_engine_is_enough() {
        assert_eq!(check("", &ABLE, || false), None);
        assert_eq!(check("auto", &ABLE, || false), None);
        assert_eq!(check("host", &UNABLE, || true), None);
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let host = check("", &UNABLE, || true).unwrap();
        assert_eq!(host.severity, super::super::finding::Severity::Warning);
        let told = host.to_string();
        assert!(
            told.contains("without a container") && told.contains("no such socket"),
            "{told}"
        );
        let remedy = host.remediation.unwrap();
        assert!(
            remedy.contains("sysctl -w user.max_user_namespaces"),
            "{remedy}"
        );
        for (chosen, machine, text) in [
            ("", &UNABLE, "nothing here can run a model"),
            ("embedded", &UNABLE, "containers cannot be run here"),
            ("docker", &ABLE, "Docker is not available"),
            ("host", &ABLE, "no Python 3.10"),
        ] {
            let finding = check(chosen, machine, || false).unwrap();
            assert_eq!(finding.severity, super::super::finding::Severity::Error);
            assert!(finding.to_string().contains(text), "{chosen}: {finding}");
        }
    }
}
