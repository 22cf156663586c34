//! Does each wrong file give the finding that a person needs, at the place where they look?

use std::path::Path;

use super::{Findings, Loaded, Source};

/// An origin, so that nothing is said of its absence.
const ORIGIN: &str = "[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n";

fn check(text: &str) -> Result<Loaded, Findings> {
    Source::default().check("proxy.toml", text, Path::new("/etc/larder"))
}

#[test]
fn an_origin_is_all_that_a_file_needs() {
    let loaded = check(ORIGIN).expect("valid");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.settings.origins.len(), 1);
}
