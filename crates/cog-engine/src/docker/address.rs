//! Where a daemon is: `DOCKER_HOST`, a context of the `docker` program, or the usual sockets.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::contexts;
use super::error::DockerError;

/// The daemon's address, before all else.
pub const DOCKER_HOST: &str = "DOCKER_HOST";
/// The same for Podman.
pub const CONTAINER_HOST: &str = "CONTAINER_HOST";
/// Name of a context of the `docker` program.
pub const DOCKER_CONTEXT: &str = "DOCKER_CONTEXT";
/// Folder of Docker's own configuration; else `~/.docker`.
pub const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Whether a daemon that is reached over TCP has a certificate.
pub const DOCKER_TLS_VERIFY: &str = "DOCKER_TLS_VERIFY";
/// Folder with `ca.pem`, `cert.pem` and `key.pem` for that; else the folder of the configuration.
pub const DOCKER_CERT_PATH: &str = "DOCKER_CERT_PATH";

const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Which daemon is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Docker, else Podman.
    Any,
    /// Docker, or what its environment names.
    Docker,
    /// Podman.
    Podman,
}

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Address {
    /// A Unix socket.
    Socket(PathBuf),
    /// Host and port.
    Tcp(String),
    /// Host and port of a daemon with a certificate, and the folder with ours.
    Tls(String, PathBuf),
}

impl Address {
    /// Whether the daemon is on this machine, as far as can be told.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp(authority) | Self::Tls(authority, _) => {
                let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_matches(['[', ']']);
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) | Self::Tls(authority, _) => write!(f, "tcp://{authority}"),
        }
    }
}

/// Variables and folders that say where daemons are.
pub(crate) struct Surroundings<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable }
    }

    /// An empty variable counts as unset.
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.variable)(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    fn text(&self, name: &str) -> Option<String> {
        let path = self.path(name)?;
        Some(path.to_string_lossy().into_owned())
    }

    fn config_folder(&self) -> Option<PathBuf> {
        self.path(DOCKER_CONFIG)
            .or_else(|| Some(self.path("HOME")?.join(".docker")))
    }

    /// Where a daemon may be, the likeliest first; there is one place if somebody has named it.
    pub(crate) fn addresses(&self, wanted: Wanted) -> Result<Vec<Address>, DockerError> {
        if wanted == Wanted::Podman {
            return match self.text(CONTAINER_HOST) {
                Some(host) => Ok(vec![self.parse(&host)?]),
                None => Ok(self.podman_sockets()),
            };
        }
        if let Some(host) = self.text(DOCKER_HOST) {
            return Ok(vec![self.parse(&host)?]);
        }
        if let Some(address) = self.of_context()? {
            return Ok(vec![address]);
        }
        let mut addresses = vec![Address::Socket(DOCKER_SOCKET.into())];
        if let Some(runtime) = self.path("XDG_RUNTIME_DIR") {
            addresses.push(Address::Socket(runtime.join("docker.sock")));
        }
        if wanted == Wanted::Any {
            addresses.extend(self.podman_sockets());
        }
        Ok(addresses)
    }

    fn podman_sockets(&self) -> Vec<Address> {
        let own = self.path("XDG_RUNTIME_DIR");
        own.map(|runtime| runtime.join("podman/podman.sock"))
            .into_iter()
            .chain([PODMAN_SOCKET.into()])
            .map(Address::Socket)
            .collect()
    }

    /// The daemon of the context that is named by the environment or, if there is one of that name, by the
    /// configuration.
    fn of_context(&self) -> Result<Option<Address>, DockerError> {
        let named = self.text(DOCKER_CONTEXT);
        let Some(folder) = self.config_folder() else {
            return Ok(None);
        };
        let name = match &named {
            Some(name) => Some(name.clone()),
            None => contexts::current(&folder)?,
        };
        let Some(name) = name.filter(|name| name != contexts::DEFAULT) else {
            return Ok(None);
        };
        match contexts::find(&folder, &name)? {
            Some(context) => {
                let certificates = context.certificates;
                parse(&context.host, || certificates).map(Some)
            }
            None if named.is_some() => Err(DockerError::NoContext {
                name,
                folder: folder.join(contexts::FOLDER),
            }),
            None => Ok(None),
        }
    }

    fn parse(&self, host: &str) -> Result<Address, DockerError> {
        parse(host, || {
            self.text(DOCKER_TLS_VERIFY)?;
            self.path(DOCKER_CERT_PATH).or_else(|| self.config_folder())
        })
    }
}

