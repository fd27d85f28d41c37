//! `cog lock`: what images of the project are made of, as a file beside cog.yaml.

use anyhow::{Context as _, bail};
use cog_build::{LockOutcome, LockReport, Upgrade, check_lock, lock_project};
use serde_json::json;

use crate::args::LockArgs;
use crate::outputs::pretty;
use crate::session::Session;

pub(crate) fn lock(session: &Session<'_>, args: &LockArgs) -> anyhow::Result<()> {
    if args.json {
        session.printer.account().open();
    }
    args.flags.bases.check()?;
    if args.flags.bases.dockerfile.is_some() {
        bail!(
            "`cog lock` has nothing to say of an image of one's own Dockerfile: leave `--dockerfile` out"
        );
    }
    let project = session.project(&args.flags.project)?;
    if args.check || args.flags.locked {
        let report = session.with_request(&project, None, &args.flags, |request| {
            Ok(check_lock(&request, &args.platform)?)
        })?;
        return show(session, args, &report);
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
    show(session, args, &report)
}

/// `cog lock --json`.
fn show(session: &Session<'_>, args: &LockArgs, report: &LockReport) -> anyhow::Result<()> {
    if !args.json {
        return Ok(());
    }
    let document = json!({
        "name": report.name,
        "outcome": match report.outcome {
            LockOutcome::Made => "made",
            LockOutcome::Changed => "changed",
            LockOutcome::Unchanged => "unchanged",
        },
        "changes": report.changes,
        "warnings": session.printer.account().close().warnings,
    });
    let text = format!("{}\n", pretty(&document)?);
    Ok(session.printer.result("the report of the lock", &text)?)
}
