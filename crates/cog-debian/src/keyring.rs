//! Checks the signatures of release files with the keys of the Debian archive.

use std::io::BufReader;
use std::time::{Duration, SystemTime};

use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Tag, Timestamp, VerifyingKey};

/// The archive's keys, as the package `debian-archive-keyring` has them.
const KEYS: [&[u8]; 6] = [
    include_bytes!("keys/debian-archive-bookworm-automatic.gpg"),
    include_bytes!("keys/debian-archive-bookworm-security-automatic.gpg"),
    include_bytes!("keys/debian-archive-bookworm-stable.gpg"),
    include_bytes!("keys/debian-archive-trixie-automatic.gpg"),
    include_bytes!("keys/debian-archive-trixie-security-automatic.gpg"),
    include_bytes!("keys/debian-archive-trixie-stable.gpg"),
];

/// Keys that are trusted.
#[derive(Debug)]
pub(super) struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

impl Keyring {
    /// The keys of the Debian archive.
    pub(super) fn debian() -> Self {
        let certificates = KEYS.iter().flat_map(|bytes| {
            SignedPublicKey::from_bytes_many(BufReader::new(*bytes))
                .expect("the shipped keys are tested to be readable")
        });
        Self {
            certificates: certificates
                .collect::<Result<_, _>>()
                .expect("the shipped keys are tested to be readable"),
        }
    }

    #[cfg(test)]
    pub(super) fn of(certificates: Vec<SignedPublicKey>) -> Self {
        Self { certificates }
    }

    /// The text of the signed `message`, if one of its signatures is by a key that is valid `now`. Nothing else of the
    /// message may be used. The error says what is wrong.
    pub(super) fn verified_text(&self, message: &[u8], now: SystemTime) -> Result<String, String> {
        let (message, _) = CleartextSignedMessage::from_armor(message)
            .map_err(|error| format!("it is no signed text ({error})"))?;
        let text = message.signed_text();
        let is_good = message
            .signatures()
            .iter()
            .any(|signature| self.accepts(signature, text.as_bytes(), now));
        if is_good {
            Ok(text.replace("\r\n", "\n"))
        } else {
            Err("no signature is valid and by a known key".to_owned())
        }
    }

    fn accepts(&self, signature: &Signature, text: &[u8], now: SystemTime) -> bool {
        if !is_strong(signature) || has_expired(signature, now) {
            return false;
        }
        self.certificates.iter().any(|certificate| {
            let Some(primary) = Validity::of_primary(certificate) else {
                return false;
            };
            if !primary.holds(&certificate.primary_key, now) {
                return false;
            }
            let by_primary =
                primary.may_sign && signature.verify(&certificate.primary_key, text).is_ok();
            by_primary
                || certificate.public_subkeys.iter().any(|subkey| {
                    signature.verify(&subkey.key, text).is_ok()
                        && Validity::of_subkey(subkey, certificate).is_some_and(|validity| {
                            validity.may_sign && validity.holds(&subkey.key, now)
                        })
                })
        })
    }
}

/// Older hashes can be forged.
fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    )
}

fn has_expired(signature: &Signature, now: SystemTime) -> bool {
    match (signature.created(), signature.signature_expiration_time()) {
        (Some(created), Some(lifetime)) if lifetime.as_secs() > 0 => {
            SystemTime::from(created) + Duration::from_secs(lifetime.as_secs().into()) < now
        }
        _ => false,
    }
}

/// What the newest signature of a key's owner says about the key.
#[derive(Clone, Copy)]
struct Validity {
    may_sign: bool,
    /// From the key's creation on; nothing is for ever.
    lifetime: Option<Duration>,
}

impl Validity {
    /// Nothing if the key was revoked, or says nothing about itself.
    fn of_primary(certificate: &SignedPublicKey) -> Option<Self> {
        let key = &certificate.primary_key;
        let details = &certificate.details;
        if !details.revocation_signatures.is_empty() {
            return None;
        }
        let by_users = details.users.iter().flat_map(|user| {
            let is_own = |signature: &&Signature| {
                signature.typ() != Some(SignatureType::CertRevocation)
                    && signature
                        .verify_certification(key, Tag::UserId, &user.id)
                        .is_ok()
            };
            user.signatures.iter().filter(is_own)
        });
        let direct = details
            .direct_signatures
            .iter()
            .filter(|signature| signature.verify_key(key).is_ok());
        // Signatures on the key alone also name those who may revoke it, and then say nothing about its lifetime.
        let of_both =
            [newest(by_users), newest(direct)].map(|found| found.map(Self::from_signature));
        of_both.into_iter().flatten().reduce(Self::and)
    }

    /// What holds where two signatures count.
    fn and(self, other: Self) -> Self {
        Self {
            may_sign: self.may_sign || other.may_sign,
            lifetime: self.lifetime.into_iter().chain(other.lifetime).min(),
        }
    }

    fn of_subkey(subkey: &SignedPublicSubKey, certificate: &SignedPublicKey) -> Option<Self> {
        let is_revoked =
            |signature: &Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
        if subkey.signatures.iter().any(is_revoked) {
            return None;
        }
        let primary = &certificate.primary_key;
        let is_bound = |signature: &&Signature| {
            // The subkey's own signature shows that its owner wants to belong to this certificate.
            let consents = signature.embedded_signature().is_some_and(|back| {
                back.verify_primary_key_binding(&subkey.key, primary)
                    .is_ok()
            });
            consents
                && signature
                    .verify_subkey_binding(primary, &subkey.key)
                    .is_ok()
        };
        newest(subkey.signatures.iter().filter(is_bound)).map(Self::from_signature)
    }

    fn from_signature(signature: &Signature) -> Self {
        let lifetime = signature
            .key_expiration_time()
            .map(pgp::types::Duration::as_secs);
        Self {
            may_sign: signature.key_flags().sign(),
            lifetime: lifetime
                .filter(|seconds| *seconds > 0)
                .map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    fn holds(&self, key: &impl VerifyingKey, now: SystemTime) -> bool {
        let created = SystemTime::from(key.created_at());
        self.lifetime
            .is_none_or(|lifetime| now < created + lifetime)
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map_or(0, Timestamp::as_secs))
}

#[cfg(test)]
mod tests;
