//! What a container sees, and what it leaves.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use cog_testing::skip;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use crate::job::{Place, containers_work, outcome, tree};
use crate::rootfs;

#[test]
fn the_exit_status_is_the_commands() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for code in [0, 1, 7, 255] {
        assert_eq!(place.container().script(&format!("exit {code}")).code, code);
    }
    let plain = place.container().script("exit 137");
    assert_eq!(
        (plain.code, plain.stderr.as_str()),
        (137, ""),
        "a status is not a signal"
    );
    let killed = place.container().script("kill -KILL $$");
    assert_eq!(
        (killed.code, killed.stderr.trim()),
        (137, "ended by signal 9")
    );
    assert_eq!(place.container().script("kill -SEGV $$").code, 139);
}

#[test]
fn the_environment_is_the_callers_alone() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let job = place
        .container()
        .option("--env", "GREETING=hello world")
        .option("--env", "PATH=/bin");
    let mut lines: Vec<String> = job
        .run(&["env"])
        .text()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["GREETING=hello world", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn a_missing_working_directory_is_made_and_not_kept() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let upper = place.directory("upper");
    let job = place
        .container()
        .option("--upper", &upper)
        .option("--cwd", "/some/where");
    assert_eq!(job.script("pwd; umask").text(), "/some/where\n0022");
    assert_eq!(tree(&upper), Vec::<String>::new());
}

#[test]
fn streams_and_descriptors_pass_through() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let file = place.file("passed", "");
    let mut command = place
        .container()
        .option("--pass", format!("OUT={}", file.display()))
        .command(&["sh", "-c", "cat; echo problem >&2; echo through >&$OUT"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from outside")
        .unwrap();
    let said = outcome(&child.wait_with_output().unwrap());
    assert_eq!(
        (said.text(), said.stderr.as_str()),
        ("from outside", "problem\n")
    );
    assert_eq!(fs_err::read_to_string(file).unwrap(), "through\n");
}

#[test]
fn a_closed_output_is_noticed_outside() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut command = place
        .container()
        .command(&["sh", "-c", "exec >&-; read line; exit 3"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Only the parent of the container's processes may still have it, and that is the example.
    let mut output = child.stdout.take().unwrap();
    drop(command);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(std::io::read_to_string(&mut output).unwrap(), "");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn nothing_else_is_inherited() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let script = r#"exec 9</etc/passwd; exec "$@""#;
    let inner = place.container().command(&["ls", "/proc/self/fd"]);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let said = outcome(&command.stdin(Stdio::null()).output().unwrap());
    // 3 is the directory itself.
    assert_eq!(
        said.text().lines().collect::<Vec<_>>(),
        ["0", "1", "2", "3"]
    );
    assert_eq!(
        place
            .container()
            .script("yes | head -1; exit ${PIPESTATUS[0]}")
            .code,
        141,
        "SIGPIPE is not ignored"
    );
}

#[test]
fn layers_hide_and_delete_what_is_below() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for file in [
        "one/data/gone",
        "one/data/changed",
        "one/whole/old",
        "two/whole/new",
    ] {
        place.file(file, file);
    }
    place.file("two/data/changed", "newer");
    if mknodat(
        CWD,
        place.path("two/data/gone"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .is_err()
    {
        skip("whiteouts cannot be made here");
        return;
    }
    setxattr(
        place.path("two/whole"),
        "user.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )
    .unwrap();
    let job = place
        .container()
        .layer(&place.path("one"))
        .layer(&place.path("two"));
    let said = job.script("cat /data/changed; echo; ls /data /whole; cat /data/lower");
    assert_eq!(
        said.text(),
        "newer\n/data:\nchanged\nlower\n\n/whole:\nnew\nfrom the base"
    );
}

#[test]
fn a_hundred_layers_with_long_names() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut job = place.container();
    for number in 0..100 {
        let layer = format!("{number}-{}:,\\ x", "long".repeat(50));
        place.file(&format!("{layer}/data/{number}"), "");
        job = job.layer(&place.path(&layer));
    }
    assert_eq!(job.script("set -- /data/[0-9]*; echo $#").text(), "100");
}

#[test]
fn a_kept_upper_has_the_changes_and_nothing_else() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let (upper, project) = (place.directory("changes/upper"), place.directory("project"));
    let bundle = place.file("bundle.pem", "CERTIFICATES\n");
    let job = place
        .container()
        .option("--upper", &upper)
        .option("--ca", &bundle)
        .option("--cwd", "/src");
    let job = job
        .mount(&project, "/src")
        .mount(&bundle, "/opt/deep/down/file:ro");
    let script =
        "echo made > /data/made; rm /data/lower; mkdir -m 700 /data/closed; cat /opt/deep/down/file
        cat /etc/ssl/certs/ca-certificates.crt; touch here";
    assert_eq!(job.script(script).text(), "CERTIFICATES\nCERTIFICATES");
    assert_eq!(
        tree(&upper),
        [
            "data 40755",
            "data/closed 40700",
            "data/lower 20000",
            "data/made 100644 made"
        ]
    );
    assert!(project.join("here").exists());
    assert_eq!(
        fs_err::read_dir(place.path("changes")).unwrap().count(),
        1,
        "overlayfs's own directories are gone"
    );
}

#[test]
fn temporary_changes_leave_nothing() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let script = "mkdir -p /a/b; touch /a/b/c; chmod 000 /a/b /a; echo x > /data/lower";
    place.container().script(script).text();
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
    assert_eq!(
        fs_err::read_to_string(rootfs::base().join("data/lower")).unwrap(),
        "from the base\n"
    );
}

#[test]
fn mounts_are_read_only_when_asked() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let project = place.directory("project");
    let file = place.file("project/file", "text");
    let job = place
        .container()
        .mount(&project, "/ro:ro")
        .mount(&project, "/rw")
        .mount(&file, "/etc/one:ro");
    let said = job.script("cat /etc/one; touch /ro/x || touch /rw/y; echo z > /etc/one");
    assert_eq!((said.code, said.stdout.as_str()), (1, "text"));
    assert!(
        said.stderr.contains("Read-only file system"),
        "{}",
        said.stderr
    );
    assert!(project.join("y").exists() && !project.join("x").exists());
    assert_eq!(fs_err::read_to_string(file).unwrap(), "text");
}

