//! What of an authority's work is kept on this machine, so that a start needs nobody?
//!
//! One folder for each directory, in it `account.json` and `HOST.pem`: the private key, the certificate and its chain in one
//! file, so that no moment finds one of them without the other. A file is written beside its place and moved there: whoever
//! reads sees the old one or the new one, also another process, also after a crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::AccountCredentials;

use crate::tls::in_one_line;
use crate::tls::pair::{Pair, PairError};

/// Bytes of a file: far beyond a key and a chain.
const MOST_BYTES: u64 = 1 << 20;

const ACCOUNT: &str = "account.json";

/// The folder of one authority. Reads and writes files: not for a thread that serves.
#[derive(Debug, Clone)]
pub(super) struct Store {
    cache: PathBuf,
    folder: PathBuf,
}

impl Store {
    /// What is kept in `cache` of the authority with this directory. Makes nothing.
    pub(super) fn of(cache: &Path, directory: &str) -> Self {
        // What one authority issued must not be taken for another's: a staging area's is worth nothing.
        let hash = digest(&SHA256, directory.as_bytes());
        let hash = u32::from_be_bytes(hash.as_ref()[..4].try_into().expect("these are four bytes"));
        let host = directory.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || ".-".contains(*letter);
        let host: String = host.chars().filter(is_plain).collect();
        Self { cache: cache.to_owned(), folder: cache.join(format!("{host}-{hash:08x}")) }
    }

    /// Makes the folder, for its owner alone.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(super) fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.cache)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// The pair for `host`, and its text; `None`: there is none, or none that can be used.
    pub(super) fn pair(&self, host: &str, now: i64) -> Option<(Pair, String)> {
        let path = self.path_of(host);
        let text = read(&path)?;
        match Pair::parse(text.as_bytes(), &path, now) {
            Ok(pair) if is_for(&pair, host) => Some((pair, text)),
            Ok(pair) => {
                set_aside(&path, &format!("it is for {}", pair.label()));
                None
            }
            Err(PairError::Expired { .. }) => None,
            Err(error) => {
                set_aside(&path, &in_one_line(&error));
                None
            }
        }
    }

    /// Keeps the pair for `host`.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(super) fn keep_pair(&self, host: &str, text: &str) -> io::Result<()> {
        self.write(&self.path_of(host), text)
    }

    /// The account; `None`: there is none, or none that can be used.
    pub(super) fn account(&self) -> Option<AccountCredentials> {
        let path = self.folder.join(ACCOUNT);
        let text = read(&path)?;
        match serde_json::from_str(&text) {
            Ok(account) => Some(account),
            Err(error) => {
                // Where, and not what: it is a key.
                set_aside(&path, &format!("it makes no sense at line {}, column {}", error.line(), error.column()));
                None
            }
        }
    }

    /// Keeps the account.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(super) fn keep_account(&self, account: &AccountCredentials) -> io::Result<()> {
        self.write(&self.folder.join(ACCOUNT), &serde_json::to_string(account)?)
    }

    /// Has the account not be found again.
    pub(super) fn forget_account(&self) {
        set_aside(&self.folder.join(ACCOUNT), "the authority does not know the account");
    }

    fn path_of(&self, host: &str) -> PathBuf {
        self.folder.join(format!("{host}.pem"))
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.prepare()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Of its own, so that two processes do not write into one another's; one that a crash leaves is never read.
        let fresh = self.folder.join(format!(".{name}.{:08x}", fastrand::u32(..)));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().inspect_err(|_| _ = fs::remove_file(&fresh))
    }
}

fn read(path: &Path) -> Option<String> {
    let read = File::open(path).and_then(|file| io::read_to_string(io::Read::take(file, MOST_BYTES)));
    match read {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            set_aside(path, "it is no text");
            None
        }
        Err(error) => {
            tracing::warn!("{} cannot be read: {error}", path.display());
            None
        }
    }
}

/// For whoever wants to know; the next one takes its place.
fn set_aside(path: &Path, why: &str) {
    let aside = path.with_added_extension("bad");
    let moved = fs::rename(path, &aside);
    let whither = moved.map_or_else(|error| error.to_string(), |()| format!("now {}", aside.display()));
    tracing::warn!("{} is set aside ({whither}): {why}", path.display());
}

/// Whether clients accept the pair for `host`.
pub(super) fn is_for(pair: &Pair, host: &str) -> bool {
    pair.facts.names.iter().any(|name| **name == *host)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DIRECTORY: &str = "https://ca.example:14000/dir";

    fn text(name: &str, until: i32) -> String {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        key.serialize_pem() + &parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_pair_is_found_as_it_was_kept_and_only_while_it_is_of_use() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::of(&cache.path().join("new"), DIRECTORY);
        let good = text("a.example", 4000);
        let other_key = KeyPair::generate().unwrap().serialize_pem();
        let certificate = &good[good.find("-----BEGIN CERTIFICATE").unwrap()..];
        let cases = [
            (good.clone(), true, false, "a good one"),
            (text("a.example", 2020), false, false, "over: nothing is wrong with it"),
            (text("b.example", 4000), false, true, "another host's"),
            (good[..good.len() - 40].to_owned(), false, true, "cut"),
            (certificate.to_owned(), false, true, "without its key"),
            (other_key + certificate, false, true, "with another key"),
            (String::new(), false, true, "empty"),
        ];
        assert!(store.pair("a.example", NOW).is_none(), "none yet, and no folder");
        for (text, is_of_use, is_set_aside, why) in cases {
            store.keep_pair("a.example", &text).expect("there is room");
            let kept = store.pair("a.example", NOW);
            assert_eq!(kept.is_some(), is_of_use, "{why}");
            assert!(kept.is_none_or(|(_, kept)| kept == text), "{why}");
            let aside = store.path_of("a.example").with_added_extension("bad");
            assert_eq!(fs::remove_file(&aside).is_ok(), is_set_aside, "{why}");
        }
        fs::write(store.path_of("a.example"), [0xff, 0xfe]).unwrap();
        assert!(store.pair("a.example", NOW).is_none(), "no text");
    }

    #[test]
    fn what_is_kept_is_for_its_owner_and_of_one_authority() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::of(&cache.path().join("new"), DIRECTORY);
        store.keep_pair("a.example", &text("a.example", 4000)).expect("there is room");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.cache), mode(&store.folder), mode(&store.path_of("a.example"))), (0o700, 0o700, 0o600));
        assert!(store.folder.file_name().unwrap().to_string_lossy().starts_with("ca.example-"));
        let staging = Store::of(&store.cache, "https://ca.example:14000/staging/dir");
        assert!(staging.pair("a.example", NOW).is_none(), "another's of the same host is another's");
        // What a crash leaves behind is nothing to anybody.
        fs::write(store.folder.join(".b.example.pem.0badcafe"), "half").unwrap();
        assert!(store.pair("b.example", NOW).is_none() && store.pair("a.example", NOW).is_some());
    }

    #[test]
    fn an_account_that_makes_no_sense_is_set_aside() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::of(cache.path(), DIRECTORY);
        store.prepare().expect("there is room");
        assert!(store.account().is_none());
        fs::write(store.folder.join(ACCOUNT), "{\"id\": 5}").unwrap();
        assert!(store.account().is_none());
        assert!(!store.folder.join(ACCOUNT).exists() && store.folder.join("account.json.bad").exists());
    }
}
