//! What does the steps of a build that run something: containers of our own, or a daemon.

use std::time::Duration;

use anyhow::bail;
use cog_engine::docker::{Daemon, Wanted};
use cog_engine::{Embedded, Engine, Isolation, KernelProbe, Probe as _};

use crate::args::{BackendArg, BuildFlags};

/// How long a daemon that somebody has asked for may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who builds, as the flags say.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// Nobody but us.
    Native,
    /// A daemon, for the reason that is told.
    Daemon(String),
}

/// The daemon that builds, if one does, and what to say of the reason. `engine` is what runs things.
pub(crate) fn daemon(
    engine: &dyn Engine,
    flags: &BuildFlags,
) -> anyhow::Result<Option<(Daemon, String)>> {
    let dockerfile = flags.bases.dockerfile.is_some();
    let choice = choose(flags.backend, dockerfile, engine.isolation(), || {
        KernelProbe.containers()
    })?;
    match choice {
        Choice::Native => Ok(None),
        Choice::Daemon(why) => {
            let daemon = Daemon::find(Wanted::Any, PATIENCE).and_then(|daemon| {
                daemon.check_builds()?;
                Ok(daemon)
            });
            match daemon {
                Ok(daemon) => Ok(Some((daemon, why))),
                // Many builds run nothing: one that does says that nothing can.
                Err(_) if flags.backend == BackendArg::Auto && !dockerfile => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn choose(
    backend: BackendArg,
    dockerfile: bool,
    isolation: Isolation,
    containers: impl FnOnce() -> Result<(), String>,
) -> anyhow::Result<Choice> {
    match backend {
        BackendArg::Native if dockerfile => {
            bail!("`--dockerfile` is built by Docker or Podman alone, not with `--backend native`")
        }
        BackendArg::Native => Ok(Choice::Native),
        _ if dockerfile => Ok(Choice::Daemon(String::new())),
        BackendArg::Docker => Ok(Choice::Daemon(String::new())),
        // Where a daemon answers, it is the engine if the kernel refuses.
        BackendArg::Auto if isolation == Isolation::Daemon => Ok(match containers() {
            Ok(()) => Choice::Native,
            Err(reason) => Choice::Daemon(format!("; no container of our own can run: {reason}")),
        }),
        BackendArg::Auto => Ok(Choice::Native),
    }
}

/// What does a build's steps where no daemon does: containers of our own, also for those who run theirs in a daemon.
pub(crate) fn native(engine: &dyn Engine) -> &dyn Engine {
    static EMBEDDED: Embedded = Embedded;
    match engine.isolation() {
        Isolation::Daemon if KernelProbe.containers().is_ok() => &EMBEDDED,
        _ => engine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(backend: BackendArg, isolation: Isolation, can: bool) -> Choice {
        let containers = || {
            if can {
                Ok(())
            } else {
                Err("it may not".to_owned())
            }
        };
        choose(backend, false, isolation, containers).expect("nothing contradicts")
    }

    #[test]
    fn a_daemon_builds_where_it_is_asked_to_or_nobody_else_can() {
        use Isolation::{Container, Daemon, None};
        let asked = Choice::Daemon(String::new());
        for isolation in [Container, Daemon, None] {
            for can in [true, false] {
                assert_eq!(chosen(BackendArg::Docker, isolation, can), asked);
                assert_eq!(chosen(BackendArg::Native, isolation, can), Choice::Native);
            }
        }
        assert_eq!(chosen(BackendArg::Auto, Container, true), Choice::Native);
        assert_eq!(chosen(BackendArg::Auto, Daemon, true), Choice::Native);
        let told = Choice::Daemon("; no container of our own can run: it may not".to_owned());
        assert_eq!(chosen(BackendArg::Auto, Daemon, false), told);
        assert_eq!(chosen(BackendArg::Auto, None, false), Choice::Native);
    }

    #[test]
    fn a_dockerfile_is_built_by_a_daemon() {
        let choice = |backend| choose(backend, true, Isolation::Container, || Ok(()));
        for backend in [BackendArg::Auto, BackendArg::Docker] {
            assert_eq!(
                choice(backend).expect("it is"),
                Choice::Daemon(String::new())
            );
        }
        let refused = choice(BackendArg::Native).expect_err("it cannot");
        assert!(refused.to_string().contains("`--backend native`"));
    }
}
