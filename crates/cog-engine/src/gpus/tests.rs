use super::*;

/// A machine: specifications, files that they name, and what its driver says.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a file; `ROOT` in its text is where the machine is.
    fn with(self, path: &str, content: &str) -> Self {
        let content = content.replace("ROOT", self.root.path().to_str().unwrap());
        self.with_bytes(path, content.as_bytes())
    }

    fn with_bytes(self, path: &str, content: &[u8]) -> Self {
        let path = self.root.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        self
    }

    fn host(&self) -> GpuHost {
        let folders = ["etc", "run"]
            .map(|name| self.root.path().join(name))
            .into();
        GpuHost::at(self.root.path(), folders)
    }

    fn find(&self, request: &str) -> Result<Gpus, GpuError> {
        self.host().find(&request.parse().unwrap())
    }

    fn error(&self, request: &str) -> String {
        self.find(request).unwrap_err().to_string()
    }

    fn with_driver(self, version: &str) -> Self {
        self.with("sys/module/nvidia/version", version)
    }
}

fn targets(gpus: &Gpus) -> Vec<&str> {
    gpus.nodes.iter().map(|node| node.target.as_str()).collect()
}

const TWO: &str = r#"
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/fake0, hostPath: /dev/zero}]
- name: "1"
  containerEdits:
    deviceNodes: [{path: /dev/fake1, hostPath: /dev/zero}]
- name: GPU-5f3c
  containerEdits:
    deviceNodes: [{path: /dev/fake1, hostPath: /dev/zero}]
- name: all
  containerEdits:
    deviceNodes: [{path: /dev/fake0, hostPath: /dev/zero}, {path: /dev/fake1, hostPath: /dev/null}]
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes:
  - path: /dev/null
"#;

#[test]
fn requests_choose_devices() {
    let machine = Machine::new().with("etc/nvidia.yaml", TWO);
    for (request, expected) in [
        ("all", vec!["/dev/null", "/dev/fake0", "/dev/fake1"]),
        ("1", vec!["/dev/null", "/dev/fake0"]),
        ("2", vec!["/dev/null", "/dev/fake0", "/dev/fake1"]),
        ("device=1", vec!["/dev/null", "/dev/fake1"]),
        ("device=GPU-5f3c", vec!["/dev/null", "/dev/fake1"]),
        (
            "device=nvidia.com/gpu=1,0",
            vec!["/dev/null", "/dev/fake1", "/dev/fake0"],
        ),
        ("0", vec![]),
    ] {
        assert_eq!(
            targets(&machine.find(request).unwrap()),
            expected,
            "{request}"
        );
    }
    assert_eq!(
        machine.error("3"),
        "3 GPUs were asked for, this machine has 2"
    );
    let unknown = machine.error("device=7");
    assert_eq!(
        unknown,
        "there is no GPU `7`; there are: 0, 1, GPU-5f3c, all"
    );
}

#[test]
fn edits_are_merged_in_the_standards_order() {
    let machine = Machine::new()
        .with("lib/a", "")
        .with("lib/b", "")
        .with(
            "etc/one.json",
            r#"{"cdiVersion": "1.0.0", "kind": "example.com/net", "devices": [{"name": "x", "containerEdits":
                {"env": ["A=net", "C=net"], "mounts": [{"hostPath": "ROOT/lib/b", "containerPath": "/a/b/c", "options": ["ro", "nosuid", "rbind"]}]}}],
                "containerEdits": {"env": ["A=spec of net"]}}"#,
        )
        .with(
            "etc/two.yaml",
            r#"
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: [A=spec, B=spec]
  mounts:
  - {hostPath: ROOT/lib/a, containerPath: /a/b/c}
  - {hostPath: ROOT/lib/a, containerPath: /a}
devices:
- name: "0"
  containerEdits: {env: [B=device]}
- name: "1"
  containerEdits: {env: [B=other device]}
"#,
        );
    let gpus = machine.find("device=0,example.com/net=x,1").unwrap();
    let env: Vec<_> = gpus
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["A=net", "C=net", "B=other device"]);
    let mounts: Vec<_> = gpus
        .mounts
        .iter()
        .map(|mount| {
            (
                mount.target.as_str(),
                mount.source.ends_with("lib/a"),
                mount.options.as_slice(),
            )
        })
        .collect();
    assert_eq!(
        mounts,
        [
            ("/a", true, &[][..]),
            (
                "/a/b/c",
                false,
                &[MountOption::ReadOnly, MountOption::NoSuid][..]
            )
        ]
    );
    let mut env = vec![
        ("A".to_owned(), "image".to_owned()),
        ("PATH".into(), "/bin".into()),
    ];
    gpus.add_to(&mut env);
    assert_eq!(env[0], ("PATH".to_owned(), "/bin".to_owned()));
    assert!(env.contains(&("A".into(), "net".into())));
    assert!(env.contains(&(
        "NVIDIA_DRIVER_CAPABILITIES".into(),
        "compute,utility".into()
    )));
    let mut env = vec![("NVIDIA_DRIVER_CAPABILITIES".to_owned(), "all".to_owned())];
    gpus.add_to(&mut env);
    assert_eq!(env[0].1, "all");
}

