//! What becomes of pairs whose files change?

use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

use super::pair::{Files, Pair, PairError};
use super::serving::{Clients, Renewal, Serving, Wanted};

/// Long before every certificate of these tests ends, and long after the ones that are over.
const NOW: i64 = 1_800_000_000;

/// A certificate for these names and its key, in PEM.
fn made(names: &[&str], key: &KeyPair) -> String {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap().self_signed(key).unwrap().pem()
}

fn write(folder: &Path, name: &str, cert: &str, key: &str) -> Files {
    let files = Files::of(&folder.join(format!("{name}.pem")), &folder.join(format!("{name}.key")));
    std::fs::write(&files.cert, cert).unwrap();
    std::fs::write(&files.key, key).unwrap();
    files
}

fn pair_of(names: &[&str], key: &KeyPair) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    Pair::read(&write(folder.path(), "a", &made(names, key), &key.serialize_pem()), NOW).expect("a pair")
}

/// A pair for these names.
pub(super) fn pair(names: &[&str]) -> Pair {
    pair_of(names, &KeyPair::generate().unwrap())
}

/// The same with an RSA key.
pub(super) fn rsa_pair(names: &[&str]) -> Pair {
    pair_of(names, &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
}

#[test]
fn two_files_are_a_pair_or_say_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (good, secret) = (made(&["a.example"], &key), key.serialize_pem());
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let locked = secret.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let mut over = CertificateParams::new(["a.example".to_owned()]).unwrap();
    over.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let over = over.self_signed(&key).unwrap().pem();
    let cases = [
        (good.as_str(), secret.as_str(), "", "a pair"),
        ("", &secret, "holds no certificate", "an empty file"),
        (&secret, &secret, "holds no certificate", "the key twice"),
        (garbled, &secret, "cannot be read", "no certificate inside"),
        (&good, "", "holds no private key", "an empty file"),
        (&good, &good, "holds no private key", "the certificate twice"),
        (&good, &locked, "holds no private key", "a key with a password"),
        (&good, &other.serialize_pem(), "does not fit", "another key"),
        (&over, &secret, "has expired", "over"),
    ];
    for (cert, secret, want, why) in cases {
        let read = Pair::read(&write(folder.path(), "a", cert, secret), NOW);
        let said = read.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{why}: {said}");
    }
    let missing = Files::of(&folder.path().join("no.pem"), &folder.path().join("no.key"));
    assert!(matches!(Pair::read(&missing, NOW), Err(PairError::Certificate(_))), "not there");
}

#[test]
fn a_certificate_says_for_whom_it_is_and_how_long() {
    let facts = pair(&["Shop.Example", "*.shop.example"]).facts;
    assert_eq!(facts.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["shop.example", "*.shop.example"]);
    assert!(facts.is_self_signed && facts.not_before < NOW && facts.not_after > NOW);
}

/// What has been applied and what was rejected, by the end of its path.
fn told(renewals: &[Renewal]) -> Vec<(bool, String)> {
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let told = renewals.iter().map(|renewal| match renewal {
        Renewal::Applied { path, .. } => (true, name(path)),
        Renewal::Rejected { path, .. } => (false, name(path)),
    });
    told.collect()
}

#[test]
fn each_pair_is_taken_over_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let secret = key.serialize_pem();
    let a = write(folder.path(), "a", &made(&["a.example"], &key), &secret);
    let b = write(folder.path(), "b", &made(&["b.example"], &key), &secret);
    let wanted = Wanted { certificates: vec![a.clone(), b.clone()], clients: None };
    let serving = Serving::start(&wanted, NOW).expect("two pairs");
    assert!(!serving.has_changed(&wanted) && !serving.has_changed(&wanted), "nothing changed");
    assert!(serving.renew(&wanted, true, NOW).is_empty(), "read again, and the same");

    let other = KeyPair::generate().unwrap();
    std::fs::write(&a.cert, made(&["a.example", "more.example"], &other)).unwrap();
    std::fs::write(&b.cert, made(&["b.example", "more.example"], &key)).unwrap();
    assert!(!serving.has_changed(&wanted), "perhaps it goes on changing");
    assert!(serving.has_changed(&wanted), "it has come to rest");
    let renewals = serving.renew(&wanted, false, NOW);
    assert_eq!(told(&renewals), [(false, "a.pem".to_owned()), (true, "b.pem".to_owned())]);
    assert!(!serving.has_changed(&wanted) && !serving.has_changed(&wanted), "a broken pair is tried once");

    std::fs::write(&a.key, other.serialize_pem()).unwrap();
    serving.has_changed(&wanted);
    assert!(serving.has_changed(&wanted), "its key has come");
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(true, "a.pem".to_owned())]);

    std::fs::remove_file(&a.key).unwrap();
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(false, "a.pem".to_owned())], "kept without its files");
    let fewer = Wanted { certificates: vec![b], clients: None };
    assert!(serving.renew(&fewer, false, NOW).is_empty(), "one is no longer wanted");
}

#[test]
fn a_link_that_is_turned_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    for version in ["..1", "..2"] {
        std::fs::create_dir(folder.path().join(version)).unwrap();
        write(&folder.path().join(version), "a", &made(&[&format!("v{version}.example")], &key), &key.serialize_pem());
    }
    // As Kubernetes does it: the files are links through a folder that is a link.
    let turn = |to: &str| {
        std::os::unix::fs::symlink(to, folder.path().join("..new")).unwrap();
        std::fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    };
    turn("..1");
    let files = Files::of(&folder.path().join("a.pem"), &folder.path().join("a.key"));
    std::os::unix::fs::symlink("..data/a.pem", &files.cert).unwrap();
    std::os::unix::fs::symlink("..data/a.key", &files.key).unwrap();
    let wanted = Wanted { certificates: vec![files], clients: None };
    let serving = Serving::start(&wanted, NOW).expect("a pair");
    turn("..2");
    serving.has_changed(&wanted);
    assert!(serving.has_changed(&wanted));
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(true, "a.pem".to_owned())]);
}

#[test]
fn whom_clients_are_verified_by_is_replaced_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let files = write(folder.path(), "a", &made(&["a.example"], &key), &key.serialize_pem());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made(&["ca.example"], &key)).unwrap();
    let clients = Clients { ca: ca.clone(), is_required: true };
    let mut wanted = Wanted { certificates: vec![files], clients: Some(clients) };
    let serving = Serving::start(&wanted, NOW).expect("a pair and an authority");
    let first = serving.terms();
    std::fs::write(&ca, "nothing").unwrap();
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(false, "ca.pem".to_owned())]);
    assert!(std::sync::Arc::ptr_eq(&first, &serving.terms()), "the old ones are still verified by");
    assert!(serving.renew(&wanted, false, NOW).is_empty(), "tried once");
    std::fs::write(&ca, made(&["other.example"], &key)).unwrap();
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(true, "ca.pem".to_owned())]);
    assert!(!std::sync::Arc::ptr_eq(&first, &serving.terms()));
    wanted.clients = None;
    assert_eq!(told(&serving.renew(&wanted, false, NOW)), [(true, "ca.pem".to_owned())], "nobody is asked any more");
    assert!(serving.renew(&wanted, true, NOW).is_empty());
}
