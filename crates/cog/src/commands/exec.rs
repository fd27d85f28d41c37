//! `cog exec`: a command in the project's environment.

use cog_build::SchemaSource;

use crate::args::ExecArgs;
use crate::gpus::{self, Wanted};
use crate::reporter::Steps;
use crate::runtime::{Surroundings, environment};
use crate::session::Session;
use crate::terminal;

use super::Exited;

pub(crate) fn exec(session: &Session<'_>, args: &ExecArgs) -> anyhow::Result<()> {
    args.flags.bases.check()?;
    let project = session.project(&args.flags.project)?;
    let mut env = environment(&args.env)?;
    env.push(("LOG_FORMAT".into(), "console".into()));
    let engine = session.engine(&args.flags)?;
    let gpus = gpus::find(
        session,
        &args.gpus,
        engine.as_ref(),
        Wanted::by_project(&project),
    )?;
    let reporter = Steps::new(session.printer);
    let store = session.store()?;
    let mut request = session.build_request(
        &project,
        store,
        Some(engine.as_ref()),
        &args.flags,
        &reporter,
    )?;
    request.schema = SchemaSource::Omit;
    let surroundings =
        Surroundings::of_project(&request, &project, engine.as_ref())?.with_gpus(gpus);
    session.printer.info(&format!(
        "Running '{}' in the {} engine with the current directory mounted as a volume...",
        args.command.join(" "),
        engine.name(),
    ));
    let mut running = surroundings.start_command(engine.as_ref(), args.command.clone(), &env)?;
    if let Some(terminal) = running.take_terminal() {
        terminal::connect(terminal)?;
    }
    let exit = running.wait()?;
    if !exit.success() {
        return Err(Exited(exit.shell_code()).into());
    }
    Ok(())
}
