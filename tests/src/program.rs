//! The program under test.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::OnceLock,
};

/// The `portcullis` program: what `PORTCULLIS_BIN` names, or one built now, beside this test and
/// with its profile.
///
/// # Panics
/// When it cannot be built.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("PORTCULLIS_BIN").map_or_else(build, PathBuf::from))
}

/// Runs the program to its end.
///
/// # Panics
/// When it cannot be run.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program runs")
}

/// The program with these arguments and nothing of the configuration that this process' own
/// environment may hold.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let proxy = ["http_proxy", "https_proxy", "no_proxy"];
        let ours = text.starts_with("TYK_") || text.starts_with("PORTCULLIS_");
        if ours || proxy.iter().any(|name| text.eq_ignore_ascii_case(name)) {
            command.env_remove(&name);
        }
    }
    command.args(arguments);
    command
}

/// Several test processes may come here at once; Cargo's own lock lets one of them build. The whole
/// workspace is named, as where all tests are run: what a part of it needs of its dependencies is less,
/// and they would be built once more.
fn build() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows where it is");
    let profile = this
        .ancestors()
        .nth(2)
        .expect("tests live in <target>/<profile>/deps");
    let target = profile
        .parent()
        .expect("a profile lives in the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bin",
            "portcullis",
            "--target-dir",
        ])
        .arg(target);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(name) => {
            command.args(["--profile", name]);
        }
    }
    let built = command.status().expect("cargo runs");
    assert!(
        built.success(),
        "the program could not be built; PORTCULLIS_BIN may name another one"
    );
    profile.join("portcullis")
}
