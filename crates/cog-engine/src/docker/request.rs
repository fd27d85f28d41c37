//! A workload as the daemon is asked for it. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, DeviceRequest, EndpointSettings, HostConfig,
    Mount, MountType, NetworkSettings, PortBinding, PortMap,
};

use super::spec::Spec;
use crate::gpus::GpuRequest;
use crate::workload::{Port, Published};

/// What models' data loaders share between processes may be large.
const SHARED_MEMORY: i64 = 6 << 30;
/// Marks our containers, for people who wonder.
const LABEL: (&str, &str) = ("run.cog.engine", "docker");

/// What is asked for besides, until the daemon turns out not to have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extras {
    pub(super) gpus: bool,
    /// A first process that reaps and passes signals on: as the first one, a program would ignore most signals.
    pub(super) init: bool,
}

pub(super) fn body(spec: &Spec, extras: Extras) -> ContainerCreateBody {
    let mut command = spec.command.iter().cloned();
    let entrypoint = command.next().into_iter().collect();
    let (name, value) = LABEL;
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(entrypoint),
        cmd: Some(command.collect()),
        env: Some(
            spec.env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        working_dir: Some(spec.working_dir.clone()),
        labels: Some(HashMap::from([(name.to_owned(), value.to_owned())])),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(spec.terminal.is_some()),
        exposed_ports: Some(spec.ports.iter().map(|port| key(port.inside)).collect()),
        host_config: Some(host(spec, extras)),
        ..ContainerCreateBody::default()
    }
}

fn host(spec: &Spec, extras: Extras) -> HostConfig {
    let mounts = spec.mounts.iter().map(|mount| Mount {
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.is_read_only),
        ..Mount::default()
    });
    let gpus = spec.gpus.as_ref().filter(|_| extras.gpus);
    let alias = spec.host_alias.as_ref();
    HostConfig {
        mounts: Some(mounts.collect()),
        shm_size: Some(SHARED_MEMORY),
        // Older daemons are told when it runs.
        console_size: spec
            .terminal
            .map(|(rows, columns)| vec![rows.into(), columns.into()]),
        init: extras.init.then_some(true),
        port_bindings: Some(bindings(&spec.ports)),
        device_requests: gpus.map(|gpus| vec![devices(&gpus.request)]),
        extra_hosts: alias.map(|name| vec![format!("{name}:host-gateway")]),
        ..HostConfig::default()
    }
}

fn key(port: u16) -> String {
    format!("{port}/tcp")
}

fn bindings(ports: &[Port]) -> PortMap {
    let mut bindings = PortMap::new();
    for port in ports {
        let host_port = match port.outside.port() {
            // Any that is free.
            0 => String::new(),
            port => port.to_string(),
        };
        let binding = PortBinding {
            host_ip: Some(port.outside.ip().to_string()),
            host_port: Some(host_port),
        };
        bindings
            .entry(key(port.inside))
            .or_insert_with(|| Some(Vec::new()))
            .get_or_insert_default()
            .push(binding);
    }
    bindings
}

fn devices(request: &GpuRequest) -> DeviceRequest {
    let gpu = || Some(vec![vec!["gpu".to_owned()]]);
    match request {
        GpuRequest::All => DeviceRequest {
            count: Some(-1),
            capabilities: gpu(),
            ..DeviceRequest::default()
        },
        GpuRequest::Count(count) => DeviceRequest {
            count: i64::try_from(*count).ok(),
            capabilities: gpu(),
            ..DeviceRequest::default()
        },
        // Whole names are those of the Container Device Interface.
        GpuRequest::Devices(names) if names.iter().any(|name| name.contains('=')) => {
            DeviceRequest {
                driver: Some("cdi".to_owned()),
                device_ids: Some(names.clone()),
                ..DeviceRequest::default()
            }
        }
        GpuRequest::Devices(names) => DeviceRequest {
            device_ids: Some(names.clone()),
            capabilities: gpu(),
            ..DeviceRequest::default()
        },
    }
}

/// Where the ports of a container that runs are reached.
pub(super) fn published(ports: &[Port], bound: &PortMap) -> Vec<Published> {
    let found = |port: &Port| {
        let bindings = bound.get(&key(port.inside))?.as_ref()?;
        let number = bindings
            .iter()
            .find_map(|binding| binding.host_port.as_ref()?.parse().ok())?;
        Some(Published {
            inside: port.inside,
            outside: SocketAddr::new(port.outside.ip(), number),
        })
    };
    ports.iter().filter_map(found).collect()
}

/// The first of `ports` that is not `published`.
pub(super) fn closed(ports: &[Port], published: &[Published]) -> Option<u16> {
    let is_open = |port: &Port| published.iter().any(|one| one.inside == port.inside);
    let closed = ports.iter().find(|port| !is_open(port))?;
    Some(closed.inside)
}

