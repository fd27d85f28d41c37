//! The `cog` command-line tool: arguments in, terminal output out.
//!
//! `args` says what can be written, `commands` do it with the library crates, `printer` is the only writer.
//! Start reading at [`main`].

mod account;
mod args;
mod attributes;
mod backend;
mod client;
mod commands;
mod doctor;
mod emulator;
mod gpus;
mod handover;
mod image_argument;
mod inputs;
mod interrupts;
mod live;
mod load;
mod model_reference;
mod outputs;
mod pictures;
mod playground;
mod printer;
mod prompt;
mod push_id;
mod reporter;
mod runtime;
mod serving;
mod session;
mod sizes;
mod standard_output;
mod terminal;
mod update;
mod variables;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};
use jiff::Timestamp;

use args::{Cli, Command};
use printer::{Colour, Printer, Progress};
use session::Session;

/// Tells programs that we start to print without colour.
const NO_COLOR: &str = "NO_COLOR";

/// What a failure to write it calls it.
const HELP: &str = "the help";

/// The definition of the command line, for the generated reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// What editors can be told of cog.yaml, as a JSON schema.
pub fn config_schema() -> serde_json::Value {
    cog_config::json_schema()
}

/// Runs the tool with this process's arguments.
pub fn main() -> ExitCode {
    // A container's first process is this program again, called with an argument of the engine's own.
    cog_engine::embedded::run_if_init();
    for name in variables::empty(|name| std::env::var_os(name)) {
        // SAFETY: nothing else runs in this process yet that could read or change its environment.
        unsafe { std::env::remove_var(name) };
    }
    if let Some(mistake) = variables::mistake(|name| std::env::var_os(name)) {
        Printer::new(Colour::choose(false), false).rendered_error(&mistake);
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if cli.global.no_color {
        // SAFETY: nothing else runs in this process yet that could read or change its environment.
        unsafe { std::env::set_var(NO_COLOR, "1") };
    }
    let colour = Colour::choose(cli.global.no_color);
    let printer = Printer::new(colour, cli.global.debug);
    if cli.global.quiet {
        printer.set_progress(Progress::Quiet);
    }
    match dispatch(cli, &printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(exit) = commands::interrupted(&error) {
                exit.imitate();
            }
            let rendered = match colour {
                Colour::On => cog_errors::Colour::On,
                Colour::Off => cog_errors::Colour::Off,
            };
            if let Some(unsaid) = commands::unsaid(&error, printer.progress()) {
                printer.rendered_error(&unsaid);
            }
            printer.rendered_error(&commands::render(&error, rendered));
            commands::exit_code(&error)
        }
    }
}

/// When this binary was built, which its build script has noted in seconds since the epoch.
fn build_time() -> Timestamp {
    let seconds = env!("COG_BUILD_TIME").parse().unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or_default()
}

