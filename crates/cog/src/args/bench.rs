//! Flags of `cog bench`.

use std::num::{NonZeroU32, NonZeroU64};

use clap::Args;

use super::StartFlags;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) flags: StartFlags,

    /// Address of a running server (`http://` or `https://`), or an image to start; without it, the project is started
    #[arg(value_name = "URL|IMAGE")]
    pub(crate) target: Option<String>,

    /// Input of each prediction, as `name=value`, or `name=@file` for a file
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,

    /// All inputs as one JSON object, `@FILE`, or `-` for standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) input_json: Option<String>,

    /// Clients that each wait for an answer before they ask again
    #[arg(short, long, value_name = "CLIENTS", default_value = "1", value_parser = clients)]
    pub(crate) concurrency: NonZeroU32,

    /// Predictions a second, sent when they are due whether the server keeps up or not
    #[arg(short, long, value_name = "PER_SECOND", conflicts_with = "concurrency", value_parser = positive)]
    pub(crate) rate: Option<f64>,

    /// Seconds that predictions are sent for; 10 if neither this nor `--requests` is given
    #[arg(short, long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) duration: Option<f64>,

    /// Predictions to send at most
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(crate) requests: Option<NonZeroU64>,

    /// Ask for event streams, and measure the time to the first output as well
    #[arg(long)]
    pub(crate) stream: bool,

    /// Header of each request, such as a token
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// Seconds that one prediction may take
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = positive)]
    pub(crate) timeout: f64,

    /// Environment variable for the model that is started
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,

    /// Seconds that setup of the model that is started may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) setup_timeout: u64,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// More clients of one address have no ports of their own.
const MOST_CLIENTS: u32 = 65_535;

fn clients(text: &str) -> Result<NonZeroU32, String> {
    match text.parse::<NonZeroU32>() {
        Ok(number) if number.get() <= MOST_CLIENTS => Ok(number),
        _ => Err(format!("must be from 1 to {MOST_CLIENTS}")),
    }
}

/// A number of seconds or of requests a second that can be reckoned with.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        Ok(_) => Err("must be more than 0 and at most 1000000".into()),
        Err(_) => Err("is not a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_a_port_each() {
        for right in ["1", "65535"] {
            assert_eq!(clients(right).unwrap().to_string(), right);
        }
        for wrong in ["0", "-1", "65536", "4294967295", "x", ""] {
            assert!(clients(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_can_be_reckoned_with_is_a_number() {
        assert_eq!(positive("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "1e7", "x", ""] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
