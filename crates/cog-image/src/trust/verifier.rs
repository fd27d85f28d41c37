//! Whether a server is whom it says it is. The certificates of this machine, of which there are hundreds, are read when
//! the first server shows its own: whoever is spoken to without TLS does not wait for that.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::{SSL_CERT_DIR, SSL_CERT_FILE, host_bundle};

/// The protocol that our clients speak inside of TLS.
const HTTP: &[u8] = b"http/1.1";

/// There is no certificate of an authority that could be trusted.
#[derive(Debug)]
pub(crate) struct NothingTrusted(String);

impl fmt::Display for NothingTrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no certificates of authorities were found{}", self.0)
    }
}

impl std::error::Error for NothingTrusted {}

/// Trusts what this machine trusts, and more.
pub(crate) struct Verifier {
    more: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    made: OnceLock<Result<Arc<WebPkiServerVerifier>, Error>>,
}

impl Verifier {
    /// Trusts the certificates of `pem` besides the system's, or besides those of `SSL_CERT_FILE` and `SSL_CERT_DIR` in
    /// their place.
    pub(crate) fn new(pem: &[u8]) -> Result<Arc<Self>, pem::Error> {
        let more = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            more,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            made: OnceLock::new(),
        }))
    }

    /// What a client of HTTP needs that asks this.
    pub(crate) fn config(self: &Arc<Self>) -> Result<ClientConfig, Error> {
        let verifier = Arc::<Self>::clone(self);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(config)
    }

    fn inner(&self) -> Result<&WebPkiServerVerifier, Error> {
        let made = self.made.get_or_init(|| self.make());
        made.as_deref().map_err(Clone::clone)
    }

    fn make(&self) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let (system, trouble) = system_certificates();
        let mut roots = RootCertStore::empty();
        // As everybody does it: one that cannot be read is one that is not trusted.
        roots.add_parsable_certificates(system);
        for certificate in &self.more {
            roots.add(certificate.clone())?;
        }
        if roots.is_empty() {
            return Err(Error::Other(OtherError(Arc::new(NothingTrusted(trouble)))));
        }
        let builder = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        );
        let made = builder.build();
        made.map_err(|error| Error::Other(OtherError(Arc::new(error))))
    }
}

/// Those of the system's bundle: the folder beside it has the same once more, each in a file. And what went wrong.
fn system_certificates() -> (Vec<CertificateDer<'static>>, String) {
    let is_chosen = [SSL_CERT_FILE, SSL_CERT_DIR]
        .iter()
        .any(|variable| std::env::var_os(variable).is_some());
    if !is_chosen && let Some(bundle) = host_bundle() {
        let certificates = CertificateDer::pem_file_iter(bundle);
        let certificates = certificates.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        if let Ok(certificates) = certificates
            && !certificates.is_empty()
        {
            return (certificates, String::new());
        }
    }
    let found = rustls_native_certs::load_native_certs();
    let trouble = found.errors.first();
    let trouble = trouble.map_or_else(String::new, |error| format!(": {error}"));
    (found.certs, trouble)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner()?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = self.more.len();
        f.debug_struct("Verifier")
            .field("more", &more)
            .finish_non_exhaustive()
    }
}
