//! Any bytes may stand in an OAS definition: it is an API or every reason why not, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match portcullis_apidef::parse_oas(bytes) {
        Ok(parsed) => {
            // What was accepted can be shown.
            let _ = parsed.document.value();
        }
        Err(errors) => assert!(!errors.is_empty(), "refused without a reason"),
    }
});
