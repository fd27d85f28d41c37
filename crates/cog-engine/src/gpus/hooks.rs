//! Hooks of specifications. None is run: what those of NVIDIA's toolkit do to a container is done here instead, without
//! running anything of the host as part of it.

use std::collections::BTreeSet;

use super::Link;
use super::cdi::Hook;

/// What all hooks together ask for.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    links: Vec<Link>,
    folders: Vec<String>,
    skipped: BTreeSet<String>,
}

impl Hooks {
    pub(super) fn add(&mut self, hook: &Hook) {
        match (hook.stage.as_str(), command(&hook.args)) {
            ("createContainer", Some(("create-symlinks", arguments))) => self.add_links(arguments),
            ("createContainer", Some(("update-ldcache", arguments))) => self.add_folders(arguments),
            // Folders of device nodes are open to everyone here.
            ("createContainer", Some(("chmod", arguments)))
                if values(arguments, "path").all(|path| path.starts_with("/dev/")) => {}
            // The links of the one come with the libraries themselves; the other keeps programs from making device
            // nodes, which they cannot in our containers.
            (
                "createContainer",
                Some(("create-soname-symlinks" | "disable-device-node-modification", _)),
            ) => {}
            (_, Some(("enable-cuda-compat", _))) => {
                self.skip(
                    "`enable-cuda-compat`: the driver's own CUDA is used, not one of the image",
                );
            }
            (stage, Some((name, _))) => self.skip(&format!("`{name}` at {stage}")),
            (stage, None) => self.skip(&format!("`{}` at {stage}", hook.path)),
        }
    }

    pub(super) fn links(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.links)
    }

    pub(super) fn library_folders(&self) -> &[String] {
        &self.folders
    }

    /// One sentence for each hook that was not done.
    pub(super) fn skipped(self) -> impl Iterator<Item = String> {
        self.skipped
            .into_iter()
            .map(|hook| format!("left out the hook {hook}"))
    }

    fn skip(&mut self, hook: &str) {
        self.skipped.insert(hook.to_owned());
    }

    /// `--link TARGET::PATH`.
    fn add_links(&mut self, arguments: &[String]) {
        for value in values(arguments, "link") {
            match value.split_once("::") {
                Some((target, path)) if path.starts_with('/') && !target.is_empty() => {
                    self.links.retain(|known| known.path != path);
                    self.links.push(Link {
                        path: path.to_owned(),
                        target: target.to_owned(),
                    });
                }
                _ => self.skip(&format!(
                    "`create-symlinks` with `--link {value}`, which is not TARGET::/PATH"
                )),
            }
        }
    }

    fn add_folders(&mut self, arguments: &[String]) {
        for folder in values(arguments, "folder") {
            if !self.folders.iter().any(|known| known == folder) {
                self.folders.push(folder.to_owned());
            }
        }
    }
}

/// What a hook of the toolkit does, with its arguments. They are called as `nvidia-ctk hook NAME …`,
/// `nvidia-cdi-hook NAME …`, or `nvidia-ctk-hook …`, with options before the name.
fn command(arguments: &[String]) -> Option<(&str, &[String])> {
    let (program, rest) = arguments.split_first()?;
    let program = program.rsplit('/').next()?;
    if !program.starts_with("nvidia-") {
        return None;
    }
    let start = rest
        .iter()
        .position(|word| !word.starts_with('-') && word != "hook")?;
    Some((&rest[start], &rest[start + 1..]))
}

/// The values of an option, written as `--name VALUE` or `--name=VALUE`.
fn values<'a>(arguments: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut words = arguments.iter();
    std::iter::from_fn(move || {
        loop {
            let word = words.next()?.trim_start_matches('-');
            if word == name {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(all: &[(&str, &[&str])]) -> Hooks {
        let mut hooks = Hooks::default();
        for (stage, words) in all {
            hooks.add(&Hook {
                stage: (*stage).to_owned(),
                path: "/usr/bin/nvidia-ctk".into(),
                args: words.iter().map(|&word| word.to_owned()).collect(),
            });
        }
        hooks
    }

    #[test]
    fn links_and_folders_are_read_in_every_spelling() {
        let mut read = hooks(&[
            (
                "createContainer",
                &[
                    "nvidia-ctk",
                    "hook",
                    "create-symlinks",
                    "--link",
                    "libcuda.so.1::/usr/lib/libcuda.so",
                ],
            ),
            (
                "createContainer",
                &[
                    "nvidia-cdi-hook",
                    "create-symlinks",
                    "--link=a.1::/usr/lib/a",
                    "--link",
                    "b::/usr/lib/a",
                ],
            ),
            (
                "createContainer",
                &[
                    "/usr/bin/nvidia-cdi-hook",
                    "update-ldcache",
                    "--folder",
                    "/usr/lib64",
                    "--folder=/usr/lib64",
                    "-folder",
                    "/opt/lib",
                ],
            ),
        ]);
        assert_eq!(read.library_folders(), ["/usr/lib64", "/opt/lib"]);
        let links: Vec<_> = read
            .links()
            .into_iter()
            .map(|link| (link.path, link.target))
            .collect();
        assert_eq!(
            links,
            [
                ("/usr/lib/libcuda.so".to_owned(), "libcuda.so.1".to_owned()),
                ("/usr/lib/a".into(), "b".into())
            ]
        );
        assert_eq!(read.skipped().count(), 0);
    }

    #[test]
    fn what_is_not_done_is_named() {
        let skipped: Vec<_> = hooks(&[
            (
                "createContainer",
                &[
                    "nvidia-cdi-hook",
                    "enable-cuda-compat",
                    "--host-driver-version=550.54.15",
                ],
            ),
            (
                "createContainer",
                &[
                    "nvidia-cdi-hook",
                    "chmod",
                    "--mode",
                    "755",
                    "--path",
                    "/dev/dri",
                ],
            ),
            (
                "createContainer",
                &[
                    "nvidia-cdi-hook",
                    "chmod",
                    "--mode",
                    "777",
                    "--path",
                    "/etc",
                ],
            ),
            (
                "createContainer",
                &["nvidia-cdi-hook", "disable-device-node-modification"],
            ),
            (
                "createContainer",
                &["nvidia-cdi-hook", "create-symlinks", "--link", "no-path"],
            ),
            (
                "poststop",
                &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b"],
            ),
            ("prestart", &["other", "thing"]),
        ])
        .skipped()
        .collect();
        assert_eq!(skipped.len(), 5, "{skipped:?}");
        for part in [
            "enable-cuda-compat",
            "chmod",
            "no-path",
            "create-symlinks` at poststop",
            "/usr/bin/nvidia-ctk` at prestart",
        ] {
            assert!(
                skipped.iter().any(|line| line.contains(part)),
                "{part}: {skipped:?}"
            );
        }
    }
}
