//! `portcullis quickstart` as a newcomer meets it: run it, paste what it prints, stop it.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
};

use portcullis_tests::{gateway::Signal, program, wait::eventually};
use rustix::process::{Pid, kill_process};

/// A quickstart that runs; gone when dropped.
struct Quickstart {
    process: Child,
    base: String,
    printed: String,
}

impl Quickstart {
    fn start(root: &Path) -> Self {
        let (ready, output) = (root.join("ready"), root.join("output"));
        // Of an earlier start; the program removes it too, but only once it runs.
        let _ = fs::remove_file(&ready);
        let mut process = program::command(&["quickstart", "--port", "0", "--dir"])
            .arg(root.join("new gateway"))
            .arg("--once-ready")
            .arg(&ready)
            .stdout(File::create(&output).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        eventually("the quickstart is ready", || {
            ready.exists() || process.try_wait().unwrap().is_some()
        });
        let base = fs::read_to_string(&ready).expect("it did not end before it was ready");
        Self {
            process,
            base,
            printed: fs::read_to_string(output).unwrap(),
        }
    }

    /// The printed command line that contains a text, run by a shell; what it printed.
    fn paste(&self, part: &str) -> String {
        let line = self
            .printed
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("curl ") && line.contains(part));
        let line = line.unwrap_or_else(|| panic!("no curl line with {part} in:\n{}", self.printed));
        let ran = Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert!(
            ran.status.success(),
            "{line}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    }

    /// What the printed doctor line that contains a text says, and whether it is content.
    fn doctor(&self, part: &str) -> (String, bool) {
        let mut lines = self.printed.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with("portcullis doctor ") && line.contains(part));
        let arguments = line
            .expect("a doctor line")
            .trim_start_matches("portcullis ");
        let program = program::program().display();
        let ran = Command::new("sh")
            .arg("-c")
            .arg(format!("'{program}' {arguments}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
        let status = ran.status.code();
        assert!(
            matches!(status, Some(0 | 1)),
            "{status:?} {said}{complaint}"
        );
        (said, status == Some(0))
    }

    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        let mut status = None;
        eventually("it ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_it_prints_can_be_pasted_and_answers_over_tls_through_the_gateway() {
    let root = tempfile::tempdir().unwrap();
    let quickstart = Quickstart::start(root.path());
    assert!(
        quickstart.base.starts_with("https://localhost:"),
        "{}",
        quickstart.base
    );

    let echo: serde_json::Value = serde_json::from_str(&quickstart.paste("/echo/hello")).unwrap();
    assert_eq!(echo["path"], "/hello");
    assert_eq!(echo["query"], "who=you");
    assert_eq!(echo["headers"]["x-forwarded-proto"], "https");
    let echo: serde_json::Value = serde_json::from_str(&quickstart.paste("--data")).unwrap();
    assert_eq!(
        (&echo["method"], &echo["body"]),
        (&"POST".into(), &"some text".into())
    );
    assert_eq!(quickstart.paste("/streams/stream").lines().count(), 10);
    let apis: serde_json::Value = serde_json::from_str(&quickstart.paste("/tyk/apis")).unwrap();
    assert_eq!(apis.as_array().map(Vec::len), Some(6));
    let made: serde_json::Value =
        serde_json::from_str(&quickstart.paste("/tyk/keys/demo-key")).unwrap();
    assert_eq!(made["status"], "ok");
    let keyed: serde_json::Value = serde_json::from_str(&quickstart.paste("/key/hello")).unwrap();
    assert_eq!(keyed["path"], "/hello");
    let listed: serde_json::Value = serde_json::from_str(&quickstart.paste("/mtls/hello")).unwrap();
    assert_eq!(listed["path"], "/hello");
    assert!(quickstart.paste("/mtls/stranger").contains("not allowed"));
    let (said, passes) = quickstart.doctor("--path /mtls/");
    assert!(
        !passes && said.contains("403") && said.contains("quickstart stranger"),
        "{said}"
    );
    let stored = quickstart.paste("/tyk/certs");
    assert!(stored.contains("Certificate added"), "{stored}");
    let made = quickstart.paste("/tyk/keys/create");
    assert!(
        made.contains("\"status\": \"ok\"") || made.contains("\"status\":\"ok\""),
        "{made}"
    );
    let owner: serde_json::Value =
        serde_json::from_str(&quickstart.paste("/cert-auth/hello")).unwrap();
    assert_eq!(owner["path"], "/hello");
    let stranger = quickstart.paste("/cert-auth/stranger");
    assert!(stranger.contains("disallowed"), "{stranger}");

    assert_eq!(quickstart.interrupt(), Some(0));
}

/// An upstream that wants a certificate gets the gateway's, and whoever comes without is not let in.
#[test]
fn its_upstream_behind_mutual_tls_sees_the_gateway_and_nobody_else() {
    let root = tempfile::tempdir().unwrap();
    let quickstart = Quickstart::start(root.path());
    let told: serde_json::Value =
        serde_json::from_str(&quickstart.paste("/upstream-mtls/hello")).unwrap();
    assert_eq!(
        (&told["path"], &told["client_certificate"]["subject"]),
        (&"/hello".into(), &"CN=quickstart gateway".into()),
        "{told}"
    );
    assert_eq!(told["tls"], "TLSv1.3");
    let (said, passes) = quickstart.doctor("--api upstream-mtls");
    for part in [
        "the client certificate of `quickstart gateway` is shown",
        "its key is pinned",
        "verified with 1 authority",
        "the upstream has nothing against the connection",
    ] {
        assert!(passes && said.contains(part), "{part} in {said}");
    }

    let dir = root.path().join("new gateway");
    let port = fs::read_to_string(dir.join("demo-tls-port")).unwrap();
    let straight = Command::new("curl")
        .args(["--silent", "--show-error", "--cacert"])
        .arg(dir.join("certs/ca.pem"))
        .arg(format!("https://localhost:{}/", port.trim()))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&straight.stderr);
    assert!(
        !straight.status.success() && straight.stdout.is_empty(),
        "{complaint}"
    );
}

#[test]
fn a_second_start_keeps_everything_and_the_demo_upstream_stays_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(Quickstart::start(root.path()).interrupt(), Some(0));
    let file = |name: &str| fs::read(root.path().join("new gateway").join(name)).unwrap();
    let names = [
        "certs/ca.pem",
        "certs/server.key",
        "tyk.conf",
        "certs/gateway.pem",
        "demo-port",
        "demo-tls-port",
        "apps/echo.json",
        "apps/upstream-mtls.json",
    ];
    let before = names.map(file);

    let again = Quickstart::start(root.path());
    assert!(
        again.printed.contains("kept as it is:") && !again.printed.contains("made:"),
        "{}",
        again.printed
    );
    assert!(again.paste("/echo/hello").contains("\"path\": \"/hello\""));
    assert_eq!(names.map(file), before);
}

#[test]
fn a_port_that_is_taken_ends_it_with_the_status_for_that() {
    let root = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = program::command(&["quickstart", "--port", &port, "--dir"])
        .arg(root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

#[test]
fn a_configuration_that_is_wrong_ends_gateway_and_check_with_every_problem() {
    let root = tempfile::tempdir().unwrap();
    let conf = root.path().join("tyk.conf");
    fs::write(
        &conf,
        r#"{"listen_port": "8443", "secret": "s", "http_server_options": {"use_ssl": "yes"}}"#,
    )
    .unwrap();
    for verb in ["gateway", "check"] {
        let ended = program::command(&[verb, "--conf"])
            .arg(&conf)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{verb}: {said}");
        assert!(
            said.contains("`listen_port`") && said.contains("`http_server_options.use_ssl`"),
            "{said}"
        );
    }
    let ended = program::run(&["gateway", "--config", "x"]);
    assert_eq!(ended.status.code(), Some(2));
}

#[test]
fn check_counts_unknown_keys_as_errors_only_when_strict() {
    let root = tempfile::tempdir().unwrap();
    let conf = root.path().join("tyk.conf");
    fs::create_dir(root.path().join("apps")).unwrap();
    fs::write(&conf, r#"{"listen_prot": 8443, "secret": "s"}"#).unwrap();
    let check = |more: &[&str]| {
        let ended = program::command(&["check", "--conf"])
            .arg(&conf)
            .args(more)
            .output()
            .unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    let (status, said) = check(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("warning: `listen_prot`") && said.contains("listen_port"),
        "{said}"
    );
    let (status, said) = check(&["--strict"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("error: `listen_prot`"), "{said}");
}
