//! Completion takes any lines.

use cog_config::{CogBase, CudaBase, Options, complete, requirements};
use proptest::prelude::*;

use crate::support::Project;

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "torch",
        "torchvision",
        "torchaudio",
        "tensorflow",
        "cog",
        "a.b",
        "[x]",
        "[",
        "]",
        "==",
        "===",
        ">=",
        "~=",
        "!=",
        "<",
        "=",
        "2.3",
        "2.3.1",
        "1.13.1",
        "2.0.1+cu118",
        "0.18.1",
        "0.14.1",
        "2.15.0",
        ".*",
        "+cu",
        "+cu9",
        "999999999999",
        " ",
        "  ",
        "\t",
        ",",
        ";",
        "|",
        "@",
        "https://x/cu118/torch-2.1.0%2Bcu118-cp311.whl",
        ".whl",
        "--extra-index-url",
        "--find-links",
        "-f",
        "-r",
        "-e",
        ".",
        "--hash=sha256:0",
        "\\",
        "\n",
        "\r\n",
        "#",
        "é",
        "python_version > '3'",
        "(",
        ")",
        "*",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_stands_there(
        text in pieces(),
        gpu in any::<bool>(),
        cuda in prop::option::of(prop::sample::select(vec!["11.8", "12.1", "12.1.1", "13.0", "12.99", "12.", "12.4.1.1"])),
        cudnn in prop::option::of(prop::sample::select(vec!["8", "9", "8.6", "x"])),
        python in prop::sample::select(vec!["3.10", "3.11.4", "3.14", "3.99", "4.0", "3.13.0rc1"]),
        cog_base in prop::sample::select(vec![CogBase::Off, CogBase::Preferred, CogBase::Required]),
        cuda_base in prop::sample::select(vec![CudaBase::Auto, CudaBase::Off]),
    ) {
        let field = |name: &str, value: Option<&str>| value.map(|value| format!(", {name}: '{value}'")).unwrap_or_default();
        let yaml = format!("build: {{python_version: '{python}', gpu: {gpu}{}{}}}\n", field("cuda", cuda), field("cudnn", cudnn));
        // Some of these are refused; validation must not fall either.
        if let Ok(loaded) = Project::new(&yaml).load() {
            let lines = requirements::lines(&text);
            let options = Options { cog_base, cuda_base, ..Options::default() };
            if let Ok(completed) = complete(&loaded.config, &lines, &options) {
                prop_assert!(completed.requirements.len() >= lines.len());
                prop_assert!(!completed.bases.is_empty());
                prop_assert_eq!(completed.cuda.is_some() && completed.cudnn.is_some(), gpu || cuda.is_some() && cudnn.is_some());
                let again = complete(&loaded.config, &lines, &options);
                prop_assert_eq!(Ok(completed), again);
            }
        }
    }

    #[test]
    fn old_pythons_are_always_advised(text in pieces()) {
        let lines = requirements::lines(&text);
        let list = serde_json::to_string(&lines).expect("text");
        let yaml = format!("build: {{python_version: '3.8', python_packages: {list}}}\n");
        if let Err(error) = Project::new(&yaml).load() {
            prop_assert!(cog_errors::Hint::hint(&error).is_some() || !error.to_string().contains("minimum supported"));
        }
    }
}
