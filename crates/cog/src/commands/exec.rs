//! `cog exec`: a command in the project's environment.

use cog_build::{SchemaSource, missing};

use crate::args::{ExecArgs, PortError, PublishArg};
use crate::runtime::{Launcher, environment};
use crate::session::Session;

use super::Exited;

/// What is logged: the one variable that commands have from the user without being told so.
const RUST_LOG: &str = "RUST_LOG";

pub(crate) fn exec(session: &Session<'_>, args: &ExecArgs) -> anyhow::Result<()> {
    args.flags.build.bases.check()?;
    let ports = args
        .publish
        .iter()
        .map(|port| Ok(port.parse::<PublishArg>()?.0));
    let ports = ports.collect::<Result<_, PortError>>()?;
    let project = session.project(&args.flags.build.project)?;
    // What the user says goes before what is usual.
    let mut env = vec![("LOG_FORMAT".to_owned(), "console".to_owned())];
    let filter = std::env::var(RUST_LOG).ok();
    env.extend(filter.map(|filter| (RUST_LOG.to_owned(), filter)));
    env.extend(environment(&args.env)?);
    let project = session.with_model(project, &SchemaSource::Omit)?;
    let launcher = Launcher::of_project(session, &project, &args.flags)?;
    session.printer.info(&format!(
        "Running '{}' in the {} engine with the current directory mounted as a volume...",
        args.command.join(" "),
        launcher.engine_name(),
    ));
    let ended = launcher.run_command(args.command.clone(), &env, ports)?;
    if !ended.exit.success() {
        return Err(Exited {
            status: ended.exit.shell_code(),
            hint: missing::advice(&ended.said.text()),
        }
        .into());
    }
    Ok(())
}
