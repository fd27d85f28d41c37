use super::*;
use crate::command::SecretMount;

fn facts() -> Facts {
    Facts {
        base_id: "sha256:base".to_owned(),
        interpreter: Interpreter {
            path: "/usr/bin/python3.11".into(),
            minor: "3.11".into(),
        },
        python_platform: "x86_64-manylinux_2_28".to_owned(),
        containers: Containers::Available,
        certificates: None,
        requirements: Requirements {
            packages: vec!["six".to_owned()],
            ..Requirements::default()
        },
        runtime_id: "runtime".to_owned(),
        compression: Compression::Zstd,
        timestamp: 0,
    }
}

fn wishes() -> Wishes {
    let command = |text: &str| Command {
        command: text.to_owned(),
        secrets: Vec::new(),
    };
    Wishes {
        system_packages: vec!["ffmpeg".to_owned(), "zsh".to_owned()],
        environment: vec![("A".to_owned(), "1".to_owned())],
        commands: vec![command(" echo hello "), command("cowsay moo")],
    }
}

fn plan(wishes: &Wishes, facts: &Facts) -> BuildPlan {
    BuildPlan::new(wishes, facts).expect("the commands are valid")
}

/// The titles of the steps whose keys a change of wishes or facts changes.
fn changed(change: impl FnOnce(&mut Wishes, &mut Facts)) -> Vec<String> {
    let before = plan(&wishes(), &facts());
    let (mut wishes, mut facts) = (wishes(), facts());
    change(&mut wishes, &mut facts);
    plan(&wishes, &facts)
        .steps
        .into_iter()
        .filter(|step| before.steps.iter().all(|old| old.key != step.key))
        .map(|step| step.title)
        .collect()
}

#[test]
fn steps_come_in_order() {
    let certificates =
        Certificates::read("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----")
            .expect("valid");
    let plan = plan(
        &wishes(),
        &Facts {
            certificates,
            ..facts()
        },
    );
    let titles: Vec<&str> = plan.steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "certificates",
            "system packages: ffmpeg, zsh",
            "python packages: 1 requirement",
            "run: echo hello",
            "run: cowsay moo",
            "runtime",
        ]
    );
}

#[test]
fn a_small_project_needs_two_steps() {
    let facts = Facts {
        requirements: Requirements::default(),
        ..facts()
    };
    let titles: Vec<String> = plan(&Wishes::default(), &facts)
        .steps
        .into_iter()
        .map(|step| step.title)
        .collect();
    assert_eq!(titles, ["python environment", "runtime"]);
}

#[test]
fn a_change_redoes_what_stands_on_it() {
    let all = [
        "system packages: ffmpeg, zsh",
        "python packages: 1 requirement",
        "run: echo hello",
        "run: cowsay moo",
        "runtime",
    ];
    assert_eq!(changed(|_, _| {}), [""; 0]);
    assert_eq!(changed(|_, facts| facts.base_id.push('x')), all);
    assert_eq!(changed(|_, facts| facts.timestamp = 1), all);
    assert_eq!(
        changed(|_, facts| facts.compression = Compression::Gzip),
        all
    );
    assert_eq!(
        changed(|_, facts| facts.requirements.packages[0].push_str("==1")),
        all[1..]
    );
    assert_eq!(
        changed(|_, facts| facts.containers = Containers::Missing),
        all[1..]
    );
    assert_eq!(
        changed(|wishes, _| wishes.environment[0].1.push('2')),
        all[2..]
    );
    assert_eq!(
        changed(|wishes, _| wishes.commands[1].command.push('!')),
        ["run: cowsay moo!", "runtime"]
    );
    assert_eq!(changed(|_, facts| facts.runtime_id.push('x')), ["runtime"]);
    let mount = SecretMount {
        id: "a".to_owned(),
        target: "/b".to_owned(),
    };
    assert_eq!(
        changed(|wishes, _| wishes.commands[1].secrets.push(mount)),
        all[3..]
    );
}

#[test]
fn the_order_of_packages_counts() {
    assert_eq!(
        changed(|wishes, _| wishes.system_packages.reverse()).len(),
        5
    );
}

#[test]
fn a_command_of_two_lines_is_refused() {
    let mut wishes = wishes();
    wishes.commands[0].command = "a\nb".to_owned();
    assert!(matches!(
        BuildPlan::new(&wishes, &facts()),
        Err(CommandError::NewLine(_))
    ));
}
