//! Entry point: arguments and environment in, exit code out.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the rim of the program speaks to its user here"
)]

use std::error::Error as _;
use std::process::ExitCode;

use coglet::{Command, Settings};

fn main() -> ExitCode {
    let command = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(problem) => {
            eprintln!("{}\ncoglet: error: {problem}", coglet::USAGE);
            return ExitCode::from(2);
        }
    };
    let arguments = match command {
        Command::Version => {
            println!("coglet {}", coglet::VERSION);
            return ExitCode::SUCCESS;
        }
        Command::Help => {
            println!("{}", coglet::USAGE);
            return ExitCode::SUCCESS;
        }
        Command::Serve(arguments) => arguments,
    };
    let served = Settings::from_environment(arguments).and_then(coglet::run);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn with_causes(error: &coglet::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
