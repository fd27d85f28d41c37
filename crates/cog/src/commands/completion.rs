//! `cog completion`: what a shell needs to complete our commands.

use clap::Command;
use clap_complete::Shell;

use crate::printer::Printer;

pub(crate) fn completion(
    printer: &Printer,
    shell: Shell,
    mut command: Command,
) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    Ok(printer.result(script)?)
}
