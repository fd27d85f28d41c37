//! Repository tasks that need the crates themselves: `cargo run -p xtask -- docs [--check]`, and `man DIR`.

mod http;
mod man;
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
    /// Write the manual pages of all commands into a folder
    Man {
        /// The folder; made if it is missing
        folder: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Docs { check } => docs(check),
        Task::Man { folder } => man::write(cog::command(), &folder),
    }
}

fn docs(check: bool) -> anyhow::Result<()> {
    let schema = serde_json::to_string_pretty(&cog::config_schema())?;
    let api = http::document(&repository()?.join(http::EXAMPLE))?;
    let document = serde_json::to_string_pretty(&api)?;
    let pages = [
        (
            "docs/reference/cli.md",
            reference::command_line(cog::command()),
        ),
        ("docs/reference/cog-yaml.schema.json", format!("{schema}\n")),
        ("docs/reference/http.md", http::page(&api)),
        ("docs/reference/http.openapi.json", format!("{document}\n")),
    ];
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