#[test]
fn a_later_folder_hides_an_earlier_one() {
    let other = TWO.replace("/dev/fake1", "/dev/newer1");
    let machine = Machine::new()
        .with("etc/nvidia.yaml", TWO)
        .with("run/nvidia.yaml", &other);
    assert_eq!(
        targets(&machine.find("device=1").unwrap()),
        ["/dev/null", "/dev/newer1"]
    );
    let twice = Machine::new()
        .with("etc/a.yaml", TWO)
        .with("etc/b.yaml", TWO);
    let error = twice.error("device=1");
    assert!(
        error.contains("in both") && error.contains("a.yaml") && error.contains("b.yaml"),
        "{error}"
    );
}

#[test]
fn a_broken_specification_is_named_and_spoils_no_other() {
    let with = |text: &str, from: &str, to: &str| text.replacen(from, to, 1);
    for (name, broken, reason) in [
        (
            "bad.yaml",
            with(TWO, "0.5.0", "9.0.0"),
            "version `9.0.0` is unknown",
        ),
        (
            "bad.yaml",
            with(TWO, "hostPath: /dev/zero", "hostPath: dev/zero"),
            "`dev/zero` is not an absolute path",
        ),
        (
            "bad.yaml",
            with(TWO, "path: /dev/null", "path: dev/null"),
            "`dev/null` is not an absolute path",
        ),
        (
            "bad.yaml",
            with(TWO, "nvidia.com/gpu", "gpu"),
            "not of the form vendor/class",
        ),
        (
            "bad.yaml",
            with(TWO, "\"1\"", "\"0\""),
            "`0` is there twice",
        ),
        (
            "bad.yaml",
            with(TWO, "\"1\"", "\"a b\""),
            "`a b` is not allowed",
        ),
        (
            "bad.yaml",
            with(TWO, "NVIDIA_VISIBLE_DEVICES=void", "VOID"),
            "not NAME=VALUE",
        ),
        ("bad.yaml", with(TWO, "devices:\n", "devices: [\n"), "line"),
        (
            "bad.yaml",
            "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n".into(),
            "no devices",
        ),
        ("bad.json", "{".into(), "EOF"),
        ("bad.json", "[]".into(), "invalid"),
    ] {
        let machine = Machine::new().with(&format!("etc/{name}"), &broken);
        let error = machine.error("all");
        assert!(
            error.contains(reason) && error.contains(name),
            "{reason}: {error}"
        );
        let machine = machine.with("run/good.yaml", &TWO.replace("fake", "good"));
        let gpus = machine.find("device=0").unwrap();
        assert_eq!(targets(&gpus), ["/dev/null", "/dev/good0"]);
        assert!(
            gpus.warnings().iter().any(|line| line.contains(reason)),
            "{:?}",
            gpus.warnings()
        );
        let missing = machine.error("device=8");
        assert!(missing.contains(reason), "{missing}");
    }
}

#[test]
fn files_that_a_driver_update_took_away_are_named() {
    let machine = Machine::new().with("etc/nvidia.yaml", &TWO.replace("/dev/zero", "/dev/absent"));
    assert!(
        machine.find("all").unwrap_err().is_absence(),
        "no driver, so no GPU"
    );
    let machine = machine.with_driver("550.54.15");
    let error = machine.error("all");
    assert!(
        error.contains("`/dev/absent`") && error.contains("nvidia-ctk cdi generate"),
        "{error}"
    );
}

#[test]
fn without_a_driver_there_is_no_gpu() {
    let error = Machine::new().find("all").unwrap_err();
    assert!(error.is_absence(), "{error}");
    assert!(Machine::new().find("0").unwrap().is_empty());
}

#[test]
fn mounts_of_other_kinds_and_hooks_are_spoken_of() {
    let text = r#"
cdiVersion: "1.1.0"
kind: nvidia.com/gpu
devices:
- name: all
  containerEdits:
    netDevices: [{hostInterfaceName: eth0, name: net0}]
    mounts: [{hostPath: tmpfs, containerPath: /x, type: tmpfs}]
    hooks: [{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, enable-cuda-compat]}]