#[test]
fn links_of_an_image_lead_no_mount_out_of_it() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let outside = place.directory("outside");
    let project = place.directory("project");
    let up = "../".repeat(12);
    fs_err::create_dir_all(place.path("layer/etc")).unwrap();
    for (name, target) in [("src", &outside), ("etc/hosts", &outside.join("hosts"))] {
        let link = format!("{up}{}", target.strip_prefix("/").unwrap().display());
        std::os::unix::fs::symlink(link, place.path("layer").join(name)).unwrap();
    }
    std::os::unix::fs::symlink(&outside, place.path("layer/proc")).unwrap();
    let job = place
        .container()
        .layer(&place.path("layer"))
        .mount(&project, "/src")
        .option("--cwd", "/src");
    let said = job.script("touch made; cat /etc/hosts");
    assert!(said.text().contains("127.0.0.1 cog"));
    assert_eq!(tree(&outside), Vec::<String>::new());
    assert!(project.join("made").exists());
}

#[test]
fn a_wrong_mount_is_explained() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let missing = place
        .container()
        .mount(&place.path("absent"), "/src")
        .run(&["true"]);
    let error = missing.error();
    assert!(
        error.contains("absent` to mount it at `/src`: No such file"),
        "{error}"
    );
    let relative = place
        .container()
        .mount(place.dir.path(), "src")
        .run(&["true"]);
    assert!(
        relative.error().contains("absolute path"),
        "{}",
        relative.stderr
    );
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_command_that_cannot_start_is_explained() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let layer = place.directory("layer");
    for (name, text) in [("script", "#!/absent\n"), ("text", "no program")] {
        let path = place.file(&format!("layer/bin/{name}"), text);
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (command, expected) in [
        (
            "absent",
            "error: `absent`: executable file not found in $PATH",
        ),
        ("/bin/absent", "error: `/bin/absent`: no such file"),
        ("/etc/passwd", "error: `/etc/passwd`: permission denied"),
        ("/data", "error: `/data`: is a directory"),
        (
            "script",
            "error: `script`: the interpreter or dynamic linker it asks for does not exist",
        ),
        (
            "text",
            "error: `text`: not a program for this machine, nor a script with a `#!` line",
        ),
    ] {
        assert_eq!(
            place.container().layer(&layer).run(&[command]).error(),
            expected
        );
    }
    assert_eq!(
        place.container().run(&[]).error(),
        "error: ``: there is no command to run"
    );
    assert!(
        place
            .bare()
            .run(&["true"])
            .error()
            .contains("not found in $PATH")
    );
    let gone = place.bare().layer(&place.path("no-layer")).run(&["true"]);
    assert!(
        gone.error().contains("no-layer`: No such file"),
        "{}",
        gone.stderr
    );
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_scratch_directory_that_cannot_work_is_explained() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let (lower, upper, work) = (
        place.directory("lower"),
        place.directory("upper"),
        place.directory("work"),
    );
    let merged = place.directory("merged");
    let inner = place
        .container()
        .option("--scratch", &merged)
        .command(&["true"]);
    let options = format!(
        "userxattr,lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let mut command = std::process::Command::new("unshare");
    command.args([
        "-Urm",
        "sh",
        "-c",
        r#"mount -t overlay overlay -o "$0" "$1" && shift && exec "$@""#,
    ]);
    command
        .arg(options)
        .arg(&merged)
        .arg(inner.get_program())
        .args(inner.get_args());
    let said = outcome(&command.output().unwrap());
    assert!(
        said.error()
            .contains("(overlay) that cannot hold a container's changes"),
        "{}",
        said.stderr
    );
}

#[test]
fn the_hosts_loopback_is_reachable() {
    if !containers_work() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"hello from the host\n").unwrap();
    });
    let place = Place::new();
    let said = place
        .container()
        .script(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3"));
    assert_eq!(said.text(), "hello from the host");
    server.join().unwrap();
}

