//! What `--gpus` says.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::GpuError;

/// GPUs that a workload asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuRequest {
    /// Every one.
    All,
    /// The first so many.
    Count(usize),
    /// These: numbers, identifiers such as `GPU-…`, or whole names such as `nvidia.com/gpu=0`.
    Devices(Vec<String>),
}

impl FromStr for GpuRequest {
    type Err = GpuError;

    /// `all`, a count, or `device=0,1`, which scripts written for shells and CSV readers also put in quotes.
    fn from_str(text: &str) -> Result<Self, GpuError> {
        let invalid = || GpuError::Request(text.to_owned());
        let bare = ['"', '\'']
            .into_iter()
            .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(text);
        if bare == "all" {
            return Ok(Self::All);
        }
        if let Some(list) = bare.strip_prefix("device=") {
            let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
            return if names.iter().any(String::is_empty) {
                Err(invalid())
            } else if names == ["all"] {
                Ok(Self::All)
            } else {
                Ok(Self::Devices(names))
            };
        }
        bare.parse().map(Self::Count).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_a_count_or_devices() {
        let devices =
            |names: &[&str]| GpuRequest::Devices(names.iter().map(|&name| name.into()).collect());
        for (text, expected) in [
            ("all", GpuRequest::All),
            ("2", GpuRequest::Count(2)),
            ("0", GpuRequest::Count(0)),
            ("device=0,1", devices(&["0", "1"])),
            ("\"device=0,1\"", devices(&["0", "1"])),
            ("'device=1'", devices(&["1"])),
            (
                "device=GPU-5f3c, nvidia.com/gpu=1",
                devices(&["GPU-5f3c", "nvidia.com/gpu=1"]),
            ),
            ("device=all", GpuRequest::All),
        ] {
            assert_eq!(text.parse::<GpuRequest>().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_in_the_words_users_know() {
        for text in [
            "",
            "some",
            "-1",
            "1.5",
            "device=",
            "device=0,",
            "count=1",
            "\"all",
        ] {
            let message = text.parse::<GpuRequest>().unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("invalid GPU specification: \"{text}\"")),
                "{message}"
            );
        }
    }
}
