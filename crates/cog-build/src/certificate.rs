//! Certificates that an image trusts besides its base's own.

pub use cog_image::trust::{COG_CA_CERT, CertificateError, Certificates};

/// The bundle that every program in the image is pointed at.
pub(crate) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
