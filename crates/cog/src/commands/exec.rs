//! `cog exec`: a command in the project's environment.

use cog_build::{SchemaSource, missing};

use crate::args::ExecArgs;
use crate::runtime::{Launcher, environment};
use crate::session::Session;

use super::Exited;

pub(crate) fn exec(session: &Session<'_>, args: &ExecArgs) -> anyhow::Result<()> {
    args.flags.build.bases.check()?;
    let project = session.project(&args.flags.build.project)?;
    let ports = args.publish.iter().map(|port| port.0).collect();
    let mut env = environment(&args.env)?;
    env.push(("LOG_FORMAT".into(), "console".into()));
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
