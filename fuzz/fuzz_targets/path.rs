//! A cleaned path is absolute, has no dot segments, and stays as it is when cleaned again.
#![no_main]

use portcullis_policy::{Cleaning, clean_path};

libfuzzer_sys::fuzz_target!(|input: (bool, &str)| {
    let (keep, path) = input;
    let cleaning = if keep {
        Cleaning::KeepDoubleSlashes
    } else {
        Cleaning::Full
    };
    let Ok(clean) = clean_path(path, cleaning) else {
        return;
    };
    assert!(clean.starts_with('/'), "{clean}");
    assert!(
        clean
            .split('/')
            .all(|segment| segment != "." && segment != ".."),
        "{clean}"
    );
    let again = clean_path(&clean, cleaning).expect("a clean path is accepted");
    assert_eq!(again, clean, "cleaning again changes it");
});
