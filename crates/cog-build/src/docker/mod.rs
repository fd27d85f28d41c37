//! Lets a daemon do what takes a container: Docker by BuildKit, or Podman.
//!
//! What a step runs is a [`Job`] over layers. Here, the layers are handed to the daemon as an image, the jobs become a
//! Dockerfile on it (`recipe`) with a context (`context`), and what the daemon built is taken apart again (`result`): the
//! layer of each instruction is what its job changed, as if a container of our own had run. So steps, their keys, and how
//! layers are made of changes are the same, and an image does not depend on who ran its commands.
//!
//! Steps that only add files never come here: their layers go to the daemon as they are.

mod context;
mod counted;
mod error;
mod handover;
mod names;
mod own;
mod recipe;
mod result;
mod taking;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use cog_engine::docker::{BuildEvent, BuildOrder, Credentials, Daemon, DaemonKind, EarlierLayers};
use cog_image::registry::Keychain;
use cog_image::serve::Content;
use cog_image::{ImageConfig, Layer};
use tokio::sync::mpsc::channel;

use self::context::{Context, DOCKERFILE, Secrets};
use self::counted::counted;
pub use self::error::DaemonError;
use self::handover::Pieces;
pub use self::handover::{HandedOver, Observers, Route, hand_over, layers_for};
use self::names::{BELOW, Owner, STEP};
pub(crate) use self::own::OwnImage;
use self::recipe::{Way, way};
use crate::architecture::Architecture;
use crate::container::{Job, Upper};
use crate::error::{BuildError, CommandOutput, Result};
use crate::executor::Executor;
use crate::reporter::Event;

/// Pieces of an archive that wait for whoever reads it.
const PIECES: usize = 16;
/// Bytes of such a piece.
const PIECE: usize = 256 * 1024;
/// Lines of output that an error keeps; it shows fewer.
const TAIL: usize = 200;

/// Where a context is written to.
type Out = io::BufWriter<Pieces>;

/// What a daemon is to build, but for the context.
struct Order<'a> {
    name: &'a str,
    dockerfile: &'a str,
    arguments: &'a [(String, String)],
    secrets: BTreeMap<String, Vec<u8>>,
    secret_files: BTreeMap<String, String>,
    layers: EarlierLayers,
}

/// A daemon that builds.
pub struct DockerBuilder {
    daemon: Daemon,
    credentials: Credentials,
    owner: Owner,
    /// Images that are there for the time of a build.
    names: Mutex<Vec<String>>,
    /// What other builds left is looked for once.
    tidied: Once,
    /// It cannot reach what listens on this machine's loopback.
    is_out_of_reach: AtomicBool,
}

impl std::fmt::Debug for DockerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerBuilder")
            .field("daemon", &self.daemon)
            .finish_non_exhaustive()
    }
}

impl DockerBuilder {
    /// With this daemon, which has to be able to.
    pub fn new(daemon: Daemon) -> Result<Self, DaemonError> {
        daemon.check_builds()?;
        let keychain = Keychain::from_environment();
        let credentials = move |host: &str| keychain.name_and_password(host);
        Ok(Self {
            daemon,
            credentials: Arc::new(credentials),
            owner: Owner::here(),
            names: Mutex::default(),
            tidied: Once::new(),
            is_out_of_reach: AtomicBool::new(false),
        })
    }

    /// Who builds.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Does `jobs` one after the other over `layers`, and says of each how it ended, up to the first that failed. What
    /// each changed goes into its own of `uppers`, which are empty.
    pub(crate) fn run(
        &self,
        executor: &Executor<'_>,
        layers: &[Layer],
        jobs: &[&Job],
        uppers: &[&Upper],
    ) -> Result<Vec<Result<()>>> {
        let config = ImageConfig {
            working_dir: Some("/".to_owned()),
            // Whatever the programs in it are for: the kernel there runs them, or does not.
            architecture: Architecture::host().name().to_owned(),
            ..ImageConfig::default()
        };
        let base = self.lend(executor, &config, layers)?;
        let dockerfile = recipe::dockerfile(&base, jobs)?;
        executor.detail(&format!("Dockerfile:\n{dockerfile}"));
        let name = self.temporary_name()?;
        let said = self.build(executor, &name, &dockerfile, jobs);
        let said = said.map_err(|error| match error {
            // A command that fails has said so itself: here, none could be run.
            error @ BuildError::Daemon(_) if !executor.architecture.is_host() => {
                BuildError::NoInterpreter {
                    daemon: self.daemon.title(),
                    architecture: executor.architecture,
                    source: Box::new(error),
                }
            }
            error => error,
        })?;
        let saved = self.take(executor, &name, layers);
        // It has served its purpose; that of `base` is to keep its layers there for the next jobs.
        self.daemon.remove(&name).map_err(DaemonError::from)?;
        let saved = saved?;
        if saved.layer_count() != layers.len() + jobs.len() {
            return Err(DaemonError::Layers {
                daemon: self.daemon.title(),
                found: saved.layer_count(),
                wanted: jobs.len(),
                below: layers.len(),
            }
            .into());
        }
        let root = executor.store.rootfs(layers)?;
        let mut ended = Vec::new();
        for (number, (job, upper)) in jobs.iter().zip(uppers).enumerate() {
            saved.unpack(layers.len() + number, upper.path())?;
            let status = result::settle(upper.path(), job, &root)?;
            let status = status.ok_or_else(|| DaemonError::NoStatus {
                daemon: self.daemon.title(),
                command: job.title.clone(),
            })?;
            if status != 0 {
                ended.push(Err(BuildError::CommandFailed {
                    command: job.title.clone(),
                    status: format!("exit status {status}"),
                    output: job.output,
                    lines: said.get(number).cloned().unwrap_or_default(),
                }));
                break;
            }
            ended.push(Ok(()));
        }
        Ok(ended)
    }

