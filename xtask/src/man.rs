//! Manual pages, from the definition that the program parses with.

use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// One page for the program, and one for each command that its help lists.
pub(crate) fn write(command: Command, folder: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(folder)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, "cog", folder)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let name = format!("cog-{}", sub.get_name());
        page(sub, &name, folder)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    let mut text = Vec::new();
    Man::new(command.clone())
        .title(name)
        // The date of the build would be another one each time.
        .date("")
        .source(concat!("cog ", env!("CARGO_PKG_VERSION")))
        .manual("Cog")
        .render(&mut text)?;
    fs_err::write(folder.join(format!("{name}.1")), text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        write(cog::command(), folder.path()).expect("pages can be written");
        let read = |name: &str| {
            fs_err::read_to_string(folder.path().join(name)).expect("the page is there")
        };
        assert!(read("cog.1").contains(".SH SYNOPSIS"));
        let run = read("cog-run.1");
        assert!(
            run.contains("cog run") || run.contains("cog\\-run"),
            "{run}"
        );
        assert!(run.contains("setup\\-timeout"), "{run}");
        assert!(!folder.path().join("cog-predict.1").exists());
    }
}
