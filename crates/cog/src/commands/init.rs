//! `cog init`: the starting files of a project.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::args::{InitArgs, TemplateArg};
use crate::outputs::pretty;
use crate::printer::Printer;

/// What a project begins with.
struct Template {
    model: &'static str,
    requirements: &'static str,
    /// What runs it at once.
    example: Option<&'static str>,
}

const PLAIN: Template = Template {
    model: include_str!("../templates/run.py"),
    requirements: NO_REQUIREMENTS,
    example: None,
};
const TEXT: Template = Template {
    model: include_str!("../templates/text/run.py"),
    requirements: NO_REQUIREMENTS,
    example: Some("cog run -i prompt=world"),
};
const IMAGE: Template = Template {
    model: include_str!("../templates/image/run.py"),
    requirements: include_str!("../templates/image/requirements.txt"),
    example: Some("cog run -i image=@photo.jpg"),
};
const STREAMING: Template = Template {
    model: include_str!("../templates/streaming/run.py"),
    requirements: NO_REQUIREMENTS,
    example: Some("cog run -i prompt=Listen:"),
};
const NO_REQUIREMENTS: &str = include_str!("../templates/requirements.txt");

impl Template {
    fn of(chosen: Option<TemplateArg>) -> &'static Self {
        match chosen {
            None => &PLAIN,
            Some(TemplateArg::Text) => &TEXT,
            Some(TemplateArg::Image) => &IMAGE,
            Some(TemplateArg::Streaming) => &STREAMING,
        }
    }

    fn files(&self) -> [(&'static str, &'static str); 5] {
        [
            ("cog.yaml", include_str!("../templates/cog.yaml")),
            ("run.py", self.model),
            ("requirements.txt", self.requirements),
            (".dockerignore", include_str!("../templates/dockerignore")),
            (
                ".github/workflows/push.yaml",
                include_str!("../templates/push.yaml"),
            ),
        ]
    }
}

pub(crate) fn init(directory: &Path, printer: &Printer, args: &InitArgs) -> anyhow::Result<()> {
    let template = Template::of(args.template);
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    printer.info("Setting up the current directory for use with Cog...");
    for (name, content) in template.files() {
        if create(&directory.join(name), content)? {
            printer.success(&format!("Creating {name}"));
            written.push(name);
        } else {
            printer.info(&format!("Skipped existing {name}"));
            kept.push(name);
        }
    }
    if let Some(example) = template.example {
        printer.info(&format!("To run the model: {example}"));
    }
    printer.info("Done! For next steps, check out the docs at https://cog.run/getting-started");
    if args.json {
        let document = json!({ "written": written, "kept": kept });
        printer.result("the list of files", format!("{}\n", pretty(&document)?))?;
    }
    Ok(())
}

/// Writes a new file; false if there is one already. `create_new` leaves no moment in which an edit could be lost.
fn create(path: &Path, content: &str) -> anyhow::Result<bool> {
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    match fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
    {
        Ok(mut file) => {
            io::Write::write_all(&mut file, content.as_bytes())
                .context("could not write a starting file")?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::printer::Colour;

    #[test]
    fn writes_five_files_and_keeps_edits() {
        let kinds = TemplateArg::value_variants().iter().copied().map(Some);
        for kind in kinds.chain([None]) {
            let directory = tempfile::tempdir().unwrap();
            let printer = Printer::new(Colour::Off, false);
            fs_err::write(directory.path().join("run.py"), "mine").unwrap();
            let args = InitArgs {
                template: kind,
                json: false,
            };
            init(directory.path(), &printer, &args).unwrap();
            init(directory.path(), &printer, &args).unwrap();
            for (name, content) in Template::of(kind).files() {
                let written = fs_err::read_to_string(directory.path().join(name)).unwrap();
                assert_eq!(written, if name == "run.py" { "mine" } else { content });
            }
        }
    }
}