    /// Gives the daemon an image of `layers`; how a Dockerfile names it.
    fn lend(
        &self,
        executor: &Executor<'_>,
        config: &ImageConfig,
        layers: &[Layer],
    ) -> Result<String> {
        self.tidy(executor);
        let zstd = layers_for(&self.daemon);
        let content = Content::of_layers(executor.store, config, layers, zstd)?;
        let [id, _] = content.ids();
        let tag = self.owner.tag(&id.hex()[..16]);
        let label = format!("handing layers to {}", self.daemon.title());
        let handed = counted(executor.reporter, &label, |sent| {
            let observers = Observers {
                sent,
                detail: &|detail| executor.detail(detail),
            };
            hand_over(
                executor.store,
                &self.daemon,
                (BELOW, &tag),
                content,
                &observers,
            )
        })?;
        executor.detail(&format!(
            "{} took {} bytes of layers",
            self.daemon.title(),
            handed.sent
        ));
        if handed.route == Route::Archive {
            self.is_out_of_reach.store(true, Ordering::Relaxed);
        }
        let name = format!("{BELOW}:{tag}");
        self.remember(&name);
        Ok(match self.daemon.kind() {
            DaemonKind::Docker => name,
            // A name without a registry may mean several there.
            DaemonKind::Podman => handed.id.trim_start_matches("sha256:").to_owned(),
        })
    }

    fn build(
        &self,
        executor: &Executor<'_>,
        name: &str,
        dockerfile: &str,
        jobs: &[&Job],
    ) -> Result<Vec<Vec<String>>> {
        let secrets = match self.daemon.kind() {
            DaemonKind::Docker => Secrets::Elsewhere,
            DaemonKind::Podman => Secrets::InContext,
        };
        let order = Order {
            name,
            dockerfile: DOCKERFILE,
            // Variables are the jobs' own.
            arguments: &[],
            secrets: secret_values(jobs)?,
            secret_files: secret_files(jobs),
            // What is remembered is remembered in the store. And a failure must not be.
            layers: EarlierLayers::Ignored,
        };
        let mut heard = Heard::new(executor, jobs);
        let context = |context: Context<Out>| context.jobs(dockerfile, jobs, secrets);
        self.carry_out(order, context, |event| heard.event(event))?;
        Ok(heard.said)
    }

