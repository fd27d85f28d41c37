//! How far a container is from the kernel and the host.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use crate::job::{Outcome, Place, containers_work, copy_program, example, outcome};
use crate::lifetime::PATIENCE;

#[test]
fn it_is_alone_with_its_processes() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place
        .container()
        .script("cd /proc; echo [0-9]*; ls -d /proc/1/root/data; echo $$");
    let lines: Vec<&str> = said.text().lines().collect();
    assert_eq!(
        lines[0].split(' ').count(),
        2,
        "process 1 and the shell: {}",
        lines[0]
    );
}

#[test]
fn the_hosts_files_are_out_of_reach() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place
        .container()
        .script("ls /; ls /proc/1/cwd/; readlink /proc/1/exe; cat /proc/self/mountinfo");
    let marker = place.dir.path().file_name().unwrap().to_str().unwrap();
    let mounts = said
        .stdout
        .lines()
        .filter(|line| line.contains(" / / "))
        .count();
    assert_eq!(mounts, 1, "one root: {}", said.stdout);
    let inside = place.container().script(&format!(
        "ls -d /{marker} /tmp/{marker} /proc/1/root/tmp/{marker}"
    ));
    assert_eq!(inside.stdout, "");
    let own = place
        .container()
        .script("readlink /proc/1/exe; cat /proc/1/exe > /dev/null");
    assert_ne!(
        own.code, 0,
        "the host's program is not readable through process 1: {}",
        own.stdout
    );
}

#[test]
fn privileges_are_dropped() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place.container().script("cat /proc/self/status");
    let field = |name: &str| {
        let line = said
            .text()
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    // What OCI runtimes leave by default.
    let allowed = 0xa804_25fb_u64;
    for name in ["CapBnd:", "CapPrm:", "CapEff:"] {
        assert_eq!(
            u64::from_str_radix(&field(name), 16).unwrap() & !allowed,
            0,
            "{name}"
        );
    }
    assert_eq!(u64::from_str_radix(&field("CapBnd:"), 16).unwrap(), allowed);
    assert_eq!(
        (field("CapInh:"), field("CapAmb:")),
        ("0".repeat(16), "0".repeat(16))
    );
    assert_eq!(
        (field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()),
        ("1", "2")
    );
}

#[test]
fn mounting_and_new_namespaces_are_refused() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for command in [
        "mount -t tmpfs none /tmp",
        "mount --bind /data /tmp",
        "umount /proc",
        "umount /etc/hosts",
        "unshare --user true",
        "unshare --mount true",
        "unshare --net true",
        "unshare --pid --fork true",
    ] {
        let said = place.container().script(command);
        assert_ne!(said.code, 0, "{command}");
        let refused = ["not permitted", "permission denied", "must be superuser"];
        assert!(
            refused.iter().any(|reason| said.stderr.contains(reason)),
            "{command}: {}",
            said.stderr
        );
    }
    assert_eq!(
        place
            .container()
            .script("(true) & wait; true | true; echo works")
            .text(),
        "works"
    );
}

#[test]
fn the_kernels_files_are_protected() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for path in [
        "/proc/sys/kernel/domainname",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
    ] {
        let said = place
            .container()
            .script(&format!("test -e {path} || exit 0; echo h > {path}"));
        assert!(
            said.code == 0 || said.stderr.contains("Read-only"),
            "{path}: {}",
            said.stderr
        );
        assert!(!said.stderr.is_empty() || said.code == 0);
    }
    assert_eq!(
        place
            .container()
            .script("ls /sys/firmware; cat /proc/keys /proc/timer_list 2>&1")
            .text(),
        ""
    );
    assert!(
        place
            .container()
            .script("ls -d /sys/devices/system/cpu/cpu0")
            .code
            == 0,
        "libraries count processors"
    );
}

