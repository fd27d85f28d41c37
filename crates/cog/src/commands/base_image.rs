//! `cog base-image generate-matrix`: the prebuilt bases that there may be, for whoever builds or mirrors them.

use cog_config::{DEFAULT_REGISTRY, Prebuilt, PrebuiltFilter, Version, prebuilt_images};
use serde_json::{Value, json};

use crate::args::{BaseImageCommand, MatrixArgs};
use crate::outputs::pretty;
use crate::printer::Printer;

pub(crate) fn base_image(
    command: &BaseImageCommand,
    registry: Option<&str>,
    printer: &Printer,
) -> anyhow::Result<()> {
    let BaseImageCommand::GenerateMatrix(args) = command;
    let host = registry.filter(|host| !host.is_empty());
    let host = host.unwrap_or(DEFAULT_REGISTRY);
    for mistake in unknown(args) {
        printer.warning(&mistake);
    }
    let text = format!("{}\n", pretty(&matrix(args, host))?);
    Ok(printer.result("the list of base images", &text)?)
}

/// Versions that no image has: a list that is shorter for them would not say why.
fn unknown(args: &MatrixArgs) -> Vec<String> {
    let images = prebuilt_images();
    let text = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
    let cudas = images
        .iter()
        .filter_map(|image| text(&image.cuda))
        .collect();
    let pythons = images.iter().map(Prebuilt::python_version).collect();
    let torches = images
        .iter()
        .filter_map(|image| text(&image.torch))
        .collect();
    let known: [(&str, &[String], Vec<String>); 3] = [
        ("--cuda", &args.cuda, cudas),
        ("--python", &args.python, pythons),
        ("--torch", &args.torch, torches),
    ];
    let of = |(flag, given, known): &(&str, &[String], Vec<String>)| {
        let unknown = given.iter().filter(|version| !known.contains(version));
        let said =
            unknown.map(|version| format!("`{flag} {version}`: no base image has that version"));
        said.collect::<Vec<_>>()
    };
    known.iter().flat_map(of).collect()
}

fn matrix(args: &MatrixArgs, host: &str) -> Vec<Value> {
    let filter = PrebuiltFilter {
        cudas: args.cuda.clone(),
        pythons: args.python.clone(),
        torches: args.torch.clone(),
    };
    let images = prebuilt_images().into_iter();
    images
        .filter(|image| filter.takes(image))
        .map(|image| entry(&image, host))
        .collect()
}

/// What an image doesn't have is empty.
fn entry(image: &Prebuilt, host: &str) -> Value {
    let text = |version: &Option<Version>| version.as_ref().map(ToString::to_string);
    json!({
        "cuda_version": text(&image.cuda).unwrap_or_default(),
        "python_version": image.python_version(),
        "torch_version": text(&image.torch).unwrap_or_default(),
        "image_name": Prebuilt::repository(host),
        "image_tag": image.tag(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_there_are_not_are_told() {
        let list = |versions: &[&str]| versions.iter().map(ToString::to_string).collect();
        let args = MatrixArgs {
            cuda: list(&["12.1", "abc"]),
            python: list(&[""]),
            torch: list(&["2.1.2", "9.9.9"]),
            json: false,
        };
        let said = ["--cuda abc", "--python ", "--torch 9.9.9"];
        assert_eq!(
            unknown(&args),
            said.map(|flag| format!("`{flag}`: no base image has that version"))
        );
    }

    #[test]
    fn images_are_listed_with_their_tags() {
        let args = MatrixArgs {
            cuda: vec!["12.1".to_owned()],
            python: vec!["3.10".to_owned()],
            torch: vec!["2.1.2".to_owned()],
            json: false,
        };
        assert_eq!(
            matrix(&args, "r8.im"),
            [json!({
                "cuda_version": "12.1",
                "python_version": "3.10",
                "torch_version": "2.1.2",
                "image_name": "r8.im/cog-base",
                "image_tag": "cuda12.1-python3.10-torch2.1.2",
            })]
        );
    }
}
