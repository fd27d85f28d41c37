//! `cog init`: the starting files of a project.

use std::io;
use std::path::Path;

use anyhow::Context as _;

use crate::printer::Printer;

const FILES: [(&str, &str); 5] = [
    ("cog.yaml", include_str!("../templates/cog.yaml")),
    ("run.py", include_str!("../templates/run.py")),
    (
        "requirements.txt",
        include_str!("../templates/requirements.txt"),
    ),
    (".dockerignore", include_str!("../templates/dockerignore")),
    (
        ".github/workflows/push.yaml",
        include_str!("../templates/push.yaml"),
    ),
];

pub(crate) fn init(directory: &Path, printer: &Printer) -> anyhow::Result<()> {
    printer.info("Setting up the current directory for use with Cog...");
    for (name, content) in FILES {
        if create(&directory.join(name), content)? {
            printer.success(&format!("Creating {name}"));
        } else {
            printer.info(&format!("Skipped existing {name}"));
        }
    }
    printer.info("Done! For next steps, check out the docs at https://cog.run/getting-started");
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
    use super::*;
    use crate::printer::Colour;

    #[test]
    fn writes_five_files_and_keeps_edits() {
        let directory = tempfile::tempdir().unwrap();
        let printer = Printer::new(Colour::Off, false);
        fs_err::write(directory.path().join("run.py"), "mine").unwrap();
        init(directory.path(), &printer).unwrap();
        init(directory.path(), &printer).unwrap();
        for (name, content) in FILES {
            let written = fs_err::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(written, if name == "run.py" { "mine" } else { content });
        }
    }
}