#[test]
fn file_systems_of_the_kernel_are_hidden() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place.container().script(
        "cat /proc/interrupts
        while read -r id parent device root point rest; do case $point in
            /sys/fs/cgroup*) ;;
            /sys/*) [ -d $point ] && ls -A $point || cat $point ;;
        esac; done < /proc/self/mountinfo",
    );
    assert_eq!((said.text(), said.stderr.as_str()), ("", ""));
}

#[test]
fn the_devices_work() {
    if !containers_work() {
        return;
    }
    let script = "echo gone > /dev/null; head -c 3 /dev/zero | cat -v; echo; head -c 0 /dev/urandom
        echo x > /dev/full; readlink /dev/fd /dev/stdout /dev/ptmx; touch /dev/shm/x; stat -c %a /dev/shm
        df -B1G --output=size /dev/shm";
    let place = Place::new();
    let said = place.container().script(script);
    let lines: Vec<&str> = said.text().lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "^@^@^@",
            "/proc/self/fd",
            "/proc/self/fd/1",
            "pts/ptmx",
            "1777",
            "1G-blocks",
            "6"
        ]
    );
    assert!(said.stderr.contains("No space left"), "{}", said.stderr);
}

#[test]
fn core_files_and_open_files_are_bounded() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place.container().script("ulimit -c; ulimit -n");
    let limits: Vec<u64> = said
        .text()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(limits[0], 0);
    assert!((1..=65_536).contains(&limits[1]), "{}", limits[1]);
}

#[test]
fn root_inside_cannot_change_the_hosts_devices() {
    if !containers_work() {
        return;
    }
    let before = fs_err::metadata("/dev/null").unwrap();
    let place = Place::new();
    let said = place
        .container()
        .script("chmod 600 /dev/null; chown 1:1 /dev/zero; touch /dev/full; echo ok > /dev/null");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(
        said.stderr.matches("Read-only").count(),
        3,
        "{}",
        said.stderr
    );
    let after = fs_err::metadata("/dev/null").unwrap();
    assert_eq!(before.permissions(), after.permissions());
}

#[test]
fn the_program_that_looks_after_a_container_cannot_be_written_to() {
    if !containers_work() {
        return;
    }
    // Also where the file is no longer there when the container is started.
    for (before, expected) in [("", "/"), ("rm program;", "/memfd:cog")] {
        let place = Place::new();
        copy_program(&example(), &place.path("program"));
        let inner = place
            .container()
            .command(&["sh", "-c", "echo ready; exec sleep 1000"]);
        let mut command = std::process::Command::new("bash");
        let script = format!("exec 7< program; {before} exec /proc/self/fd/7 \"$@\"");
        command
            .args(["-c", &script, "bash"])
            .args(inner.get_args())
            .current_dir(place.dir.path())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut programs = Vec::new();
        let mut next = children(child.id());
        while let Some(process) = next.pop() {
            let program_link = format!("/proc/{process}/exe");
            let name = fs_err::read_link(&program_link).unwrap();
            if !name.starts_with("/bin") {
                let flags = rustix::fs::OFlags::PATH;
                let program =
                    rustix::fs::open(&program_link, flags, rustix::fs::Mode::empty()).unwrap();
                programs.push((name.to_string_lossy().into_owned(), program));
            }
            next.extend(children(process));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(programs.len(), 2, "the supervisor and process 1");
        for (name, program) in programs {
            assert!(name.contains(expected), "{name}");
            // When nothing runs it any more, only its mount or seals keep it from being written to.
            let deadline = Instant::now() + PATIENCE;
            let error = loop {
                let error = fs_err::OpenOptions::new()
                    .write(true)
                    .open(format!("/proc/self/fd/{}", program.as_raw_fd()))
                    .and_then(|mut file| file.write_all(b"planted"))
                    .unwrap_err();
                if error.kind() != std::io::ErrorKind::ExecutableFileBusy {
                    break error;
                }
                assert!(Instant::now() < deadline, "it still runs");
                std::thread::sleep(Duration::from_millis(5));
            };
            let refused = [
                std::io::ErrorKind::ReadOnlyFilesystem,
                std::io::ErrorKind::PermissionDenied,
            ];
            assert!(refused.contains(&error.kind()), "{error}");
        }
    }
}

/// The processes that a process has started.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs_err::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks
        .flat_map(|task| {
            let list = fs_err::read_to_string(task.unwrap().path().join("children")).unwrap();
            list.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Runs a job from a shell that has opened something first.
fn run_after(redirect: &str, place: &Place, inner: &std::process::Command) -> Outcome {
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", &format!("{redirect}; exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(place.dir.path());
    outcome(&command.output().unwrap())
}

#[test]
fn open_files_of_the_caller_are_no_way_out() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let outside = place.directory("outside");
    for (redirect, directory) in [
        ("exec 7< outside", "/proc/self/fd/7"),
        ("exec 7< outside", "/proc/self/fd/7/made"),
        ("exec 7< outside", "/proc/1/fd/7/made"),
        ("exec < outside", "/proc/self/fd/0"),
        ("exec < outside", "/proc/self/fd/0/made"),
    ] {
        let job = place.container().option("--cwd", directory);
        let said = run_after(redirect, &place, &job.command(&["sh", "-c", "pwd; ls"]));
        assert_eq!(
            said.code, 125,
            "{directory}: {}{}",
            said.stdout, said.stderr
        );
        assert_eq!(
            fs_err::read_dir(&outside).unwrap().count(),
            0,
            "{directory}"
        );
    }
    let list = place
        .container()
        .command(&["sh", "-c", "ls /proc/self/fd | cat"]);
    let said = run_after("exec 7< outside", &place, &list);
    assert!(
        !said.text().lines().any(|line| line == "7"),
        "{}",
        said.stdout
    );
}

#[test]
fn an_image_may_start_the_program_that_looks_after_it_and_gains_nothing() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    place.file("layer/first", "#!/proc/self/exe\n");
    place.file("layer/second", "#!/proc/self/exe\r\n");
    for name in ["first", "second"] {
        let path = place.path("layer").join(name);
        fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    for command in ["/proc/self/exe", "/first", "/second"] {
        let said = place
            .container()
            .layer(&place.path("layer"))
            .run(&[command]);
        assert_eq!(said.code, 125, "{command}: {}", said.stderr);
    }
}

#[test]
fn a_terminal_is_the_containers_own() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut job = place.container();
    job.command.arg("--terminal");
    let said = job.run(&[
        "bash",
        "-i",
        "-c",
        "readlink /proc/self/fd/0 /proc/self/fd/2; [ -c /dev/pts/0 ] && echo named
        echo controlling > /dev/tty; exit 4",
    ]);
    let lines: Vec<&str> = said.stdout.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        ["/dev/pts/0", "/dev/pts/0", "named", "controlling", "exit"],
        "{}",
        said.stderr
    );
    assert_eq!(said.code, 4, "{}", said.stdout);
}
