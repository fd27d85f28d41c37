//! Steps that run in containers.

use crate::support::{Project, file, shared_store, skipped, text, unique};
use cog_build::{BuildError, Secret};
use cog_config::{EnvironmentVariable, Mount, RunCommand};

fn commands(project: &mut Project, commands: &[&str]) {
    let command = |&command: &&str| RunCommand {
        command: command.to_owned(),
        mounts: Vec::new(),
    };
    project.build_section().run = commands.iter().map(command).collect();
}

#[test]
fn system_packages_commands_and_variables_come_together() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    project.build_section().system_packages = vec!["zsh".into()];
    project.config.environment = vec![EnvironmentVariable {
        name: "GREETING".into(),
        value: "a \"b\" $c".into(),
    }];
    commands(
        &mut project,
        &[
            "zsh -c 'print -r -- $GREETING' > /greeting",
            "python -c 'import requests, sys; print(sys.prefix)' > /prefix; pwd > /where",
            "true",
            "true",
            &format!("cat /greeting{}", unique()),
        ],
    );
    let built = project.build(&store).expect("it builds");
    assert_eq!(text(&store, &built, "greeting"), "a \"b\" $c\n");
    assert_eq!(text(&store, &built, "prefix"), "/opt/venv\n");
    assert_eq!(text(&store, &built, "where"), "/\n");
    assert!(file(&store, &built, "usr/bin/zsh").is_some());
    assert!(project.events.output().contains(&"a \"b\" $c".to_owned()));
    for layer in built
        .image
        .layers
        .iter()
        .filter(|layer| !layer.created_by.contains("base"))
    {
        let files = store.snapshot(layer).expect("unpacked");
        for left_over in [
            "var/log/dpkg.log",
            "var/lib/apt/lists",
            "tmp/.cog-host-certificates.crt",
        ] {
            assert!(
                !files.join(left_over).exists(),
                "{left_over} in {}",
                layer.created_by
            );
        }
    }
}

#[test]
fn a_failing_command_says_what_it_printed() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    commands(&mut project, &["echo first; echo second >&2; exit 3"]);
    let error = project.build(&store).expect_err("it fails");
    let BuildError::CommandFailed {
        command,
        status,
        output: cog_build::CommandOutput::Reported,
        lines,
    } = &error
    else {
        panic!("another error: {error}");
    };
    assert_eq!(command, "echo first; echo second >&2; exit 3");
    assert_eq!(status, "exit status 3");
    assert_eq!(lines, &["first", "second"]);
    // What belongs to other steps may have come before.
    assert!(
        project
            .events
            .output()
            .ends_with(&["first".into(), "second".into()])
    );
    let message = error.to_string();
    assert!(!message.contains('\n'), "it is not said twice: {message}");
    assert_eq!(error.reported().as_deref(), Some("\n  first\n  second"));
    let again = project
        .build(&store)
        .expect_err("a failure is not remembered");
    assert_eq!(again.to_string(), error.to_string());

    commands(&mut project, &["echo a\necho b"]);
    let error = project.build(&store).expect_err("two lines").to_string();
    assert!(
        error.starts_with("One of the commands in 'run' contains a new line"),
        "{error}"
    );

    let request = project.request(&store, None);
    commands_need_a_container(&request);
}

fn commands_need_a_container(request: &cog_build::BuildRequest<'_>) {
    let mut config = request.config.clone();
    config.build.as_mut().expect("it has one").run = vec![RunCommand {
        command: "true".into(),
        mounts: Vec::new(),
    }];
    let request = cog_build::BuildRequest {
        config: &config,
        secrets: Vec::new(),
        base: request.base.clone(),
        user: None,
        options: request.options.clone(),
        architectures: request.architectures.clone(),
        interface: request.interface.clone(),
        push_id: None,
        ..*request
    };
    let error = cog_build::build(&request, "test/image").expect_err("nothing can run");
    assert!(
        matches!(error, BuildError::NeedsContainer { .. }),
        "{error}"
    );
}

#[test]
fn secrets_are_seen_by_their_command_alone() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    project.write("token.txt", "hidden-8f3a1c");
    project.write(".dockerignore", "token.txt\n");
    let mount = |id: &str, target: &str| Mount {
        kind: "secret".into(),
        id: id.into(),
        target: target.into(),
    };
    project.build_section().run = vec![
        RunCommand {
            command: format!("true{}", unique()),
            mounts: Vec::new(),
        },
        RunCommand {
            command: format!(
                "test \"$(cat secret.txt)\" = hidden-8f3a1c && wc -c < /deep/er/token > /size{}",
                unique()
            ),
            mounts: vec![
                mount("token", "secret.txt"),
                mount("token", "/deep/er/token"),
            ],
        },
        RunCommand {
            command: "test ! -e /secret.txt && test ! -e /deep".into(),
            mounts: Vec::new(),
        },
    ];
    let missing = project.build(&store).expect_err("the secret was not given");
    assert!(missing.to_string().contains("`token`"), "{missing}");
    let built = project.events.take_built();
    let ran = |title: &String| title.contains("true");
    assert!(
        !built.iter().any(ran),
        "it costs no other command: {built:?}"
    );
    project.secrets = vec![Secret::parse("id=token,src=token.txt").expect("valid")];
    let built = project.build(&store).expect("it builds");
    assert_eq!(text(&store, &built, "size").trim(), "13");
    assert!(file(&store, &built, "secret.txt").is_none());

    project.events.take_built();
    project.write("token.txt", "another");
    project.build(&store).expect("it builds");
    assert_eq!(
        project.events.take_built(),
        ["source"],
        "a secret does not decide what is built"
    );
}

#[test]
fn packages_that_the_release_lacks_are_named_with_their_successors() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let mut project = Project::new();
    project.build_section().system_packages =
        vec!["zsh".into(), "libssl1.1".into(), "no-such-thing".into()];
    let error = project.build(&store).expect_err("two are missing");
    let BuildError::NoSystemPackages {
        distribution,
        missing,
    } = &error
    else {
        panic!("another error: {error}");
    };
    assert_eq!(distribution, "Debian GNU/Linux 12 (bookworm)");
    let found: Vec<_> = missing
        .iter()
        .map(|package| (package.name.as_str(), package.instead.as_deref()))
        .collect();
    assert_eq!(
        found,
        [("libssl1.1", Some("libssl3")), ("no-such-thing", None)]
    );
}