#[test]
fn names_are_resolved_as_on_the_host() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place
        .container()
        .script("hostname; cat /etc/hosts; cat /etc/resolv.conf");
    let text = said.text();
    assert!(
        text.starts_with("cog\n") && text.contains("127.0.0.1 cog"),
        "{text}"
    );
    let resolver = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(text.ends_with(resolver.trim_end()));
}

#[test]
fn starting_is_quick() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut times: Vec<u32> = (0..20)
        .map(|_| {
            let mut job = place.container();
            job.command.arg("--time");
            let said = job.run(&["true"]);
            said.text();
            said.stderr
                .split_whitespace()
                .find_map(|word| word.parse().ok())
                .unwrap()
        })
        .collect();
    times.sort_unstable();
    println!(
        "start of a container: median {} µs, least {} µs, most {} µs",
        times[10], times[0], times[19]
    );
}

#[test]
fn a_layered_mount_takes_writes_and_keeps_its_source() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    place.file("project/a,b c/model.py", "original\n");
    let project = place.path("project/a,b c");
    let before = tree(&project);
    let said = place
        .container()
        .option("--mount", format!("{}:/src:layered", project.display()))
        .option("--cwd", "/src")
        .script("cat model.py; echo more >> model.py; touch new; rm -f gone; cat model.py; ls");
    assert_eq!(
        said.text().lines().collect::<Vec<_>>(),
        ["original", "original", "more", "model.py", "new"]
    );
    assert_eq!(tree(&project), before);
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
}
