//! The environment variables of an image.

/// What is set besides the base's variables.
#[derive(Debug, Default)]
pub(crate) struct Variables<'a> {
    /// The project's `environment`, in order.
    pub(crate) user: &'a [(String, String)],
    /// The bundle with the certificates of `COG_CA_CERT`, if there are any.
    pub(crate) certificate_bundle: Option<&'a str>,
    /// GNU triplet of the platform, such as `x86_64-linux-gnu`.
    pub(crate) triplet: &'a str,
}

/// Where programs are looked for where the base does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables that build commands and the model see, on top of those of the base.
///
/// They are set as given: no quote is stripped and no `$NAME` expanded.
pub(crate) fn build_variables(
    base: &[(String, String)],
    variables: &Variables<'_>,
) -> Vec<(String, String)> {
    let mut all = base.to_vec();
    let path = value(base, "PATH").unwrap_or(DEFAULT_PATH).to_owned();
    set(&mut all, "PATH", format!("/opt/venv/bin:{path}"));
    set(&mut all, "VIRTUAL_ENV", "/opt/venv");
    set(&mut all, "DEBIAN_FRONTEND", "noninteractive");
    set(&mut all, "PYTHONUNBUFFERED", "1");
    let libraries = library_path(value(base, "LD_LIBRARY_PATH"), variables.triplet);
    set(&mut all, "LD_LIBRARY_PATH", libraries);
    set(&mut all, "NVIDIA_DRIVER_CAPABILITIES", "all");
    if let Some(bundle) = variables.certificate_bundle {
        set(&mut all, "SSL_CERT_FILE", bundle);
        set(&mut all, "REQUESTS_CA_BUNDLE", bundle);
    }
    for (name, value) in variables.user {
        set(&mut all, name, value.as_str());
    }
    all
}

/// What the server reads, by name: the references of the model, and how many predictions run at
/// once.
#[derive(Debug, Default)]
pub(crate) struct ModelVariables<'a> {
    pub(crate) run: Option<&'a str>,
    pub(crate) train: Option<&'a str>,
    pub(crate) concurrency: Option<u32>,
}

impl ModelVariables<'_> {
    /// Adds them to `variables`.
    pub(crate) fn add(&self, variables: &mut Vec<(String, String)>) {
        if let Some(run) = self.run {
            set(variables, "COG_PREDICT_TYPE_STUB", run);
        }
        if let Some(train) = self.train {
            set(variables, "COG_TRAIN_TYPE_STUB", train);
        }
        if let Some(concurrency) = self.concurrency {
            set(variables, "COG_MAX_CONCURRENCY", concurrency.to_string());
        }
    }
}

/// The base's own folders first. An empty part would mean the working directory, so none is left.
fn library_path(base: Option<&str>, triplet: &str) -> String {
    let added = format!("/usr/lib/{triplet}:/usr/local/nvidia/lib64:/usr/local/nvidia/bin");
    match base.filter(|base| !base.is_empty()) {
        Some(base) => format!("{base}:{added}"),
        None => added,
    }
}

fn value<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    variables
        .iter()
        .rev()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: impl Into<String>) {
    match variables.iter_mut().find(|(key, _)| key == name) {
        Some((_, old)) => *old = value.into(),
        None => variables.push((name.to_owned(), value.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn variables_build_on_the_base() {
        let base = pairs(&[
            ("PATH", "/usr/bin"),
            ("LANG", "C.UTF-8"),
            ("LD_LIBRARY_PATH", "/x"),
        ]);
        let user = pairs(&[("NAME", "a \"b\" $c"), ("LANG", "de")]);
        let variables = Variables {
            user: &user,
            certificate_bundle: Some("/bundle"),
            triplet: "x86_64-linux-gnu",
        };
        let mut all = build_variables(&base, &variables);
        let model = ModelVariables {
            run: Some("run.py:Runner"),
            train: None,
            concurrency: Some(4),
        };
        model.add(&mut all);
        assert_eq!(
            all,
            pairs(&[
                ("PATH", "/opt/venv/bin:/usr/bin"),
                ("LANG", "de"),
                (
                    "LD_LIBRARY_PATH",
                    "/x:/usr/lib/x86_64-linux-gnu:/usr/local/nvidia/lib64:/usr/local/nvidia/bin"
                ),
                ("VIRTUAL_ENV", "/opt/venv"),
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("PYTHONUNBUFFERED", "1"),
                ("NVIDIA_DRIVER_CAPABILITIES", "all"),
                ("SSL_CERT_FILE", "/bundle"),
                ("REQUESTS_CA_BUNDLE", "/bundle"),
                ("NAME", "a \"b\" $c"),
                ("COG_PREDICT_TYPE_STUB", "run.py:Runner"),
                ("COG_MAX_CONCURRENCY", "4"),
            ])
        );
    }

    #[test]
    fn an_empty_base_gets_defaults() {
        let all = build_variables(
            &[],
            &Variables {
                triplet: "t",
                ..Variables::default()
            },
        );
        assert_eq!(
            value(&all, "PATH"),
            Some(&*format!("/opt/venv/bin:{DEFAULT_PATH}"))
        );
        assert!(
            !value(&all, "LD_LIBRARY_PATH")
                .expect("set")
                .starts_with(':')
        );
        assert_eq!(value(&all, "SSL_CERT_FILE"), None);
    }
}
