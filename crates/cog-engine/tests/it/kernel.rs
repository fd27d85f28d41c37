//! How far a container is from the kernel and the host.

use crate::job::{Place, containers_work};

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