"#;
    let machine = Machine::new().with(
        "etc/nvidia.yaml",
        &text.replace("hostPath: tmpfs", "hostPath: /tmpfs"),
    );
    let notes = machine.find("all").unwrap().notes().join("\n");
    for part in ["tmpfs", "network devices", "enable-cuda-compat"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
}

fn driver_machine(library: &str) -> Machine {
    let mut cache = LoaderCache::default();
    let flags = if cfg!(target_arch = "aarch64") {
        0xa03
    } else {
        0x303
    };
    for name in ["libcuda.so.1", "libnvidia-ml.so.1", "libc.so.6"] {
        cache.add(
            name,
            &format!("/usr/lib/{}.{library}", name.trim_end_matches(".1")),
            flags,
        );
    }
    let information = |minor: u32, id: &str| {
        format!(
            "Model: \t\t Some GPU\nIRQ:   \t\t 1\nGPU UUID: \t {id}\nDevice Minor: \t {minor}\n"
        )
    };
    Machine::new()
        .with_driver("550.54.15")
        .with(
            "proc/driver/nvidia/gpus/0000:01:00.0/information",
            &information(1, "GPU-a"),
        )
        .with(
            "proc/driver/nvidia/gpus/0000:02:00.0/information",
            &information(0, "GPU-b"),
        )
        .with("dev/nvidiactl", "")
        .with("dev/nvidia-uvm", "")
        .with("dev/nvidia0", "")
        .with("dev/nvidia1", "")
        .with("usr/bin/nvidia-smi", "")
        .with_bytes("etc/ld.so.cache", &cache.to_bytes())
        .with_bytes(
            &format!("usr/lib/libcuda.so.{library}"),
            &library::fake("libcuda.so.1"),
        )
        .with_bytes(
            &format!("usr/lib/libnvidia-ml.so.{library}"),
            &library::fake("libnvidia-ml.so.1"),
        )
}

#[test]
fn a_driver_without_specification_is_used_if_all_of_it_fits() {
    let machine = driver_machine("550.54.15");
    let gpus = machine.find("all").unwrap();
    assert_eq!(
        targets(&gpus),
        [
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/dev/nvidia1",
            "/dev/nvidia0"
        ]
    );
    let places: Vec<_> = gpus
        .mounts
        .iter()
        .map(|mount| mount.target.as_str())
        .collect();
    assert_eq!(
        places,
        [
            "/usr/local/nvidia/lib64/libnvidia-ml.so.550.54.15",
            "/usr/local/nvidia/lib64/libcuda.so.550.54.15",
            "/usr/bin/nvidia-smi"
        ]
    );
    assert!(
        gpus.env
            .contains(&("NVIDIA_VISIBLE_DEVICES".into(), "all".into()))
    );
    // Programs count GPUs by their place on the bus, nodes are numbered as they were found.
    assert_eq!(
        targets(&machine.find("device=0").unwrap())[2..],
        ["/dev/nvidia1"]
    );
    let by_identifier = machine.find("device=GPU-b").unwrap();
    assert_eq!(targets(&by_identifier)[2..], ["/dev/nvidia0"]);
    assert!(
        by_identifier
            .env
            .contains(&("NVIDIA_VISIBLE_DEVICES".into(), "GPU-b".into()))
    );
    assert!(
        machine
            .error("device=2")
            .contains("there are: 0, GPU-a, 1, GPU-b")
    );
    assert!(machine.error("3").contains("this machine has 2"));
}

#[test]
fn a_driver_that_does_not_fit_asks_for_a_specification() {
    let generate = "nvidia-ctk cdi generate";
    let other = driver_machine("535.1").error("all");
    assert!(
        other.contains(".so.535.1") && other.contains("550.54.15") && other.contains(generate),
        "{other}"
    );
    let machine = driver_machine("550.54.15");
    fs_err::remove_file(machine.root.path().join("dev/nvidia-uvm")).unwrap();
    let error = machine.error("all");
    assert!(
        error.contains("/dev/nvidia-uvm") && error.contains(generate),
        "{error}"
    );
    let bare = Machine::new().with_driver("550.54.15").error("all");
    assert!(bare.contains(generate), "{bare}");
}

#[test]
fn on_the_host_all_are_visible_unless_some_are_named() {
    let machine = driver_machine("550.54.15");
    let visible = |request: &str| {
        let gpus = machine
            .host()
            .find_on_host(&request.parse().unwrap())
            .unwrap();
        gpus.env.first().map(|(_, value)| value.clone())
    };
    assert_eq!(visible("all"), None);
    assert_eq!(visible("2").unwrap(), "0,1");
    assert_eq!(visible("device=1").unwrap(), "1");
    assert_eq!(visible("0").unwrap(), "");
    let none = Machine::new()
        .host()
        .find_on_host(&GpuRequest::All)
        .unwrap_err();
    assert!(none.is_absence());
}
