//! `COG_CA_CERT`: certificates that an image trusts besides its base's own.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// Names a certificate, a folder of certificates, or is one itself.
pub const COG_CA_CERT: &str = "COG_CA_CERT";

pub(super) const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
pub(super) const END: &str = "-----END CERTIFICATE-----";

/// `COG_CA_CERT` has no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Neither a path nor a certificate.
    #[error(
        "COG_CA_CERT: invalid value - must be a file path, directory, PEM certificate, or base64-encoded PEM"
    )]
    InvalidValue,
    /// The folder has no certificates.
    #[error("COG_CA_CERT: no .crt or .pem files found in directory {}", .0.display())]
    EmptyFolder(PathBuf),
    /// A file is no certificate.
    #[error("COG_CA_CERT: invalid certificate in {}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file cannot be read.
    #[error("COG_CA_CERT: {0}")]
    Unreadable(#[from] std::io::Error),
}

/// Certificates in PEM form that an image is to trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Certificates(String);

impl Certificates {
    /// Those of `COG_CA_CERT`, if it is set.
    pub fn of_environment() -> Result<Option<Self>, CertificateError> {
        Self::read(&std::env::var(COG_CA_CERT).unwrap_or_default())
    }

    /// Reads the value of `COG_CA_CERT`; a blank one is none.
    pub fn read(value: &str) -> Result<Option<Self>, CertificateError> {
        let value = value.trim();
        if value.is_empty() {
            return Ok(None);
        }
        let path = Path::new(value);
        let pem = if path.is_file() {
            read_file(path)?
        } else if path.is_dir() {
            read_folder(path)?
        } else {
            from_text(value)?
        };
        Ok(Some(Self(pem)))
    }

    /// The certificates as PEM text that ends with a line end.
    pub fn pem(&self) -> String {
        format!("{}\n", self.0.trim_end())
    }
}

fn from_text(value: &str) -> Result<String, CertificateError> {
    if value.starts_with("-----BEGIN") {
        return check(value)
            .map(|()| value.to_owned())
            .map_err(|_| CertificateError::InvalidValue);
    }
    base64::engine::general_purpose::STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| check(text).is_ok())
        .ok_or(CertificateError::InvalidValue)
}

fn read_folder(folder: &Path) -> Result<String, CertificateError> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let is_certificate = path.extension().is_some_and(|suffix| {
            suffix.eq_ignore_ascii_case("crt") || suffix.eq_ignore_ascii_case("pem")
        });
        if is_certificate && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(CertificateError::EmptyFolder(folder.to_owned()));
    }
    paths.sort();
    let texts = paths
        .iter()
        .map(|path| read_file(path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n"))
}

fn read_file(path: &Path) -> Result<String, CertificateError> {
    let invalid = |reason| CertificateError::Invalid {
        path: path.to_owned(),
        reason,
    };
    let text = String::from_utf8(fs_err::read(path)?).map_err(|_| invalid("it is not text"))?;
    check(&text).map_err(invalid)?;
    Ok(text.trim().to_owned())
}

fn check(text: &str) -> Result<(), &'static str> {
    if !text.trim_start().starts_with(BEGIN) {
        Err("it does not start with `-----BEGIN CERTIFICATE-----`")
    } else if !text.contains(END) {
        Err("it has no `-----END CERTIFICATE-----`")
    } else if !text.split(BEGIN).skip(1).all(holds_something) {
        Err("what is between `-----BEGIN CERTIFICATE-----` and its end is no base64")
    } else {
        Ok(())
    }
}

/// Whether what follows a beginning can be a certificate.
fn holds_something(text: &str) -> bool {
    let Some((content, _)) = text.split_once(END) else {
        return false;
    };
    let letters: String = content.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(letters);
    decoded.is_ok_and(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";

    fn read(value: &str) -> Result<Option<Certificates>, String> {
        Certificates::read(value).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_accepted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let single = Certificates(PEM.to_owned());
        fs_err::write(path("b.PEM"), format!("{PEM}\n")).expect("written");
        assert_eq!(
            read(path("b.PEM").to_str().expect("text")),
            Ok(Some(single.clone()))
        );
        fs_err::write(path("a.crt"), PEM).expect("written");
        fs_err::write(path("c.txt"), "ignored").expect("written");
        let both = read(folder.path().to_str().expect("text"))
            .expect("valid")
            .expect("some");
        assert_eq!(both.pem(), format!("{PEM}\n{PEM}\n"));
        assert_eq!(read(&format!("  {PEM}\n")), Ok(Some(single.clone())));
        let encoded = base64::engine::general_purpose::STANDARD.encode(PEM);
        assert_eq!(read(&encoded), Ok(Some(single)));
        assert_eq!(read("  "), Ok(None));
    }

    #[test]
    fn the_rest_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = folder.path().to_str().expect("text").to_owned();
        let invalid = "COG_CA_CERT: invalid value - must be a file path, directory, PEM \
                       certificate, or base64-encoded PEM";
        for value in [
            "garbage",
            "/no/such/file.crt",
            "-----BEGIN KEY-----",
            "Z2FyYmFnZQ==",
            "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            &format!("{PEM}\n-----BEGIN CERTIFICATE-----\nMIIB"),
        ] {
            assert_eq!(read(value).expect_err(value), invalid);
        }
        assert_eq!(
            read(&name).expect_err("empty"),
            format!("COG_CA_CERT: no .crt or .pem files found in directory {name}")
        );
        fs_err::write(folder.path().join("a.pem"), "x").expect("written");
        let error = read(&name).expect_err("not a certificate");
        assert!(error.starts_with(&format!(
            "COG_CA_CERT: invalid certificate in {name}/a.pem: "
        )));
    }
}
