//! `cog lock`: what images of the project are made of, as a file beside cog.yaml.

use anyhow::{Context as _, bail};
use cog_build::{LockOutcome, Upgrade, check_lock, lock_project};

use crate::args::LockArgs;
use crate::session::Session;

pub(crate) fn lock(session: &Session<'_>, args: &LockArgs) -> anyhow::Result<()> {
    args.flags.bases.check()?;
    if args.flags.bases.dockerfile.is_some() {
        bail!(
            "`cog lock` has nothing to say of an image of one's own Dockerfile: leave `--dockerfile` out"
        );
    }
    let project = session.project(&args.flags.project)?;
    if args.check || args.flags.locked {
        return session.with_request(&project, None, &args.flags, |request| {
            Ok(check_lock(&request, &args.platform)?)
        });
    }
    let engine = session.engine(&args.flags)?;
    session.docker(engine.as_ref(), &args.flags)?;
    let upgrade = match &args.upgrade {
        None => Upgrade::Nothing,
        Some(names) if names.is_empty() => Upgrade::Everything,
        Some(names) => Upgrade::These(names.clone()),
    };
    let engine = Some(engine.as_ref());
    let report = session.with_request(&project, engine, &args.flags, |request| {
        lock_project(&request, &args.platform, &upgrade).context("locking failed")
    })?;
    for change in &report.changes {
        session.printer.info(change);
    }
    let name = &report.name;
    session.printer.success(&match report.outcome {
        LockOutcome::Made => format!("Wrote {name}"),
        LockOutcome::Changed => format!("Updated {name}"),
        LockOutcome::Unchanged => format!("{name} is up to date"),
    });
    Ok(())
}
