//! Any text may stand in `tyk.conf`: it is read or refused with reasons, never a panic.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match portcullis_config::load_text(Path::new("/fuzz/tyk.conf"), text, []) {
        Ok(loaded) => loaded.warnings.iter().for_each(|warning| {
            assert!(!warning.to_string().is_empty());
        }),
        Err(problems) => assert!(problems.errors().next().is_some()),
    }
});
