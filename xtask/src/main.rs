//! Repository tasks that need the crates themselves: `cargo run -p xtask -- docs [--check]`.

mod reference;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Write the generated pages of docs/
    Docs {
        /// Write nothing; fail if a page is not what it would be
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let Cli {
        task: Task::Docs { check },
    } = Cli::parse();
    let pages = [(
        "docs/reference/cli.md",
        reference::command_line(cog::command()),
    )];
    for (name, text) in pages {
        let path = repository()?.join(name);
        if check {
            let written = fs_err::read_to_string(&path).unwrap_or_default();
            if written != text {
                bail!("{name} is out of date: run `make docs`");
            }
        } else {
            fs_err::create_dir_all(path.parent().context("a page is in a folder")?)?;
            fs_err::write(&path, text)?;
        }
    }
    Ok(())
}

fn repository() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest
        .parent()
        .context("xtask is in the repository")?
        .to_owned())
}
