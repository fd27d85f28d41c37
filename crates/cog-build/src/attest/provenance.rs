//! How an image was made: an in-toto statement with the provenance of SLSA, version 1. Pure.
//!
//! It is not signed, and says what our builder knows: whoever needs more signs it on a machine that is trusted.

use cog_config::{Config, Revision};
use cog_python::resolution::{Origin, Pinned};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Subject;
use super::spdx::encoded;
use crate::lock::Lock;
use crate::sdk::VERSION;

/// What kind of build it was, and so what its parameters mean: `docs/concepts/supply-chain.md` tells.
const BUILD_TYPE: &str = "urn:cog:build:v1";
const BUILDER: &str = "urn:cog:builder";
/// What the statement's predicate is.
pub(super) const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What decided a build.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The completed configuration.
    pub(crate) config: Config,
    pub(crate) revision: Revision,
    pub(crate) lock: Lock,
}

/// Something that went into the image.
#[derive(Debug, Serialize, PartialEq)]
struct Dependency {
    uri: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    digest: Map<String, Value>,
}

/// The statement that `subject` was made from `recipe`.
pub(super) fn statement(subject: &Subject, recipe: &Recipe) -> Value {
    let lock = &recipe.lock;
    // Written as a lock has them, which is without credentials.
    let requirements = serde_json::to_value(&lock.python.requirements).unwrap_or_default();
    let packages = &requirements["packages"];
    let source = [
        ("commit", &recipe.revision.commit),
        ("description", &recipe.revision.description),
    ];
    let source: Map<String, Value> = source
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "digest": {"sha256": subject.hex()},
        }],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "config": recipe.config,
                    "source": source,
                    "requirements": packages,
                },
                "internalParameters": {
                    "base": lock.base.name,
                    "pythonPlatform": lock.base.python_platform,
                },
                "resolvedDependencies": dependencies(lock),
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"cog": VERSION},
                },
            },
        },
    })
}

fn dependencies(lock: &Lock) -> Vec<Dependency> {
    let layers = lock.base.layers.iter().map(|layer| Dependency {
        uri: format!("pkg:generic/base-layer?base={}", encoded(&lock.base.name)),
        digest: digest(&layer.blob.digest.to_string()),
    });
    let system = lock.base.packages.iter().map(|package| Dependency {
        uri: format!(
            "pkg:deb/debian/{}@{}",
            encoded(&package.name),
            encoded(&package.version)
        ),
        digest: digest(&format!("sha256:{}", package.sha256)),
    });
    let python = lock.python.resolution.distributions.iter().map(dependency);
    let server = Dependency {
        uri: format!("pkg:generic/coglet@{}", encoded(&lock.runtime.version)),
        digest: digest(&lock.runtime.server),
    };
    layers.chain(system).chain(python).chain([server]).collect()
}

/// A distribution of Python. Where an index offers several files, the one that was taken is not said: all fit the
/// platform, and each is pinned.
fn dependency(pinned: &Pinned) -> Dependency {
    let version = pinned.version.as_deref().unwrap_or_default();
    let package = format!("pkg:pypi/{}@{}", encoded(&pinned.name), encoded(version));
    let (uri, hash) = match &pinned.origin {
        Origin::Index { files } => {
            let only = match files.as_slice() {
                [one] => one.hashes.first(),
                _ => None,
            };
            (package, only.cloned())
        }
        Origin::Archive { url, hashes, .. } => (url.clone(), hashes.first().cloned()),
        Origin::Git { url, commit, .. } => {
            (format!("git+{url}"), Some(format!("gitCommit:{commit}")))
        }
        Origin::Local { path, hashes } => (format!("file:{path}"), hashes.first().cloned()),
    };
    Dependency {
        uri,
        digest: hash.as_deref().map(digest).unwrap_or_default(),
    }
}

/// `sha256:…` as a set of digests.
fn digest(text: &str) -> Map<String, Value> {
    let named = text.split_once(':').into_iter();
    named
        .map(|(algorithm, hex)| (algorithm.to_owned(), hex.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use cog_python::resolution::IndexFile;

    use super::*;

    fn pinned(origin: Origin) -> Pinned {
        Pinned {
            name: "numpy".into(),
            version: Some("2.1.0+x".into()),
            origin,
        }
    }

    fn check(origin: Origin, uri: &str, digests: &Value) {
        let found = serde_json::to_value(dependency(&pinned(origin))).unwrap();
        assert_eq!(found["uri"], uri);
        assert_eq!(found.get("digest").unwrap_or(&json!({})), digests);
    }

    #[test]
    fn each_origin_has_its_own_uri() {
        let file = |hash: &str| IndexFile {
            url: "https://files.example.com/numpy.whl".into(),
            hashes: vec![format!("sha256:{hash}")],
            size: None,
        };
        let files = vec![file("aa")];
        check(
            Origin::Index { files },
            "pkg:pypi/numpy@2.1.0%2Bx",
            &json!({"sha256": "aa"}),
        );
        let files = vec![file("aa"), file("bb")];
        check(
            Origin::Index { files },
            "pkg:pypi/numpy@2.1.0%2Bx",
            &json!({}),
        );
        let git = Origin::Git {
            url: "https://example.com/n.git".into(),
            commit: "c0ffee".into(),
            subdirectory: None,
        };
        check(
            git,
            "git+https://example.com/n.git",
            &json!({"gitCommit": "c0ffee"}),
        );
    }
}
