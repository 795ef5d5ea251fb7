//! Uptime tests for unit tests.

use std::sync::Arc;

use portcullis_apidef::parse_classic;
use serde_json::{Value, json};

use super::{Host, Test};

/// A host that nobody has tested.
pub fn host() -> Arc<Host> {
    Arc::new(Host::new("one.test:80".to_owned()))
}

/// The tests of a `check_list`, all of them about this host.
pub fn tests(host: &Arc<Host>, check_list: &Value) -> Vec<Arc<Test>> {
    let definition = json!({
        "api_id": "a", "use_keyless": true,
        "proxy": {"listen_path": "/a/", "target_url": "http://one.test"},
        "uptime_tests": {"check_list": check_list},
    });
    let parsed = parse_classic(definition.to_string().as_bytes()).expect("a definition");
    let tests = parsed.api.uptime_tests.into_iter();
    tests
        .map(|asked| {
            Arc::new(Test {
                api_id: "a".to_owned(),
                asked,
                host: host.clone(),
                endpoint: None,
                handlers: Arc::default(),
                state: Arc::default(),
            })
        })
        .collect()
}
