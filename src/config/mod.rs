//! The configuration: the file as written, what is wrong with it, and the settings as used.
//!
//! [`load`] reads a file: every finding at once, with its place and what to write instead. What it gives is
//! [`settings::Settings`], checked for good. [`Source`] is that with the flags of the command line on top: what a
//! reload needs to come to the same result.

mod check;
mod environment;
mod file;
mod finding;
mod leaf;
mod lint;
mod located;
mod quantity;
mod read;
pub mod reload;
mod restart;
mod schema;
pub mod settings;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::hash::BuildHasher;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use self::environment::Environment;
pub use self::finding::{Finding, Findings, Severity};
use self::located::{At, Complaint, Leaf, Word};
use self::read::Reading;
pub use self::restart::needs_restart;
pub use self::schema::schema;
use self::settings::{OriginUrl, Settings};

/// Bytes of a file: far more than anybody writes, and little enough to read and check in a moment.
const MOST_BYTES: u64 = 1024 * 1024;

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// What the operator should know of it; no errors.
    pub warnings: Findings,
    /// What the text was, for [`reload`].
    fingerprint: u64,
}

/// A number that is another one for another text, as far as a reload is concerned.
fn fingerprint(text: &[u8]) -> u64 {
    foldhash::quality::FixedState::default().hash_one(text)
}

/// Where the configuration comes from: a file, and flags that count more than it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file; `None`: `--origin` alone.
    pub file: Option<PathBuf>,
    /// `--origin`: asked instead of the file's only origin.
    pub origin: Option<OriginUrl>,
    /// `--listen`: instead of `server.listen`; empty: not given.
    pub listen: Vec<SocketAddr>,
    /// The variables that the file may name.
    pub environment: Environment,
}

impl Source {
    /// Reads, checks and lints. Flag over environment over file over default.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, warnings included.
    pub fn load(&self) -> Result<Loaded, Findings> {
        match &self.file {
            Some(path) => match read_file(path) {
                Ok(text) => self.check(&path.to_string_lossy(), &text, &folder_of(path)),
                Err(findings) => Err(findings),
            },
            None => self.check("--origin", "", Path::new("")),
        }
    }

    /// Checks `text` as if it stood in the file `name`; relative paths in it begin at `folder`.
    fn check(&self, name: &str, text: &str, folder: &Path) -> Result<Loaded, Findings> {
        let mut findings = Findings::new(name, text);
        let Some(mut reading) = read::read(text, &self.environment, &mut findings) else {
            findings.sort();
            return Err(findings);
        };
        self.lay_flags_over(&mut reading, &mut findings);
        let settings = check::settings(&reading, folder, &self.environment, &mut findings);
        if reading.is_whole() {
            lint::lint(&reading.file, &settings, &mut findings);
        }
        findings.sort();
        if findings.has_errors() {
            Err(findings)
        } else {
            Ok(Loaded { settings, warnings: findings, fingerprint: fingerprint(text.as_bytes()) })
        }
    }

    fn lay_flags_over(&self, reading: &mut Reading, findings: &mut Findings) {
        let file = &mut reading.file;
        if !self.listen.is_empty() {
            let listen = self.listen.iter().map(|address| Word::default_of(&address.to_string()));
            file.server.listen = At::default_of(listen.collect());
        }
        let Some(url) = &self.origin else { return };
        let url = Word { value: url.clone(), text: url.to_string(), span: None };
        match file.origins.as_mut_slice() {
            [] => {
                let name = Some(Word::default_of("origin"));
                let origin = file::Origin { name, urls: At::default_of(vec![url]), ..file::Origin::default() };
                file.origins.push(At::default_of(origin));
            }
            [only] => only.value.urls = At::default_of(vec![url]),
            many => findings.error(
                None,
                format!("--origin is given, and the file has {} origins", many.len()),
                "leave out --origin, or --config",
            ),
        }
    }
}

/// Reads, checks and lints the file at `path`.
///
/// # Errors
///
/// Everything that is wrong with it, warnings included.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, Findings> {
    Source { file: Some(path.to_owned()), environment: environment.clone(), ..Source::default() }.load()
}

/// The settings of `--origin` alone: every default, and this origin.
pub fn from_origin(url: OriginUrl) -> Settings {
    let source = Source { origin: Some(url), ..Source::default() };
    source.load().expect("the defaults are valid with any origin").settings
}

/// Reads the URL of an origin, as `--origin` has it.
///
/// # Errors
///
/// What is wrong with it and what to write, in one line.
pub fn parse_origin_url(text: &str) -> Result<OriginUrl, String> {
    OriginUrl::read(text).map_err(|Complaint { what, write }| format!("{what}: {write}"))
}

/// Reads an address to listen on, as `--listen` has it.
///
/// # Errors
///
/// What is wrong with it and what to write, in one line.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::read(text).map_err(|Complaint { what, write }| format!("{what}: {write}"))
}

fn read_file(path: &Path) -> Result<String, Findings> {
    let name = path.to_string_lossy();
    let refuse = |what: String, help: &str| {
        let mut findings = Findings::new(&name, "");
        findings.error(None, what, help);
        findings
    };
    let bytes = bytes_of(path).map_err(|error| {
        let help = "name the file with --config, or serve without one: larder serve --origin http://127.0.0.1:3000";
        refuse(format!("{name} cannot be read: {error}"), help)
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(refuse(
            format!("{name} is larger than {MOST_BYTES} bytes"),
            "write fewer rules, with lists in match",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = memchr::memchr_iter(b'\n', &error.as_bytes()[..at]).count() + 1;
        refuse(format!("{name} is not UTF-8, from line {line} on"), "save the file as UTF-8")
    })
}

/// What is in a file, and one byte more than there may be at most.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where relative paths of the file begin.
fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}
