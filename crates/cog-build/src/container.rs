//! Runs a command in a container over layers of the store: one of ours, or a daemon's. All use of the engine is here.

mod in_place;
mod network;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cog_engine::{Engine, Exit, Gpus, Network, Process, Purpose, Root, Workload, Writable};
use cog_image::{Layer, Scratch};

pub(crate) use self::in_place::InPlace;
pub(crate) use self::mount::Mount;
pub(crate) use self::network::HOST_BUNDLE;
use crate::docker::DockerBuilder;
use crate::error::{BuildError, CommandOutput, Result};
use crate::executor::Executor;
use crate::reporter::Event;

/// A command to run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// What it does, for messages.
    pub(crate) title: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) output: CommandOutput,
}

mod mount {
    use std::path::PathBuf;

    use cog_engine::Access;

    /// A file or folder of the host in the container.
    #[derive(Debug, Clone)]
    pub(crate) struct Mount {
        pub(crate) source: PathBuf,
        pub(crate) target: String,
        pub(super) access: Access,
        kind: Kind,
    }

    /// What counts where a daemon runs the container, which gets copies.
    #[derive(Debug, Clone)]
    enum Kind {
        /// Nothing.
        Plain,
        /// Nothing of it is kept.
        Secret,
        /// Of a folder, these files are used, by their paths in it.
        Files(Vec<PathBuf>),
    }

    impl Mount {
        pub(crate) fn read_only(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
            Self {
                source: source.into(),
                target: target.into(),
                access: Access::ReadOnly,
                kind: Kind::Plain,
            }
        }

        pub(crate) fn writable(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
            Self {
                access: Access::ReadWrite,
                ..Self::read_only(source, target)
            }
        }

        /// A file that nobody keeps.
        pub(crate) fn secret(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
            Self {
                kind: Kind::Secret,
                ..Self::read_only(source, target)
            }
        }

        /// The same folder where only these files of it are used.
        pub(crate) fn with_files(self, files: Vec<PathBuf>) -> Self {
            Self {
                kind: Kind::Files(files),
                ..self
            }
        }

        pub(crate) fn is_secret(&self) -> bool {
            matches!(self.kind, Kind::Secret)
        }

        pub(crate) fn is_writable(&self) -> bool {
            self.access == Access::ReadWrite
        }

        /// The files that are used, if not all of the folder is.
        pub(crate) fn files(&self) -> Option<&[PathBuf]> {
            match &self.kind {
                Kind::Files(files) => Some(files),
                Kind::Plain | Kind::Secret => None,
            }
        }
    }
}

