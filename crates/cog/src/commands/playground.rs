//! `cog playground`: a page for a model that runs already, until it is stopped.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::bail;

use super::serve::address;
use crate::args::PlaygroundArgs;
use crate::interrupts::Interrupts;
use crate::playground::{self, Playground, Settings, Target};
use crate::printer::Printer;
use crate::runtime::block_on;

pub(crate) fn playground(printer: &Printer, args: &PlaygroundArgs) -> anyhow::Result<()> {
    let target = args.target.trim_end_matches('/').to_owned();
    if Target::parse(&target).is_none() {
        bail!(
            "`--target {}` must be a URL such as http://localhost:8393, without user, password and fragment",
            cog_errors::redact_url(&args.target)
        );
    }
    let address = address(&args.host, args.port)?;
    let listener = playground::listen(address, "--port")?;
    let settings = Settings {
        target,
        webhook_host: args.webhook_host.clone(),
    };
    let playground = Playground::start(listener, &settings)?;
    let mut interrupts = Interrupts::listen()?;
    printer.info(&format!("Cog playground running at {}", playground.url()));
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        printer.warning(&format!(
            "`--host {}`: webhooks arrive there, but the page is only for addresses such as 127.0.0.1; `--host 0.0.0.0` listens at both",
            args.host
        ));
    }
    printer.info("Press Ctrl+C to stop.");
    if !args.no_open
        && let Err(error) = open(&playground.url())
    {
        printer.debug(&format!("the browser was not opened: {error}"));
    }
    block_on(async {
        interrupts.next().await;
        Ok(())
    })
}

/// Shows a page in the user's browser, if this machine has a screen: on a text terminal the usual program would start a
/// browser on the terminal itself.
fn open(url: &str) -> std::io::Result<()> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"]
        .into_iter()
        .any(is_set)
    {
        "xdg-open"
    } else {
        return Err(std::io::Error::other("there is no screen"));
    };
    let mut child = Command::new(PathBuf::from(program))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Some of these programs last as long as the browser.
    std::thread::spawn(move || child.wait());
    Ok(())
}
