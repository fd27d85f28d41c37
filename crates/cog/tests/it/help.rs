//! What `--help` says, of every command: a change of it shows.

use clap::Command;

/// As wide as it ever gets.
const WIDTH: usize = 100;

fn help(command: &Command, name: &str) -> String {
    let mut command = command.clone().term_width(WIDTH).bin_name(name);
    command.render_long_help().to_string()
}

#[test]
fn help_texts() {
    let mut cog = cog::command();
    cog.build();
    // Values of this machine's variables.
    insta::with_settings!({ filters => vec![(r"(\[env: \w+=)[^\]]*", "$1")] }, {
        insta::assert_snapshot!("cog", help(&cog, "cog"));
        for command in cog.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            insta::assert_snapshot!(format!("cog-{name}"), help(command, &format!("cog {name}")));
        }
    });
}