/// Whether ports of the container that are not published are a fault: it runs, and has not the host's network, where nothing
/// is published.
pub(super) fn lacks_ports(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    let is_running = state.and_then(|state| state.running).unwrap_or_default();
    let host = container.host_config.as_ref();
    let network = host.and_then(|host| host.network_mode.as_deref());
    is_running && network != Some("host")
}

/// Whether a container that runs is connected to any network.
pub(super) fn has_network(settings: &NetworkSettings) -> bool {
    let id = |endpoint: &EndpointSettings| endpoint.endpoint_id.clone().unwrap_or_default();
    let networks = settings.networks.as_ref();
    networks.is_some_and(|all| all.values().any(|one| !id(one).is_empty()))
}

#[cfg(test)]
pub(super) mod tests {
    use bollard::models::ContainerState;

    use super::*;
    use crate::docker::address::Address;
    use crate::docker::spec::Bind;
    use crate::gpus::GpuChoice;

    pub(in crate::docker) fn spec() -> Spec {
        Spec {
            address: Address::Socket("/x".into()),
            daemon: "Docker".into(),
            image: "sha256:1".into(),
            platform: "linux/amd64".into(),
            command: vec!["coglet".into(), "--flag".into()],
            env: vec![("A".into(), "b=c".into())],
            working_dir: "/src".into(),
            mounts: vec![Bind {
                source: "/home/me".into(),
                target: "/src".into(),
                is_read_only: true,
            }],
            ports: vec![Port {
                inside: 5000,
                outside: "127.0.0.1:0".parse().unwrap(),
            }],
            host_alias: None,
            gpus: Some(GpuChoice {
                request: GpuRequest::Count(2),
                is_insisted: false,
            }),
            terminal: None,
        }
    }

    #[test]
    fn a_workload_is_asked_for_in_the_daemon_s_words() {
        let extras = Extras {
            gpus: true,
            init: true,
        };
        let body = body(&spec(), extras);
        assert_eq!(body.entrypoint.unwrap(), ["coglet"]);
        assert_eq!(body.cmd.unwrap(), ["--flag"]);
        assert_eq!(body.env.unwrap(), ["A=b=c"]);
        let host = body.host_config.unwrap();
        assert_eq!(host.shm_size, Some(6 * 1024 * 1024 * 1024));
        assert_eq!(host.init, Some(true));
        let devices = &host.device_requests.unwrap()[0];
        assert_eq!(devices.count, Some(2));
        let binding = &host.port_bindings.unwrap()["5000/tcp"].clone().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(binding.host_port.as_deref(), Some(""));
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
    }

    #[test]
    fn what_the_daemon_lacks_is_left_out() {
        let extras = Extras {
            gpus: false,
            init: false,
        };
        let host = body(&spec(), extras).host_config.unwrap();
        assert_eq!((host.init, host.device_requests), (None, None));
    }

    #[test]
    fn whole_names_of_devices_are_the_standard_s() {
        let named = |name: &str| devices(&GpuRequest::Devices(vec![name.into()]));
        assert_eq!(named("nvidia.com/gpu=0").driver.as_deref(), Some("cdi"));
        assert_eq!(named("0").driver, None);
        assert_eq!(devices(&GpuRequest::All).count, Some(-1));
    }

    #[test]
    fn ports_are_found_where_the_daemon_opened_them() {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: Some("32768".into()),
        };
        let bound = PortMap::from([("5000/tcp".to_owned(), Some(vec![binding]))]);
        let found = published(&spec().ports, &bound);
        assert_eq!(found[0].outside, "127.0.0.1:32768".parse().unwrap());
        assert_eq!(closed(&spec().ports, &found), None);
        assert!(published(&spec().ports, &PortMap::new()).is_empty());
        assert_eq!(closed(&spec().ports, &[]), Some(5000));
    }

    #[test]
    fn ports_that_are_not_there_are_a_fault_of_a_network_that_runs() {
        let lacks = |is_running: bool, network: &str| {
            lacks_ports(&ContainerInspectResponse {
                state: Some(ContainerState {
                    running: Some(is_running),
                    ..ContainerState::default()
                }),
                host_config: Some(HostConfig {
                    network_mode: Some(network.to_owned()),
                    ..HostConfig::default()
                }),
                ..ContainerInspectResponse::default()
            })
        };
        assert!(lacks(true, "default") && lacks(true, "none"));
        assert!(!lacks(false, "default"), "its end says what was wrong");
        assert!(!lacks(true, "host"), "the port is the host's own");
    }

    #[test]
    fn a_network_is_one_that_the_container_is_connected_to() {
        let connected = |id: Option<&str>| {
            let endpoint = EndpointSettings {
                endpoint_id: id.map(str::to_owned),
                ..EndpointSettings::default()
            };
            has_network(&NetworkSettings {
                networks: Some(HashMap::from([("bridge".to_owned(), endpoint)])),
                ..NetworkSettings::default()
            })
        };
        assert!(connected(Some("1")));
        assert!(!connected(Some("")) && !connected(None));
        assert!(!has_network(&NetworkSettings::default()));
    }
}
