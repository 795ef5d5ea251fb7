//! What `portcullis doctor` says of a client of a gateway under test.

use std::process::Output;

use portcullis_pki::make::Pair;
use serde_json::Value;

use crate::{gateway::Gateway, program};

/// Puts a pair into a gateway's directory as `<name>.pem` and `<name>.key`.
///
/// # Panics
/// When it cannot be written.
pub fn put(gateway: &Gateway, name: &str, pair: &Pair) {
    gateway.write(&format!("{name}.pem"), &pair.certificate_pem());
    let key = pair.key.private_key_to_pem_pkcs8().expect("a key as PEM");
    let key = String::from_utf8(key).expect("PEM is text");
    gateway.write(&format!("{name}.key"), &key);
}

/// Runs `portcullis doctor` in a gateway's directory.
///
/// # Panics
/// When it cannot be run.
pub fn doctor(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = program::command(&["doctor"]);
    command.args(arguments).current_dir(gateway.dir());
    command.output().expect("the program runs")
}

/// Verdict and whole diagnosis of a client at a host and path, offline.
///
/// # Panics
/// When nothing can be said, or the exit status is not the verdict's.
#[track_caller]
pub fn foretold(
    gateway: &Gateway,
    host: &str,
    path: &str,
    client: Option<&str>,
) -> (String, Value) {
    // The port in the file is chosen by the system when the gateway starts; offline it is as written.
    let mut arguments = vec![
        "--conf", "tyk.conf", "--host", host, "--path", path, "--json",
    ];
    let (cert, key) = client.map_or_else(Default::default, |name| {
        (format!("{name}.pem"), format!("{name}.key"))
    });
    if client.is_some() {
        arguments.extend(["--cert", &cert, "--key", &key]);
    }
    let output = doctor(gateway, &arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let verdict = value["verdict"].as_str().expect("a verdict").to_owned();
    let status = i32::from(verdict != "passes");
    assert_eq!(output.status.code(), Some(status), "{text}");
    (verdict, value)
}

/// What a step says.
///
/// # Panics
/// When there is no such step.
#[track_caller]
#[must_use]
pub fn step<'v>(diagnosis: &'v Value, name: &str) -> &'v str {
    let steps = diagnosis["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["step"] == name);
    let step = step.unwrap_or_else(|| panic!("no step {name} in {diagnosis}"));
    step["says"].as_str().expect("words")
}
