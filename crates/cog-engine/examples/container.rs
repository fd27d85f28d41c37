//! Runs a command over directories, as `cog` does over an image's layers. The integration tests drive this program.
//!
//! ```text
//! container [OPTION]... -- COMMAND [ARGUMENT]...
//!   --layer DIR            a layer of the root, the bottom-most first
//!   --scratch DIR          where temporary changes go
//!   --upper DIR            keep the changes here
//!   --host DIR             no container: on the host, with this virtual environment
//!   --mount FROM:TO[:ro]   show a directory or file; with `:layered` its changes are the container's own
//!   --env NAME=VALUE       set a variable
//!   --cwd DIR              the working directory
//!   --build                as a build step
//!   --ca FILE              certificate authorities
//!   --gpus REQUEST         GPUs, by the specifications in the folders that `COG_CDI_DIRS` names
//!   --pass NAME=FILE       open the file and pass its descriptor
//!   --terminal             give it a terminal of its own, whose output is ours
//!   --stop MILLISECONDS    stop it after its first line of output, with this grace
//!   --time                 tell how long the start took
//!   --probe                only tell whether containers work
//! ```
#![expect(
    clippy::print_stderr,
    reason = "an example talks on the standard streams"
)]

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use cog_engine::{
    Access, Embedded, Engine, Exit, GpuHost, Gpus, Host, KernelProbe, Mount, Network, PassedFd,
    Probe as _, Process, Purpose, Root, Running, Terminal, Workload, Writable,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    cog_engine::embedded::run_if_init();
    match run(std::env::args().skip(1)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  {cause}");
                source = cause.source();
            }
            ExitCode::from(125)
        }
    }
}

struct Options {
    engine: Box<dyn Engine>,
    workload: Workload,
    stop: Option<Duration>,
    time: bool,
}

fn run(arguments: impl Iterator<Item = String>) -> Result<u8, Failure> {
    let Some(options) = parse(arguments)? else {
        KernelProbe.containers()?;
        return Ok(0);
    };
    let started = Instant::now();
    let mut running = options.engine.start(options.workload)?;
    if options.time {
        eprintln!("started in {} µs", started.elapsed().as_micros());
    }
    if let Some(terminal) = running.take_terminal() {
        // Ends with an error when the last program has closed its side.
        let _ = std::io::copy(&mut std::fs::File::from(terminal), &mut std::io::stdout());
    }
    let exit = match options.stop {
        Some(grace) => stop(running.as_mut(), grace)?,
        None => running.wait()?,
    };
    if let Exit::Signal(signal) = exit {
        eprintln!("ended by signal {signal}");
    }
    Ok(u8::try_from(exit.shell_code())?)
}

fn stop(running: &mut dyn Running, grace: Duration) -> Result<Exit, Failure> {
    let mut line = String::new();
    let mut output = BufReader::new(running.take_stdout().ok_or("the output is not piped")?);
    output.read_line(&mut line)?;
    let exit = running.stop(grace)?;
    eprintln!("stopped after {}", line.trim());
    Ok(exit)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>, Failure> {
    let mut layers = Vec::new();
    let mut options = Options {
        engine: Box::new(Embedded),
        workload: empty(),
        stop: None,
        time: false,
    };
    let Options {
        engine,
        workload,
        stop,
        time,
    } = &mut options;
    while let Some(option) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{option} needs a value"))
        };
        match option.as_str() {
            "--layer" => layers.push(PathBuf::from(value()?)),
            "--scratch" => workload.writable = Writable::Temporary(value()?.into()),
            "--upper" => workload.writable = Writable::Upper(value()?.into()),
            "--host" => {
                *engine = Box::new(Host);
                workload.root = Root::Host {
                    environment: value()?.into(),
                };
            }
            "--mount" => workload.mounts.push(mount(&value()?)?),
            "--env" => workload.process.env.push(pair(&value()?)?),
            "--cwd" => workload.process.working_dir = value()?,
            "--build" => workload.purpose = Purpose::Build,
            "--ca" => workload.ca_bundle = Some(value()?.into()),
            "--gpus" => {
                workload.gpus = GpuHost::of_this_machine().find(&value()?.parse()?)?;
                for note in workload.gpus.notes().iter().chain(workload.gpus.warnings()) {
                    eprintln!("{note}");
                }
            }
            "--pass" => {
                let (variable, file) = pair(&value()?)?;
                let fd = OwnedFd::from(
                    std::fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .open(file)?,
                );
                workload.process.passed_fds.push(PassedFd { variable, fd });
            }
            "--stop" => {
                *stop = Some(Duration::from_millis(value()?.parse()?));
                workload.process.stdout = Stdio::piped();
            }
            "--terminal" => {
                workload.process.terminal = Some(Terminal {
                    streams: vec![0, 1, 2],
                    rows: 40,
                    columns: 100,
                });
            }
            "--time" => *time = true,
            "--probe" => return Ok(None),
            "--" => break,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    if let Root::Layers(root) = &mut workload.root {
        *root = layers;
    }
    workload.process.command = arguments.collect();
    Ok(Some(options))
}

fn empty() -> Workload {
    Workload {
        root: Root::Layers(Vec::new()),
        writable: Writable::Temporary(std::env::temp_dir()),
        mounts: Vec::new(),
        process: Process {
            command: Vec::new(),
            env: Vec::new(),
            working_dir: "/".into(),
            stdin: Stdio::inherit(),
            stdout: Stdio::inherit(),
            stderr: Stdio::inherit(),
            terminal: None,
            passed_fds: Vec::new(),
        },
        purpose: Purpose::Run,
        ca_bundle: None,
        gpus: Gpus::default(),
        emulator: None,
        network: Network::default(),
    }
}

fn mount(text: &str) -> Result<Mount, Failure> {
    let options = [(":ro", Access::ReadOnly), (":layered", Access::Layered)];
    let (text, access) = options
        .into_iter()
        .find_map(|(suffix, access)| Some((text.strip_suffix(suffix)?, access)))
        .unwrap_or((text, Access::ReadWrite));
    let (source, target) = text.split_once(':').ok_or("a mount is FROM:TO")?;
    Ok(Mount {
        source: source.into(),
        target: target.into(),
        access,
    })
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or("NAME=VALUE is missing its `=`")?;
    Ok((name.into(), value.into()))
}