/// What runs containers for steps.
#[derive(Clone, Copy)]
pub(crate) enum Containers<'a> {
    /// This machine's kernel: containers of our own.
    Own(&'a dyn Engine),
    /// A daemon.
    Docker(&'a DockerBuilder),
}

/// What a container changed.
#[derive(Debug)]
pub(crate) struct Upper {
    _scratch: Scratch,
    path: PathBuf,
}

impl Upper {
    /// The upper folder of the overlay.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Lines of output that an error keeps; it shows fewer.
const TAIL: usize = 200;
/// Bytes of a line; what is longer is split.
const MAX_LINE: u64 = 8 * 1024;

impl Executor<'_> {
    /// A folder for what containers change.
    pub(crate) fn upper(&self) -> Result<Upper> {
        let scratch = self.store.scratch()?;
        let path = scratch.path().join("upper");
        fs_err::create_dir(&path)?;
        // They are those of the container's `/`, whatever the umask is here.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&path, permissions)?;
        Ok(Upper {
            _scratch: scratch,
            path,
        })
    }

    /// Runs `job` over `layers` to its end; its output goes to the reporter.
    pub(crate) fn run_container(&self, layers: &[Layer], job: &Job) -> Result<Upper> {
        let upper = self.upper()?;
        self.run_container_in(&upper, layers, job)?;
        Ok(upper)
    }

    /// The same with what is in `upper` from another job over the same layers, which a daemon does not take.
    pub(crate) fn run_container_in(
        &self,
        upper: &Upper,
        layers: &[Layer],
        job: &Job,
    ) -> Result<()> {
        let containers = self.containers.ok_or_else(|| BuildError::NeedsContainer {
            step: job.title.clone(),
        })?;
        let root = self.store.rootfs(layers)?;
        let scratch = self.store.scratch()?;
        let mut mounts = job.mounts.clone();
        let mut env = with_defaults(&job.environment);
        network::add(&root, scratch.path(), &mut mounts, &mut env)?;
        let job = Job {
            environment: env,
            mounts,
            ..job.clone()
        };
        match containers {
            Containers::Own(engine) => {
                self.execute(engine, root.layers().to_vec(), upper.path.clone(), job)
            }
            Containers::Docker(docker) => {
                let ended = docker.run(self, layers, &[&job], &[upper])?;
                ended.into_iter().collect()
            }
        }
    }

    /// Has a daemon run `jobs` one after the other over `layers`, in one build: what each changed, up to the first that
    /// failed.
    pub(crate) fn run_in_daemon(
        &self,
        docker: &DockerBuilder,
        layers: &[Layer],
        jobs: Vec<Job>,
    ) -> Result<Vec<Result<Upper>>> {
        let root = self.store.rootfs(layers)?;
        let scratch = self.store.scratch()?;
        let mut connected = Vec::new();
        for mut job in jobs {
            job.environment = with_defaults(&job.environment);
            network::add(&root, scratch.path(), &mut job.mounts, &mut job.environment)?;
            connected.push(job);
        }
        let jobs: Vec<&Job> = connected.iter().collect();
        let made: Result<Vec<Upper>> = jobs.iter().map(|_| self.upper()).collect();
        let made = made?;
        let uppers: Vec<&Upper> = made.iter().collect();
        let ended = docker.run(self, layers, &jobs, &uppers)?;
        Ok(ended
            .into_iter()
            .zip(made)
            .map(|(ended, upper)| ended.map(|()| upper))
            .collect())
    }

    /// The daemon that runs containers, if one does. Its containers do not go on where others have left an upper folder.
    pub(crate) fn daemon(&self) -> Option<&DockerBuilder> {
        match self.containers {
            Some(Containers::Docker(docker)) => Some(docker),
            Some(Containers::Own(_)) | None => None,
        }
    }

    /// Runs `job` with its environment as it is; what it changes goes to `upper`.
    fn execute(
        &self,
        engine: &dyn Engine,
        layers: Vec<PathBuf>,
        upper: PathBuf,
        job: Job,
    ) -> Result<()> {
        let (reader, writer) = std::io::pipe()?;
        let workload = Workload {
            root: Root::Layers(layers),
            writable: Writable::Upper(upper),
            mounts: job.mounts.into_iter().map(engine_mount).collect(),
            process: Process {
                command: job.arguments,
                env: job.environment,
                working_dir: job.working_dir,
                stdin: Stdio::null(),
                stdout: writer.try_clone()?.into(),
                stderr: writer.into(),
                terminal: None,
                passed_fds: Vec::new(),
            },
            purpose: Purpose::Build,
            ca_bundle: None,
            gpus: Gpus::default(),
            emulator: self.architecture.emulator(),
            network: Network::default(),
        };
        self.doing(&job.title);
        let mut running = engine.start(workload)?;
        let lines = self.pass_on(reader, job.output)?;
        let status = match running.wait()? {
            Exit::Code(0) => return Ok(()),
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
        Err(BuildError::CommandFailed {
            command: job.title,
            status,
            output: job.output,
            lines,
        })
    }

    /// Reports what comes out of `reader` until it ends, and gives the last lines.
    fn pass_on(&self, reader: PipeReader, output: CommandOutput) -> Result<Vec<String>> {
        let mut reader = BufReader::new(reader);
        let mut tail = VecDeque::new();
        let mut bytes = Vec::new();
        while reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)?
            > 0
        {
            let text = String::from_utf8_lossy(&bytes);
            // Of a line that was drawn over and over, the last state counts.
            let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
            match output {
                CommandOutput::Reported => self.reporter.report(Event::Output { line }),
                CommandOutput::Kept => self.doing(line),
            }
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
            bytes.clear();
        }
        Ok(tail.into())
    }
}

fn engine_mount(mount: Mount) -> cog_engine::Mount {
    cog_engine::Mount {
        source: mount.source,
        target: mount.target,
        access: mount.access,
    }
}

/// The job's variables, with what programs cannot do without.
fn with_defaults(environment: &[(String, String)]) -> Vec<(String, String)> {
    let mut all = environment.to_vec();
    for (name, value) in [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
    ] {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.to_owned(), value.to_owned()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_job_win() {
        let given = vec![("PATH".to_owned(), "/x".to_owned())];
        let all = with_defaults(&given);
        assert_eq!(all[0], given[0]);
        assert_eq!(all[1].0, "HOME");
    }
}
