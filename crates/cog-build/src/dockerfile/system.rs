//! What an image has besides Python packages: variables, certificates, the first process, Debian packages, uv.

use cog_config::EnvironmentVariable;

use super::Result;
use super::recipe::{Mount, Recipe, one_line, shell_word};
use crate::certificate::{BUNDLE, Certificates};

const TINI_VERSION: &str = "v0.19.0";
const UV_IMAGE: &str = "ghcr.io/astral-sh/uv:0.9.26";
const CERTIFICATE: &str = "/tmp/cog-ca-cert.crt";

/// Packages that a base with CUDA lacks and that uv needs.
const TOOLS: [&str; 5] = ["wget", "curl", "xz-utils", "git", "ca-certificates"];

/// What every image sets. Prebuilt bases have it.
pub(super) fn preamble(recipe: &mut Recipe) {
    recipe.variables([("DEBIAN_FRONTEND", "noninteractive")]);
    recipe.variables([("PYTHONUNBUFFERED", "1")]);
    // The base's own folders come first.
    recipe.instruction(
        "ENV",
        "LD_LIBRARY_PATH=$LD_LIBRARY_PATH:/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/bin",
    );
    recipe.variables([("NVIDIA_DRIVER_CAPABILITIES", "all")]);
}

/// The certificates of `COG_CA_CERT`, before anything is fetched.
pub(super) fn certificate(recipe: &mut Recipe, certificates: Option<&Certificates>) {
    let Some(certificates) = certificates else {
        return;
    };
    recipe.text(CERTIFICATE, &certificates.pem());
    let folder = "/usr/local/share/ca-certificates";
    recipe.run(
        None,
        &[
            format!("mkdir -p {folder} /etc/ssl/certs"),
            format!("cp {CERTIFICATE} {folder}/cog-ca-cert.crt"),
            // A base without the program has no bundle to update either: it gets one with these alone.
            "(! command -v update-ca-certificates >/dev/null || update-ca-certificates)".to_owned(),
            format!("cat {CERTIFICATE} >> {BUNDLE}"),
        ],
    );
    recipe.variables([("SSL_CERT_FILE", BUNDLE), ("REQUESTS_CA_BUNDLE", BUNDLE)]);
}

/// The image's first process.
pub(super) fn tini(recipe: &mut Recipe) {
    let url = format!(
        "https://github.com/krallin/tini/releases/download/{TINI_VERSION}/tini-$(dpkg --print-architecture)"
    );
    let mut commands = apt_install(&["curl".to_owned()]);
    commands.push(format!("curl -fsSL -o /sbin/tini \"{url}\""));
    commands.push("chmod +x /sbin/tini".to_owned());
    recipe.run(Some(Mount::Apt), &commands);
    recipe.instruction("ENTRYPOINT", r#"["/sbin/tini", "--"]"#);
}

/// `environment`, sorted by name, for all that follows.
pub(super) fn environment(recipe: &mut Recipe, variables: &[EnvironmentVariable]) {
    if variables.is_empty() {
        return;
    }
    let mut sorted: Vec<(&str, &str)> = variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .collect();
    sorted.sort_unstable();
    recipe.variables(sorted);
}

/// `build.system_packages`: those of them that the base does not have. There is a step even if it has all of them.
pub(super) fn apt(recipe: &mut Recipe, asked: &[String], missing: &[String]) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    for package in missing {
        one_line("a name in `system_packages`", package)?;
    }
    recipe.run(Some(Mount::Apt), &apt_install(missing));
    Ok(())
}

/// What uv needs on a base with CUDA.
pub(super) fn tools(recipe: &mut Recipe) {
    recipe.run(Some(Mount::Apt), &apt_install(&TOOLS.map(str::to_owned)));
}

fn apt_install(packages: &[String]) -> Vec<String> {
    let install = ["apt-get install -qqy".to_owned()];
    let packages = packages.iter().map(|package| shell_word(package));
    let words: Vec<String> = install.into_iter().chain(packages).collect();
    vec![
        "apt-get update -qq".to_owned(),
        words.join(" "),
        "rm -rf /var/lib/apt/lists/*".to_owned(),
    ]
}

/// What installs Python packages.
pub(super) fn uv(recipe: &mut Recipe) {
    recipe.instruction(
        "COPY",
        format!("--from={UV_IMAGE} /uv /uvx /usr/local/bin/"),
    );
    recipe.variables([("UV_SYSTEM_PYTHON", "true")]);
}

/// The Python of a base that has none.
pub(super) fn uv_python(recipe: &mut Recipe, version: &str) {
    let found = format!("\"$(uv python find --managed-python {version})\"");
    recipe.run(
        None,
        &[
            format!("uv python install {version}"),
            format!("ln -sf {found} /usr/bin/python3"),
            format!("ln -sf {found} /usr/local/bin/python"),
        ],
    );
    recipe.variables([("UV_PYTHON", version)]);
    recipe.instruction("ENV", "PATH=\"/usr/local/bin:$PATH\"");
}

/// Prebuilt bases with a Python of uv's call it `python3` only.
pub(super) fn link_python(recipe: &mut Recipe) {
    recipe.instruction("RUN", "ln -sf /usr/bin/python3 /usr/local/bin/python");
}

/// Lets programs find the shared libraries that lie beside Python's own.
pub(super) fn linker_cache(recipe: &mut Recipe) {
    recipe.run(
        None,
        &[
            "find / -xdev -type f -name \"*python*.so\" -printf \"%h\\n\" | sort -u > /etc/ld.so.conf.d/cog.conf",
            "ldconfig",
        ],
    );
}
