//! The messages and keys in `tests/` were made with GnuPG 2.2 at the start of 2020. Each message is signed by the
//! signing subkey of the key with its name, `weak.asc` with SHA-1 by that of `good`. The private keys are gone.

use super::*;

const GOOD: &[u8] = include_bytes!("tests/good.asc");
const EXPIRED: &[u8] = include_bytes!("tests/expired.asc");
const REVOKED: &[u8] = include_bytes!("tests/revoked.asc");
const REVOKED_SUBKEY: &[u8] = include_bytes!("tests/revoked-subkey.asc");
const WEAK: &[u8] = include_bytes!("tests/weak.asc");

fn keyring() -> Keyring {
    let keys: &[u8] = include_bytes!("tests/keys.gpg");
    let keys = SignedPublicKey::from_bytes_many(BufReader::new(keys)).unwrap();
    Keyring::of(keys.collect::<Result<_, _>>().unwrap())
}

/// A moment in 2020, counted in hours.
fn at(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800 + hours * 3600)
}

fn is_accepted(message: &[u8], now: SystemTime) -> bool {
    keyring().verified_text(message, now).is_ok()
}

#[test]
fn the_text_is_what_was_signed() {
    let text = keyring().verified_text(GOOD, at(7)).unwrap();
    assert_eq!(
        text.trim_end(),
        "Origin: Test\nCodename: bookworm\n- dashed line\n\nEnd: of it"
    );
}

#[test]
fn keys_must_be_valid_now() {
    assert!(is_accepted(GOOD, at(100_000)));
    assert!(is_accepted(EXPIRED, at(7)));
    assert!(!is_accepted(EXPIRED, at(25)));
    assert!(!is_accepted(REVOKED, at(7)));
    assert!(!is_accepted(REVOKED_SUBKEY, at(7)));
}

#[test]
fn weak_hashes_do_not_count() {
    assert!(!is_accepted(WEAK, at(7)));
}

#[test]
fn keys_that_are_not_in_the_keyring_do_not_count() {
    assert!(Keyring::debian().verified_text(GOOD, at(7)).is_err());
    assert!(Keyring::of(Vec::new()).verified_text(GOOD, at(7)).is_err());
}

#[test]
fn messages_that_were_changed_are_refused() {
    let good = String::from_utf8(GOOD.to_vec()).unwrap();
    for (from, to) in [
        ("bookworm", "trixie"),
        ("Origin", "origin"),
        ("\nEnd: of it", ""),
        ("Origin: Test\n", "Added: x\nOrigin: Test\n"),
        ("EARYKAB0", "EARYKAB1"),
        ("-----BEGIN PGP SIGNATURE", "-----BEGIN PGP NOTHING"),
        ("Hash: SHA512\n\n", "Hash: SHA512\n\nOrigin: Evil\n\n"),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good);
        assert!(!is_accepted(changed.as_bytes(), at(7)), "{from} -> {to}");
    }
    for nothing in [
        "",
        "Codename: bookworm\n",
        "-----BEGIN PGP SIGNED MESSAGE-----\n",
    ] {
        assert!(!is_accepted(nothing.as_bytes(), at(7)));
    }
}

#[test]
fn text_around_the_signed_one_is_never_used() {
    let good = String::from_utf8(GOOD.to_vec()).unwrap();
    let framed = format!("Codename: evil\n\n{good}\nCodename: evil\n");
    if let Ok(text) = keyring().verified_text(framed.as_bytes(), at(7)) {
        assert!(!text.contains("evil"));
    }
}

#[test]
fn the_archives_keys_are_readable_and_can_sign() {
    let keyring = Keyring::debian();
    assert_eq!(keyring.certificates.len(), KEYS.len());
    let now = at(6 * 365 * 24);
    for certificate in &keyring.certificates {
        let validity = Validity::of_primary(certificate).expect("it says what it is for");
        assert!(validity.holds(&certificate.primary_key, now));
        assert!(validity.lifetime.is_some());
        let subkeys = certificate.public_subkeys.iter();
        let valid = subkeys
            .filter_map(|subkey| {
                Validity::of_subkey(subkey, certificate).map(|found| (subkey, found))
            })
            .filter(|(subkey, found)| found.may_sign && found.holds(&subkey.key, now));
        assert!(validity.may_sign || valid.count() > 0);
    }
}
