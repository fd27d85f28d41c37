//! A bill of materials in the form of SPDX 2.3. Pure: the same image gives the same text.
//!
//! Only what is known is said: licences and addresses of packages are not looked for.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cog_debian::InstalledPackage;
use cog_image::rfc3339;
use cog_python::freeze::Freeze;
use cog_python::requirements::normalise;
use serde::Serialize;

use super::Subject;
use super::contents::{Contents, Distribution, Server};
use crate::sdk::VERSION;

const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
/// What images are called here, whatever they are called elsewhere.
const NAME: &str = "cog-image";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    #[serde(rename = "documentNamespace")]
    namespace: String,
    creation_info: Creation,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Debug, Serialize)]
struct Creation {
    created: String,
    creators: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    download_location: &'static str,
    files_analyzed: bool,
    primary_package_purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    external_refs: Vec<Reference>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Debug, Serialize)]
struct Reference {
    #[serde(rename = "referenceCategory")]
    category: &'static str,
    #[serde(rename = "referenceType")]
    kind: &'static str,
    #[serde(rename = "referenceLocator")]
    locator: String,
}

#[derive(Debug, Serialize)]
struct Relationship {
    #[serde(rename = "spdxElementId")]
    of: &'static str,
    #[serde(rename = "relationshipType")]
    kind: &'static str,
    #[serde(rename = "relatedSpdxElement")]
    to: String,
}

impl Document {
    /// The document of the image `subject` with these packages.
    pub(super) fn new(subject: &Subject, contents: &Contents) -> Self {
        let mut ids = Ids::default();
        let system = contents
            .system
            .iter()
            .map(|package| Package::of_system(&mut ids, package, contents.distribution.as_ref()));
        let mut packages = vec![Package::of_image(subject)];
        packages.extend(system);
        let python = contents.python.iter();
        packages.extend(python.map(|one| Package::of_python(&mut ids, one)));
        let server = contents.server.iter();
        packages.extend(server.map(|server| Package::of_server(&mut ids, server)));
        let contains = packages[1..].iter().map(|package| Relationship {
            of: IMAGE,
            kind: "CONTAINS",
            to: package.id.clone(),
        });
        let describes = Relationship {
            of: DOCUMENT,
            kind: "DESCRIBES",
            to: IMAGE.to_owned(),
        };
        let relationships = [describes].into_iter().chain(contains).collect();
        Self {
            spdx_version: "SPDX-2.3",
            data_license: "CC0-1.0",
            id: DOCUMENT,
            name: NAME.to_owned(),
            namespace: format!("https://spdx.org/spdxdocs/cog-{}", subject.hex()),
            creation_info: Creation {
                created: rfc3339(subject.created),
                creators: vec![format!("Tool: cog-{VERSION}")],
            },
            packages,
            relationships,
        }
    }
}

impl Package {
    fn new(id: String, name: &str, version: &str, purpose: &'static str, purl: String) -> Self {
        Self {
            id,
            name: name.to_owned(),
            version_info: version.to_owned(),
            download_location: UNKNOWN,
            files_analyzed: false,
            primary_package_purpose: purpose,
            supplier: None,
            checksums: Vec::new(),
            external_refs: vec![Reference {
                category: "PACKAGE-MANAGER",
                kind: "purl",
                locator: purl,
            }],
        }
    }

    fn with_sha256(self, hex: String) -> Self {
        Self {
            checksums: vec![Checksum {
                algorithm: "SHA256",
                checksum_value: hex,
            }],
            ..self
        }
    }

    fn of_image(subject: &Subject) -> Self {
        let purl = format!("pkg:oci/{NAME}@sha256%3A{}", subject.hex());
        let version = format!("sha256:{}", subject.hex());
        Self::new(IMAGE.to_owned(), NAME, &version, "CONTAINER", purl).with_sha256(subject.hex())
    }

    fn of_system(
        ids: &mut Ids,
        package: &InstalledPackage,
        distribution: Option<&Distribution>,
    ) -> Self {
        let InstalledPackage {
            name,
            version,
            architecture,
            maintainer,
        } = package;
        let id = ids.next(&["System", name, architecture]);
        let vendor = distribution.map_or("debian", |one| one.id.as_str());
        let mut purl = format!(
            "pkg:deb/{}/{}@{}?arch={}",
            encoded(vendor),
            encoded(name),
            encoded(version),
            encoded(architecture)
        );
        if let Some(Distribution { id, version }) = distribution {
            let _ = write!(purl, "&distro={}-{}", encoded(id), encoded(version));
        }
        let supplier = maintainer.as_deref().map(supplier);
        Self {
            supplier,
            ..Self::new(id, name, version, "LIBRARY", purl)
        }
    }