/// Reads an address as `DOCKER_HOST` has it; `certificates` says where ours are if the daemon has one.
fn parse(
    host: &str,
    certificates: impl FnOnce() -> Option<PathBuf>,
) -> Result<Address, DockerError> {
    let refused = |reason| DockerError::Host {
        host: host.chars().take(200).collect(),
        reason,
    };
    if let Some(path) = host.strip_prefix("unix://") {
        return if Path::new(path).is_absolute() {
            Ok(Address::Socket(path.into()))
        } else {
            Err(refused("the path of a socket begins with `/`"))
        };
    }
    let plain = host
        .strip_prefix("tcp://")
        .or_else(|| host.strip_prefix("http://"));
    let Some(authority) = plain.or_else(|| host.strip_prefix("https://")) else {
        return Err(refused(match host.split_once("://") {
            Some(("ssh", _)) => {
                "SSH is not supported; forward the socket with `ssh -L` and name that with `unix://`"
            }
            Some(("fd" | "npipe", _)) => "only `unix://` and `tcp://` are supported",
            _ => "it must begin with `unix://` or `tcp://`",
        }));
    };
    let authority = authority.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
        return Err(refused("it must be a host and a port"));
    }
    let certificates = certificates();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = match (has_port, &certificates) {
        (true, _) => authority.to_owned(),
        (false, Some(_)) => format!("{authority}:{TLS_PORT}"),
        (false, None) => format!("{authority}:{PLAIN_PORT}"),
    };
    Ok(match certificates {
        Some(folder) => Address::Tls(authority, folder),
        None => Address::Tcp(authority),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(wanted: Wanted, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        };
        Surroundings::new(&variable)
            .addresses(wanted)
            .map(|found| found.iter().map(ToString::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_named_host_is_the_only_one() {
        for (host, expected) in [
            ("unix:///tmp/x.sock", "unix:///tmp/x.sock"),
            ("tcp://10.0.0.1:99", "tcp://10.0.0.1:99"),
            ("tcp://build.example", "tcp://build.example:2375"),
            ("http://[::1]:99/", "tcp://[::1]:99"),
        ] {
            let found = addresses(Wanted::Any, &[("DOCKER_HOST", host)]);
            assert_eq!(found, Ok(vec![expected.to_owned()]), "{host}");
        }
        let tls = [
            ("DOCKER_HOST", "tcp://a"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("HOME", "/h"),
        ];
        assert_eq!(
            addresses(Wanted::Docker, &tls),
            Ok(vec!["tcp://a:2376".to_owned()])
        );
        let podman = [
            ("DOCKER_HOST", "tcp://a:1"),
            ("CONTAINER_HOST", "unix:///p"),
        ];
        assert_eq!(
            addresses(Wanted::Podman, &podman),
            Ok(vec!["unix:///p".to_owned()])
        );
    }

    #[test]
    fn the_usual_sockets_come_in_order() {
        let expected = [
            "unix:///var/run/docker.sock",
            "unix:///run/user/1/docker.sock",
            "unix:///run/user/1/podman/podman.sock",
            "unix:///run/podman/podman.sock",
        ];
        let surroundings = [("XDG_RUNTIME_DIR", "/run/user/1"), ("DOCKER_HOST", "")];
        let found = |wanted| addresses(wanted, &surroundings).unwrap();
        assert_eq!(found(Wanted::Any), expected);
        assert_eq!(found(Wanted::Docker), expected[..2]);
        assert_eq!(found(Wanted::Podman), expected[2..]);
    }

    #[test]
    fn hosts_that_make_no_sense_are_refused_with_a_reason() {
        for (host, reason) in [
            ("ssh://user@host", "SSH is not supported"),
            ("npipe:////./pipe/docker", "only `unix://` and `tcp://`"),
            ("unix://relative", "begins with `/`"),
            ("tcp://", "a host and a port"),
            ("tcp://user:secret@host", "a host and a port"),
            ("10.0.0.1:99", "must begin with"),
        ] {
            let error = addresses(Wanted::Any, &[("DOCKER_HOST", host)]).unwrap_err();
            assert!(error.contains(reason), "{host}: {error}");
        }
    }

    #[test]
    fn what_is_on_this_machine_is_known() {
        let local = |text: &str| parse(text, || None).unwrap().is_local();
        assert!(local("unix:///x") && local("tcp://127.0.0.1:1") && local("tcp://localhost"));
        assert!(local("tcp://[::1]:2375"));
        assert!(!local("tcp://10.0.0.1:1") && !local("tcp://build.example"));
    }

    /// A folder of Docker's configuration with one context.
    fn configuration(config: &str, context: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("config.json"), config).unwrap();
        let place = folder.path().join("contexts/meta/0123");
        fs_err::create_dir_all(&place).unwrap();
        fs_err::write(place.join("meta.json"), context).unwrap();
        folder
    }

    const CONTEXT: &str =
        r#"{"Name": "there", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://there:7"}}}"#;

    #[test]
    fn contexts_are_followed() {
        let folder = configuration(r#"{"currentContext": "there"}"#, CONTEXT);
        let config = folder.path().to_str().unwrap();
        let there = Ok(vec!["tcp://there:7".to_owned()]);
        let with = |more: &[(&str, &str)]| {
            let mut variables = vec![("DOCKER_CONFIG", config)];
            variables.extend(more);
            addresses(Wanted::Docker, &variables)
        };
        assert_eq!(with(&[]), there);
        assert_eq!(with(&[("DOCKER_CONTEXT", "there")]), there);
        let usual = Ok(vec!["unix:///var/run/docker.sock".to_owned()]);
        assert_eq!(with(&[("DOCKER_CONTEXT", "default")]), usual);
        let host = with(&[("DOCKER_CONTEXT", "nowhere"), ("DOCKER_HOST", "tcp://h:1")]);
        assert_eq!(
            host,
            Ok(vec!["tcp://h:1".to_owned()]),
            "the host goes first"
        );
        let error = with(&[("DOCKER_CONTEXT", "nowhere")]).unwrap_err();
        assert!(error.contains("no Docker context `nowhere`"), "{error}");
    }

    #[test]
    fn a_context_s_certificates_are_beside_it() {
        let folder = configuration("{}", CONTEXT);
        let tls = folder.path().join("contexts/tls/0123/docker");
        fs_err::create_dir_all(&tls).unwrap();
        let variable = |name: &str| match name {
            "DOCKER_CONFIG" => Some(folder.path().as_os_str().to_owned()),
            "DOCKER_CONTEXT" => Some("there".into()),
            _ => None,
        };
        let found = Surroundings::new(&variable).addresses(Wanted::Any).unwrap();
        assert_eq!(found, [Address::Tls("there:7".into(), tls)]);
    }

    #[test]
    fn a_configuration_without_a_context_that_is_there_counts_for_nothing() {
        for config in [r#"{"currentContext": "gone"}"#, "{}", r#"{"auths": {}}"#] {
            let folder = configuration(config, CONTEXT);
            let variables = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
            let found = addresses(Wanted::Docker, &variables).unwrap();
            assert_eq!(found, ["unix:///var/run/docker.sock"], "{config}");
        }
        let folder = configuration("{", CONTEXT);
        let variables = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
        let error = addresses(Wanted::Docker, &variables).unwrap_err();
        assert!(error.contains("config.json is not valid"), "{error}");
    }
}
