//! Any bytes may stand in the store under the name of a key: they are a session or every reason why not,
//! never a panic. What was read is written so that it reads the same.
#![no_main]

use portcullis_apidef::session::Session;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Session::from_json(bytes) {
        Ok(session) => {
            let written = session.to_json();
            let again =
                Session::from_json(written.as_bytes()).expect("what is written is a session");
            assert_eq!(again.to_json(), written);
        }
        Err(error) => assert!(!error.problems.is_empty(), "refused without a reason"),
    }
});