    fn of_python(ids: &mut Ids, one: &Freeze) -> Self {
        let name = normalise(&one.name);
        let id = ids.next(&["Python", &name, &one.version]);
        let purl = format!("pkg:pypi/{}@{}", encoded(&name), encoded(&one.version));
        Self::new(id, &one.name, &one.version, "LIBRARY", purl)
    }

    fn of_server(ids: &mut Ids, server: &Server) -> Self {
        let id = ids.next(&["Server", "coglet"]);
        let purl = format!("pkg:generic/coglet@{}", encoded(&server.version));
        Self::new(id, "coglet", &server.version, "APPLICATION", purl)
            .with_sha256(server.sha256.clone())
    }
}

/// Identifiers, each given once.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    fn next(&mut self, parts: &[&str]) -> String {
        let plain = |character: char| match character {
            '.' | '-' => character,
            other if other.is_ascii_alphanumeric() => other,
            _ => '-',
        };
        let base: String = parts.join("-").chars().map(plain).collect();
        let mut id = format!("SPDXRef-{base}");
        let mut number = 1;
        while !self.0.insert(id.clone()) {
            number += 1;
            id = format!("SPDXRef-{base}-{number}");
        }
        id
    }
}

/// `Name <address>` as SPDX has it.
fn supplier(maintainer: &str) -> String {
    let line = maintainer.lines().next().unwrap_or_default().trim();
    match line.split_once('<') {
        Some((name, address)) => {
            let address = address.trim_end_matches('>');
            format!("Organization: {} ({address})", name.trim())
        }
        None => format!("Organization: {line}"),
    }
}

/// As package URLs have it: all but plain characters in percent signs.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(name: &str, version: &str) -> Freeze {
        Freeze {
            name: name.into(),
            version: version.into(),
            origin: None,
        }
    }

    fn document(contents: &Contents) -> serde_json::Value {
        let subject = Subject {
            digest: cog_image::Digest::of(b"manifest"),
            created: 0,
        };
        serde_json::to_value(Document::new(&subject, contents)).unwrap()
    }

    #[test]
    fn every_package_is_contained_under_an_identifier_of_its_own() {
        let contents = Contents {
            python: vec![
                python("a_b", "1"),
                python("a.b", "1"),
                python("c", "1+cu12"),
            ],
            ..Contents::default()
        };
        let document = document(&contents);
        let ids: BTreeSet<&str> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| package["SPDXID"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), 4);
        let contained = document["relationships"].as_array().unwrap();
        assert_eq!(contained.len(), 4);
        assert!(
            contained[1..]
                .iter()
                .all(|one| ids.contains(one["relatedSpdxElement"].as_str().unwrap()))
        );
        let purl = &document["packages"][3]["externalRefs"][0]["referenceLocator"];
        assert_eq!(purl, "pkg:pypi/c@1%2Bcu12");
        let image = &document["packages"][0]["externalRefs"][0]["referenceLocator"];
        assert!(
            image
                .as_str()
                .unwrap()
                .starts_with("pkg:oci/cog-image@sha256%3A")
        );
    }

    #[test]
    fn system_packages_name_their_distribution_and_who_looks_after_them() {
        let contents = Contents {
            distribution: Some(Distribution {
                id: "debian".into(),
                version: "12".into(),
            }),
            system: vec![InstalledPackage {
                name: "libstdc++6".into(),
                version: "1:12.2~x".into(),
                architecture: "amd64".into(),
                maintainer: Some("Debian GCC <gcc@example.org>".into()),
            }],
            ..Contents::default()
        };
        let document = document(&contents);
        let package = &document["packages"][1];
        assert_eq!(package["SPDXID"], "SPDXRef-System-libstdc--6-amd64");
        assert_eq!(
            package["supplier"],
            "Organization: Debian GCC (gcc@example.org)"
        );
        assert_eq!(
            package["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2~x?arch=amd64&distro=debian-12"
        );
    }
}
