//! `cog completion`: what a shell needs to complete our commands.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::PossibleValue;
use clap_complete::Shell;

use crate::printer::Printer;

/// What is completed.
const NAME: &str = "cog";

pub(crate) fn completion(printer: &Printer, shell: Shell, command: &Command) -> anyhow::Result<()> {
    let mut command = without_hidden(command);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, NAME, &mut script);
    if shell == Shell::Fish {
        script.extend(words_for_fish(&command).into_bytes());
    }
    Ok(printer.result("the completion script", script)?)
}

/// The command without those that nobody should begin to use: the library offers them as any other.
fn without_hidden(command: &Command) -> Command {
    let commands = command.get_subcommands();
    let shown = commands.filter(|command| !command.is_hide_set());
    Command::new(NAME)
        .disable_version_flag(true)
        .args(command.get_arguments())
        .subcommands(shown)
}

/// What the library leaves out for fish: the words that an argument without a flag can be.
fn words_for_fish(command: &Command) -> String {
    let mut lines = String::new();
    for subcommand in command.get_subcommands() {
        for argument in subcommand.get_positionals() {
            let words = argument.get_possible_values();
            let words: Vec<&str> = words.iter().map(PossibleValue::get_name).collect();
            if !words.is_empty() {
                let _ = writeln!(
                    lines,
                    "complete -c {NAME} -n \"__fish_{NAME}_using_subcommand {}\" -f -a \"{}\"",
                    subcommand.get_name(),
                    words.join(" ")
                );
            }
        }
    }
    lines
}
