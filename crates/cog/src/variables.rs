//! What is looked at of the environment before anything else: variables that are empty, and those that are no text.

use std::ffi::OsString;

/// Variables that stand in for a flag, and that flag. An empty one is as good as none, which the parser of arguments does
/// not know.
const OF_FLAGS: [(&str, &str); 6] = [
    ("COG_BACKEND", "--backend"),
    ("COG_BASE", "--base"),
    ("COG_ENGINE", "--engine"),
    ("COG_LOAD", "--load"),
    ("COG_REGISTRY_HOST", "--registry"),
    ("COG_TORCH_INDEX", "--torch-index"),
];
/// Others whose value is text. What holds a path may have any bytes.
const TEXTS: [&str; 17] = [
    "BUILDKIT_PROGRESS",
    "COGLET_WHEEL",
    "COG_CA_CERT",
    "COG_DEBIAN_MIRROR",
    "COG_INSECURE_REGISTRIES",
    "COG_MODEL",
    "COG_MODEL_REGISTRY",
    "COG_MODEL_REPO",
    "COG_MODEL_TAG",
    "COG_PUSH_CONCURRENCY",
    "COG_PUSH_DEFAULT_CHUNK_SIZE",
    "COG_PUSH_MULTIPART_THRESHOLD",
    "COG_SDK_WHEEL",
    "COG_UPDATE_URL",
    "REPLICATE_API_TOKEN",
    "RUST_LOG",
    "SOURCE_DATE_EPOCH",
];

/// Variables that stand in for a flag and are empty.
pub(crate) fn empty(
    variable: impl Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = &'static str> {
    OF_FLAGS
        .into_iter()
        .map(|(name, _)| name)
        .filter(move |name| variable(name).is_some_and(|value| value.is_empty()))
}

/// What is wrong with the first variable that should be text and is none: it would be taken for one that is not set.
pub(crate) fn mistake(variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let is_odd = |name: &&str| variable(name).is_some_and(|value| value.to_str().is_none());
    let of_flags = OF_FLAGS.into_iter().map(|(name, _)| name);
    let odd = of_flags.chain(TEXTS).find(is_odd)?;
    Some(format!("the value of `{odd}` is not UTF-8 text"))
}

/// Which variable a refused value of `argument` came from, as the parser calls that, if the flag was not given.
pub(crate) fn origin(
    argument: &str,
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<&'static str> {
    let name = argument.split([' ', '=', '[']).next()?;
    let (variable, flag) = OF_FLAGS.into_iter().find(|(_, flag)| *flag == name)?;
    let is_given = arguments.any(|given| {
        let given = given.to_string_lossy();
        given
            .strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    (!is_given).then_some(variable)
}

/// The same of the arguments, of which those with paths may have any bytes: this is for when one was refused.
pub(crate) fn odd_arguments(arguments: impl Iterator<Item = OsString>) -> String {
    let odd = arguments.filter(|argument| argument.to_str().is_none());
    let odd: Vec<String> = odd
        .map(|argument| format!("`{}`", cog_errors::plain(&argument.to_string_lossy())))
        .collect();
    format!("not UTF-8 text: {}", odd.join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn odd() -> OsString {
        OsString::from_vec(b"a\xff".to_vec())
    }

    /// Those that the command line knows.
    fn known(command: &clap::Command) -> Vec<String> {
        let own = command.get_arguments().filter_map(clap::Arg::get_env);
        let own = own.map(|name| name.to_string_lossy().into_owned());
        let below = command.get_subcommands().flat_map(known);
        let mut all: Vec<String> = own.chain(below).collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn every_variable_of_a_flag_is_known() {
        assert_eq!(known(&Cli::command()), OF_FLAGS.map(|(name, _)| name));
    }

    #[test]
    fn values_of_variables_are_told_from_those_of_flags() {
        let origin = |argument, given: &[&str]| origin(argument, given.iter().map(OsString::from));
        assert_eq!(origin("--engine <ENGINE>", &["run"]), Some("COG_ENGINE"));
        assert_eq!(origin("--engine <ENGINE>", &["run", "--engine", "x"]), None);
        assert_eq!(origin("--engine <ENGINE>", &["run", "--engine=x"]), None);
        assert_eq!(origin("--port <PORT>", &["serve"]), None);
    }

    #[test]
    fn empty_ones_are_found() {
        let variable = |name: &str| {
            let value = if name == "COG_BASE" { "debian" } else { "" };
            (name != "COG_LOAD").then(|| value.into())
        };
        let found: Vec<_> = empty(variable).collect();
        let others = [
            "COG_BACKEND",
            "COG_ENGINE",
            "COG_REGISTRY_HOST",
            "COG_TORCH_INDEX",
        ];
        assert_eq!(found, others);
    }

    #[test]
    fn what_is_no_text_is_named() {
        assert_eq!(mistake(|_| Some("x".into())), None);
        for name in ["COG_ENGINE", "COG_MODEL"] {
            let said = mistake(|asked| (asked == name).then(odd));
            assert_eq!(
                said,
                Some(format!("the value of `{name}` is not UTF-8 text"))
            );
        }
        let arguments = ["run".into(), odd(), "é".into()];
        assert_eq!(
            odd_arguments(arguments.into_iter()),
            "not UTF-8 text: `a\u{fffd}`"
        );
    }
}
