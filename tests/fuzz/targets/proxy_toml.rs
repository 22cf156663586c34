//! Is every file taken over, or refused with findings that can be read? Input: the text of a `proxy.toml`.
#![no_main]

use larder::config::{self, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Files of certificates would be read from wherever the fuzzer says.
    if ["cert", "ca_file", "client_ca"].iter().any(|word| text.contains(word)) {
        return;
    }
    let file = std::env::temp_dir().join(format!("larder-fuzz-{}.toml", std::process::id()));
    std::fs::write(&file, text).expect("a folder for temporary files");
    let environment = Environment::from([("HOME", "/nowhere"), ("TOKEN", "a b \"c\"\n")]);
    let told = match config::load(&file, &environment) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(findings) => {
            let told = findings.to_string();
            assert!(told.contains("error"), "{told}");
            told
        }
    };
    assert!(told.len() <= 4096 + 256 * text.len().max(64), "{} bytes of findings for {}", told.len(), text.len());
    let _ = std::fs::remove_file(&file);
});
