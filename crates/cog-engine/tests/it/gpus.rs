//! Containers get GPUs by specifications, made up here of harmless files and devices.

use std::path::PathBuf;

use crate::job::{Job, Outcome, Place, containers_work, ordinary_user};

/// A machine's specification; `PLACE` is where its files are.
const SPECIFICATION: &str = r#"---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/fakegpu0
      hostPath: /dev/zero
    - path: /dev/fake/caps/cap1
      hostPath: /dev/full
      permissions: rw
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/fakegpu0
      hostPath: /dev/zero
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  mounts:
  - hostPath: PLACE/libfake.so.550.54.15
    containerPath: /usr/lib64/fake/libfake.so.550.54.15
    options: [ro, nosuid, nodev, bind]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, create-symlinks, --link, "libfake.so.1::/usr/lib64/fake/libfake.so"]
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, update-ldcache, --folder, /usr/lib64/fake]
  - hookName: createContainer
    path: /usr/bin/nvidia-ctk
    args: [nvidia-ctk, hook, enable-cuda-compat]
"#;

/// Writes a specification and the library that it names.
fn machine(place: &Place, specification: &str) -> PathBuf {
    let own = place.dir.path().to_str().unwrap();
    let folder = place.directory("cdi");
    place.file("cdi/nvidia.yaml", &specification.replace("PLACE", own));
    std::fs::copy(libc_of_the_base(), place.path("libfake.so.550.54.15")).unwrap();
    folder
}

/// Some real library, of which the loader's cache is to get the name.
fn libc_of_the_base() -> PathBuf {
    let text = std::process::Command::new("ldd")
        .arg("/bin/ls")
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let path = text
        .split_whitespace()
        .find(|word| word.contains("libc.so") && word.starts_with('/'));
    path.unwrap().into()
}

fn run(place: &Place, job: Job, folder: &std::path::Path, request: &str, script: &str) -> Outcome {
    let mut job = job.option("--gpus", request);
    job.command.env("COG_CDI_DIRS", folder);
    let outcome = job.script(script);
    assert_eq!(
        fs_err::read_dir(place.path("scratch")).unwrap().count(),
        0,
        "the scratch directory is clean"
    );
    outcome
}

#[test]
fn a_container_gets_devices_files_variables_links_and_libraries() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let folder = machine(&place, SPECIFICATION);
    let script = "head -c 2 /dev/fakegpu0 | cat -v; echo; echo x > /dev/fake/caps/cap1
        echo $NVIDIA_VISIBLE_DEVICES $NVIDIA_DRIVER_CAPABILITIES
        readlink /usr/lib64/fake/libfake.so /usr/lib64/fake/libc.so.6
        echo y > /usr/lib64/fake/libfake.so.550.54.15; chmod 600 /dev/fakegpu0 /dev/null
        ldconfig -p";
    let said = run(&place, place.container(), &folder, "device=0", script);
    let lines: Vec<&str> = said.text().lines().map(str::trim).collect();
    assert_eq!(
        lines[..4],
        [
            "^@^@",
            "void compute,utility",
            "libfake.so.1",
            "libfake.so.550.54.15"
        ],
        "{}",
        said.stderr
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("libc.so.6")
                && line.ends_with("=> /usr/lib64/fake/libc.so.6")),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("No space left"), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("left out the hook `enable-cuda-compat`"),
        "{}",
        said.stderr
    );
    assert_eq!(
        said.stderr.matches("Read-only").count(),
        3,
        "{}",
        said.stderr
    );
}

#[test]
fn the_loader_finds_the_drivers_libraries() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let folder = machine(&place, SPECIFICATION);
    // The base has its own; what was added is found before it.
    let said = run(
        &place,
        place.container(),
        &folder,
        "all",
        "rm -f /lib/*/libc.so.6 /lib64/libc.so.6; cat /proc/self/maps",
    );
    assert!(
        said.text().contains("/usr/lib64/fake/libfake.so.550.54.15"),
        "{}",
        said.stdout
    );
}

#[test]
fn what_an_image_planted_leads_nowhere() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let project = place.directory("project");
    let layer = place.directory("layer");
    fs_err::create_dir_all(layer.join("usr/lib64")).unwrap();
    fs_err::create_dir_all(layer.join("etc")).unwrap();
    std::os::unix::fs::symlink("/src", layer.join("usr/lib64/fake")).unwrap();
    std::os::unix::fs::symlink("/src/planted", layer.join("etc/ld.so.cache")).unwrap();
    let folder = machine(&place, SPECIFICATION);
    let job = place.container().layer(&layer).mount(&project, "/src");
    let said = run(
        &place,
        job,
        &folder,
        "all",
        "ldconfig -p; ls -l /etc/ld.so.cache",
    );
    assert!(said.text().contains("libc.so.6"), "{}", said.stdout);
    let left: Vec<_> = fs_err::read_dir(&project)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [""; 0], "no link went into the mounted folder");
}

#[test]
fn an_ordinary_user_gets_them_too() {
    let Some(user) = ordinary_user() else { return };
    let place = Place::of(user);
    let folder = machine(&place, SPECIFICATION);
    let said = run(
        &place,
        place.container(),
        &folder,
        "1",
        "head -c 1 /dev/fakegpu0 | cat -v; ldconfig -p",
    );
    assert!(said.text().starts_with("^@"), "{}", said.stdout);
    assert!(
        said.text().contains("/usr/lib64/fake/libc.so.6"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_device_that_is_missing_is_named() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let folder = machine(&place, SPECIFICATION);
    let said = run(&place, place.container(), &folder, "device=4", "true");
    assert_eq!(
        said.error(),
        "error: there is no GPU `4`; there are: 0, all"
    );
}