    /// Has the daemon build `order` in the context that `write` makes.
    fn carry_out(
        &self,
        order: Order<'_>,
        write: impl FnOnce(Context<Out>) -> io::Result<Out> + Send,
        told: impl FnMut(BuildEvent<'_>),
    ) -> Result<()> {
        let (sender, context) = channel(PIECES);
        let order = BuildOrder {
            name: order.name,
            dockerfile: order.dockerfile,
            context,
            arguments: order.arguments,
            secrets: order.secrets,
            secret_files: order.secret_files,
            credentials: Arc::clone(&self.credentials),
            layers: order.layers,
        };
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let last = sender.clone();
                let pieces = Pieces::new(sender);
                let out = io::BufWriter::with_capacity(PIECE, pieces);
                let written =
                    write(Context::new(out)).and_then(|mut out| io::Write::flush(&mut out));
                if written.is_err() {
                    // Half a context must not look whole.
                    let broken = "the build context could not be written to its end";
                    let _ = last.blocking_send(Err(io::Error::other(broken)));
                }
                written
            });
            let built = self.daemon.build(order, told);
            match (writer.join(), built) {
                (Ok(Ok(())), built) => Ok(built.map_err(DaemonError::from)?),
                // The daemon hung up: it says why.
                (Ok(Err(error)), Err(refused)) if handover::is_hang_up(&error) => {
                    Err(DaemonError::from(refused).into())
                }
                (Ok(Err(error)), _) => Err(error.into()),
                (Err(_), _) => {
                    Err(io::Error::other("the thread that writes the build context ended").into())
                }
            }
        })
    }

    /// A name that no other build has.
    fn temporary_name(&self) -> Result<String> {
        let mut random = [0_u8; 8];
        io::Read::read_exact(&mut fs_err::File::open("/dev/urandom")?, &mut random)?;
        let random = format!("{:016x}", u64::from_ne_bytes(random));
        let name = format!("{STEP}:{}", self.owner.tag(&random));
        self.remember(&name);
        Ok(name)
    }

    /// Removes what builds that were killed have left in the daemon. Nothing depends on that.
    fn tidy(&self, executor: &Executor<'_>) {
        self.tidied
            .call_once(|| match names::remove_ended(&self.daemon, &self.owner) {
                Ok(names) => {
                    for name in names {
                        executor.detail(&format!("{name} was left by a build that has ended"));
                    }
                }
                Err(error) => executor.detail(&error.to_string()),
            });
    }

    fn remember(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
}

/// Removes what builds that have ended have left in `daemon`, and gives the names that it had.
pub fn remove_ended(daemon: &Daemon) -> Result<Vec<String>, DaemonError> {
    names::remove_ended(daemon, &Owner::here())
}

/// What was there for the time of the build goes. The images that came of it keep the layers that they have in common.
impl Drop for DockerBuilder {
    fn drop(&mut self) {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names.iter() {
            // A daemon that has gone has nothing to be removed from.
            let _ = self.daemon.remove(name);
        }
    }
}

fn secret_mounts<'a>(
    jobs: &'a [&Job],
) -> impl Iterator<Item = (usize, usize, &'a std::path::Path)> {
    jobs.iter().enumerate().flat_map(|(job, one)| {
        let mounts = one.mounts.iter().enumerate();
        let secrets = mounts.filter(|(_, mount)| way(mount) == Way::Secret);
        secrets.map(move |(number, mount)| (job, number, mount.source.as_path()))
    })
}

/// What is mounted as a secret, by its id.
fn secret_values(jobs: &[&Job]) -> Result<BTreeMap<String, Vec<u8>>> {
    let variables = jobs.iter().enumerate().map(|(job, one)| {
        let variables = recipe::variables(one).into_bytes();
        Ok((recipe::variables_id(job), variables))
    });
    let mounts = secret_mounts(jobs).map(|(job, number, source)| {
        let value = fs_err::read(source)?;
        Ok((recipe::secret_id(job, number), value))
    });
    variables.chain(mounts).collect()
}

/// Where it is in a context that has it.
fn secret_files(jobs: &[&Job]) -> BTreeMap<String, String> {
    let variables =
        (0..jobs.len()).map(|job| (recipe::variables_id(job), context::variables_file(job)));
    let mounts = secret_mounts(jobs).map(|(job, number, _)| {
        let file = context::secret_file(job, number);
        (recipe::secret_id(job, number), file)
    });
    variables.chain(mounts).collect()
}

/// What the commands of jobs print.
struct Heard<'a> {
    executor: &'a Executor<'a>,
    jobs: &'a [&'a Job],
    /// The last lines of each.
    said: Vec<Vec<String>>,
}

impl<'a> Heard<'a> {
    fn new(executor: &'a Executor<'a>, jobs: &'a [&'a Job]) -> Self {
        Self {
            executor,
            jobs,
            said: Vec::new(),
        }
    }

    fn event(&mut self, event: BuildEvent<'_>) {
        match event {
            BuildEvent::Instruction(text) if text.contains("RUN --mount") => {
                if let Some(job) = self.jobs.get(self.said.len()) {
                    self.executor.doing(&job.title);
                }
                self.said.push(Vec::new());
            }
            BuildEvent::Instruction(text) => self.executor.doing(text),
            BuildEvent::Line(line) => self.line(line),
        }
    }

    fn line(&mut self, line: &str) {
        let Some(number) = self.said.len().checked_sub(1) else {
            return;
        };
        match self.jobs.get(number).map(|job| job.output) {
            Some(CommandOutput::Reported) => {
                self.executor.reporter.report(Event::Output { line });
            }
            _ => self.executor.doing(line),
        }
        let said = &mut self.said[number];
        if said.len() == TAIL {
            said.remove(0);
        }
        said.push(line.to_owned());
    }
}