fn dispatch(cli: Cli, printer: &Printer) -> anyhow::Result<()> {
    if cli.version {
        let text = format!(
            "cog version {} (built {})\n",
            env!("CARGO_PKG_VERSION"),
            build_time()
        );
        return Ok(printer.result("the version", &text)?);
    }
    let Some(command) = cli.command else {
        return Ok(printer.result(HELP, Cli::command().render_help().to_string())?);
    };
    if cli.global.profile {
        printer.debug("`--profile` has no effect");
    }
    update::check(printer);
    let session = Session::new(printer, &cli.global)?;
    match command {
        Command::Init(args) => commands::init(session.directory(), printer, &args),
        Command::Build(args) => commands::build(&session, &args),
        Command::Push(args) => commands::push(&session, &args),
        Command::Pull(args) => commands::pull(&session, &args),
        Command::Login(args) => commands::login(&session, &args),
        Command::Doctor(args) => doctor::doctor(&session, &args),
        Command::Lock(args) => commands::lock(&session, &args),
        Command::Debug(args) => commands::debug(&session, &args),
        Command::Run(args) => commands::run(&session, &args),
        Command::Predict(args) => {
            printer.warning(r#""cog predict" is deprecated, use "cog run""#);
            commands::run(&session, &args)
        }
        Command::Train(args) => {
            printer.warning(
                r#"Command "train" is deprecated, the train command will be removed in a future version of Cog"#,
            );
            commands::train(&session, args)
        }
        Command::Serve(args) => commands::serve(&session, &args),
        Command::Bench(args) => commands::bench(&session, &args),
        Command::Playground(args) => commands::playground(printer, &args),
        Command::Exec(args) => commands::exec(&session, &args),
        Command::Schema(args) => commands::schema(&session, &args),
        Command::Images(args) => commands::images(&session, &args),
        Command::Inspect(args) => commands::inspect(&session, &args),
        Command::Tag(args) => commands::tag(&session, &args),
        Command::Rmi(args) => commands::rmi(&session, &args),
        Command::Prune(args) => commands::prune(&session, &args),
        Command::Completion(args) => commands::completion(printer, args.shell, &Cli::command()),
        Command::BaseImage(command) => {
            commands::base_image(&command, cli.global.registry.as_deref(), printer)
        }
    }
}

/// Help goes to stdout with status 0; a mistake in the arguments goes to stderr with status 1, as every failure does.
fn usage(error: &clap::Error) -> ExitCode {
    let printer = Printer::new(Colour::choose(false), false);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match printer.result(HELP, error.render().to_string()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    let rendered = cog_errors::render(&error, None, cog_errors::Colour::Off);
                    printer.rendered_error(&rendered);
                    ExitCode::FAILURE
                }
            }
        }
        ErrorKind::InvalidSubcommand => {
            let word = texts(error, ContextKind::InvalidSubcommand).concat();
            let similar = texts(error, ContextKind::SuggestedSubcommand);
            let words = std::env::args_os().skip(1);
            let words = words.map(|word| word.to_string_lossy().into_owned());
            printer.rendered_error(&unknown_command(words, &word, &similar));
            ExitCode::FAILURE
        }
        ErrorKind::InvalidUtf8 => {
            printer.rendered_error(&variables::odd_arguments(std::env::args_os()));
            ExitCode::FAILURE
        }
        _ => {
            let mut text = error.render().to_string();
            let argument = texts(error, ContextKind::InvalidArg).concat();
            if let Some(variable) = variables::origin(&argument, std::env::args_os()) {
                let _ = write!(text, "\nThe value is that of `{variable}`.");
            }
            printer.rendered_error(&text);
            ExitCode::FAILURE
        }
    }
}

/// What an error says of its circumstances.
fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// `words` is the whole command line, `word` the one in it that is no command, `similar` are commands that look like it.
fn unknown_command(words: impl Iterator<Item = String>, word: &str, similar: &[String]) -> String {
    let mut command = Cli::command();
    let mut path = command.get_name().to_owned();
    for given in words.take_while(|given| given != word) {
        if let Some(found) = command.find_subcommand(&given) {
            path = format!("{path} {}", found.get_name());
            command = found.clone();
        }
    }
    let mut text = format!("unknown command \"{word}\" for \"{path}\"");
    let meant: &[&str] = match word {
        "infer" => &["run", "predict"],
        "new" | "start" => &["init"],
        "auth" | "authenticate" | "authorize" => &["login"],
        "http" => &["serve"],
        "ui" | "gui" => &["playground"],
        _ => &[],
    };
    let begins = |name: &str| !word.is_empty() && name.starts_with(word);
    let suggested: Vec<&str> = command
        .get_subcommands()
        .filter(|known| {
            let name = known.get_name();
            let looks_like_it = begins(name) || similar.iter().any(|similar| similar == name);
            meant.contains(&name) || (looks_like_it && !known.is_hide_set())
        })
        .map(clap::Command::get_name)
        .collect();
    if !suggested.is_empty() {
        text.push_str("\n\nDid you mean this?");
        for name in suggested {
            text.push_str("\n\t");
            text.push_str(name);
        }
    }
    let _ = write!(text, "\n\nRun '{path} --help' for usage.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_name_what_was_meant() {
        let said = |line: &str, similar: &[&str]| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let similar: Vec<String> = similar.iter().map(ToString::to_string).collect();
            let word = words.last().cloned().unwrap_or_default();
            unknown_command(words.into_iter(), &word, &similar)
        };
        assert!(said("http", &[]).contains("\n\tserve"));
        assert!(said("gui", &[]).contains("\n\tplayground"));
        let infer = said("infer", &[]);
        assert!(
            infer.starts_with("unknown command \"infer\" for \"cog\"\n"),
            "{infer}"
        );
        assert!(
            infer.contains("\n\trun") && infer.contains("\n\tpredict"),
            "{infer}"
        );
        assert!(said("biuld", &["build"]).contains("\n\tbuild"));
        assert!(said("predcit", &["predict"]).ends_with("\"cog\"\n\nRun 'cog --help' for usage."));
        assert!(!said("", &[]).contains("Did you mean"));
        let nested = said("--debug base-image nothing", &[]);
        assert!(
            nested.starts_with("unknown command \"nothing\" for \"cog base-image\""),
            "{nested}"
        );
    }
}
