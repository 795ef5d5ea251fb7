//! The embedded store between processes: killed, starved of disk, shut out, read-only.

use std::{
    io::{BufRead, BufReader, Lines},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use portcullis_store::{Embedded, Engine, Inspection, StoreError};
use portcullis_tests::{
    certs,
    gateway::{Gateway, SECRET, Signal, api},
    keys::token_api,
    raw,
    store_steps::Made,
    upstream::{Upstream, ok},
};
use rustix::process::{Pid, Resource, Rlimit, geteuid, kill_process, prlimit};
use serde_json::{Value, json};

/// A process that writes, gone with this value.
struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the writer starts");
        let stdout = process.stdout.take().expect("asked for");
        Self {
            process,
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn on(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.arg(directory).args(arguments);
        Self::start(command)
    }

    fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("lines are text"))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Kills it without warning; what it had said by then.
    fn kill(mut self) -> Vec<String> {
        kill_process(self.pid(), Signal::KILL).expect("it runs");
        self.rest()
    }

    /// What it says until it ends.
    fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            lines.push(line);
        }
        self.process.wait().expect("our own process");
        lines
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_store_writer")
}

fn open(directory: &Path) -> Engine {
    Engine::Embedded(Embedded::open(directory).unwrap())
}

/// Numbers that differ from run to run; the seed is told when a test fails.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Killed at any moment, twenty times over on one store: every step that was acknowledged is there,
/// and of each task at most the one step that was under way besides, wholly or not at all.
#[tokio::test]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    const TASKS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    let mut random = Random(seed.into());
    let mut done = [0_u64; TASKS];
    let mut steps = 0;
    for round in 0..20 {
        let starts = done.map(|count| count.to_string());
        let mut arguments = vec!["steps"];
        arguments.extend(starts.iter().map(String::as_str));
        let mut writer = Writer::on(dir.path(), &arguments);
        let mut lines = Vec::new();
        // Some die while they open.
        for _ in 0..random.below(200) {
            lines.extend(writer.line());
        }
        lines.extend(writer.kill());
        for line in lines.iter().filter(|line| *line != "open") {
            let (task, number) = line.split_once(' ').unwrap();
            let (task, number): (usize, u64) = (task.parse().unwrap(), number.parse().unwrap());
            assert_eq!(number, done[task], "{line}, round {round}, seed {seed}");
            done[task] += 1;
            steps += 1;
        }
        let engine = open(dir.path());
        for (task, count) in done.iter_mut().enumerate() {
            let found = Made::found(&engine, task).await.unwrap();
            if found == Made::by(task, *count + 1) {
                *count += 1;
            } else {
                let expected = Made::by(task, *count);
                assert!(
                    found == expected,
                    "task {task} after {count} steps, round {round}, seed {seed}:\n{found:?}\n{expected:?}"
                );
            }
        }
        engine.close().await.unwrap();
    }
    assert!(steps > 200, "only {steps} steps were taken");
}

/// The second process is told who has the store; what a dead one left is no obstacle.
#[test]
fn one_process_writes_and_the_others_are_told_which() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Writer::on(dir.path(), &["hold"]);
    assert_eq!(holder.line().as_deref(), Some("open"));
    let pid = holder.process.id();
    let said = format!("process {pid} (store_writer) on host ");
    match Embedded::open(dir.path()).map(drop).unwrap_err() {
        StoreError::InUse { holder, .. } => assert!(holder.starts_with(&said), "{holder}"),
        other => panic!("{other}"),
    }
    let second = Writer::on(dir.path(), &["hold"]).rest();
    assert!(
        second.len() == 1 && second[0].starts_with("error ") && second[0].contains(&said),
        "{second:?}"
    );
    match Embedded::inspect(dir.path()).unwrap() {
        Inspection::InUse { holder } => assert!(holder.starts_with(&said), "{holder}"),
        other => panic!("{other:?}"),
    }
    holder.kill();
    drop(open(dir.path()));
}

/// No room left: writes fail and say why, nothing of them is seen, reading and counting go on; with
/// room again writing goes on by itself, and everything acknowledged is there.
#[tokio::test]
async fn a_full_disk_stops_writing_and_nothing_else() {
    const LIMIT: u64 = 6 << 20;
    let dir = tempfile::tempdir().unwrap();
    // A limit on the size of files stands for a disk that is full; its signal would end the process.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", program()])
        .arg(dir.path())
        .arg("fill");
    let mut writer = Writer::start(command);
    assert_eq!(writer.line().as_deref(), Some("open"));
    let pid = writer.pid();
    let limit = |bytes| {
        let limits = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(pid), Resource::Fsize, limits).expect("limits of our own child");
    };
    limit(Some(LIMIT));
    let mut acknowledged = Vec::new();
    let failure = loop {
        match writer.lines.next().expect("it does not end").unwrap() {
            line if line.starts_with("fill-") => acknowledged.push(line),
            line => break line,
        }
    };
    assert!(!acknowledged.is_empty());
    assert!(
        failure.starts_with("failed ") && failure.contains("LimitFSIZE"),
        "{failure}"
    );
    let mut next = || writer.lines.next().expect("it does not end").unwrap();
    assert_eq!(next(), format!("read {}", 32 << 10));
    assert_eq!(next(), "kept false");
    assert_eq!(next(), "counted 7");
    let down = next();
    assert!(
        down.starts_with("down ") && down.contains("can still be read"),
        "{down}"
    );
    limit(None);
    let rest = writer.rest();
    let [again, up] = &rest[..] else {
        panic!("{rest:?}");
    };
    assert!(again.starts_with("fill-"), "{again}");
    assert_eq!(up, "up true");
    acknowledged.push(again.clone());

    let engine = open(dir.path());
    let lengths = engine.lengths(&acknowledged).await.unwrap();
    assert!(lengths.iter().all(|length| *length == Some(32 << 10)));
    let mut names = engine.keys_with_prefix("fill-").await.unwrap();
    names.retain(|name| name != "fill-n");
    assert_eq!(names.len(), acknowledged.len());
    assert_eq!(
        engine.get("fill-n").await.unwrap().as_deref(),
        Some(&b"7"[..])
    );
}

/// As somebody whom permissions bind, which root is not: the program, and a directory of theirs.
fn as_nobody(dir: &Path, program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    const NOBODY: u32 = 65_534;
    // Where it was built may be closed to others.
    let copy = dir.join("program");
    if std::fs::hard_link(program, &copy).is_err() {
        std::fs::copy(program, &copy).expect("there is room for the program");
    }
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A file or a directory that may not be written: an error that names it, says whose it has to be,
/// and changes nothing.
#[test]
fn what_may_not_be_written_is_said_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(open(&data));
    set_mode(dir.path(), 0o755);
    let file = data.join("store.redb");
    let before = std::fs::read(&file).unwrap();
    let attempt = |directory: &Path| {
        let mut command = as_nobody(dir.path(), Path::new(program()));
        command.arg(directory).arg("hold");
        let lines = Writer::start(command).rest();
        let _ = std::fs::remove_file(dir.path().join("program"));
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert!(
            line.starts_with("error ") && line.contains(&*directory.to_string_lossy()),
            "{line}"
        );
        line.clone()
    };

    set_mode(&data, 0o777);
    set_mode(&file, 0o444);
    set_mode(&data.join("store.lock"), 0o666);
    let line = attempt(&data);
    assert!(
        line.contains("must be writable for the user that runs the gateway"),
        "{line}"
    );

    set_mode(&data.join("store.lock"), 0o444);
    set_mode(&data, 0o555);
    let line = attempt(&data);
    assert!(
        line.contains("must be writable for the user that runs the gateway"),
        "{line}"
    );

    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o555);
    let line = attempt(&closed.join("data"));
    assert!(line.contains("cannot be made"), "{line}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

fn data_of(gateway: &Gateway) -> PathBuf {
    gateway.path("data")
}

/// Two gateways on one `data_dir`: the second does not start and says who has it.
#[test]
fn a_second_gateway_on_a_store_does_not_start() {
    let first = Gateway::builder().start();
    let data = data_of(&first);
    let second = Gateway::builder().config(json!({"portcullis": {"data_dir": data}}));
    let ended = second.fail();
    assert_eq!(ended.status.code(), Some(4));
    let pid = first.pid();
    for part in [
        &format!("in use by process {pid} (portcullis) on host "),
        "portcullis.data_dir",
        &*data.join("store.redb").to_string_lossy(),
    ] {
        assert!(ended.log.contains(part), "{part} in {}", ended.log);
    }
}

/// `check` looks at the store beside a gateway that runs, and after it, and at a damaged one.
#[test]
fn check_looks_at_the_store_and_leaves_it_alone() {
    let mut gateway = Gateway::builder().start();
    let data = data_of(&gateway);
    let check = || {
        Gateway::builder()
            .config(json!({"portcullis": {"data_dir": data}}))
            .run(&["check"])
    };
    let beside = check();
    assert!(beside.status.success(), "{}", beside.log);
    assert!(
        beside
            .output
            .contains(&format!("in use by process {}", gateway.pid())),
        "{}",
        beside.output
    );
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit().success());

    let file = data.join("store.redb");
    let before = std::fs::read(&file).unwrap();
    let after = check();
    assert!(after.status.success(), "{}", after.log);
    assert_eq!(std::fs::read(&file).unwrap(), before);

    std::fs::write(&file, &before[..before.len() / 2]).unwrap();
    let damaged = check();
    assert_eq!(damaged.status.code(), Some(4), "{}", damaged.log);
    assert!(
        damaged.log.contains("put a backup in its place"),
        "{}",
        damaged.log
    );
    assert_eq!(std::fs::read(&file).unwrap(), &before[..before.len() / 2]);
}

/// A gateway whose store has reached the limit on the size of files serves on, says what to do, and
/// writes again once the limit is gone.
#[test]
fn a_gateway_outlives_a_store_without_room() {
    let upstream = Upstream::answering(ok("served"));
    let gateway = Gateway::builder()
        .api("open", &api("open", "/open/", &upstream.url()))
        .start();
    let file = data_of(&gateway).join("store.redb");
    let limit = |bytes| {
        let limits = Rlimit {
            current: bytes,
            maximum: None,
        };
        let pid = Pid::from_raw(gateway.pid().try_into().unwrap());
        prlimit(pid, Resource::Fsize, limits).expect("limits of our own child");
    };
    limit(Some(std::fs::metadata(&file).unwrap().len()));
    let mut ids = Vec::new();
    let refused = (0..300).find_map(|_| match upload(&gateway) {
        (200, answer) => {
            ids.push(answer["id"].clone());
            None
        }
        (_, answer) => Some(answer),
    });
    assert!(refused.is_some(), "{} were stored", ids.len());
    let ready = gateway.get("/ready").expect(200).json();
    let output = ready["details"]["storage"]["output"].as_str().unwrap();
    assert!(output.contains("LimitFSIZE"), "{output}");
    gateway.get("/open/").expect(200);
    let first = ids[0].as_str().unwrap();
    gateway.control(&format!("/tyk/certs/{first}")).expect(200);

    limit(None);
    gateway.wait_log("the embedded store can be written again");
    let (status, answer) = upload(&gateway);
    assert_eq!(status, 200, "{answer}");
    ids.push(answer["id"].clone());
    assert_eq!(stored(&gateway), Value::Array(ids));
}

/// A certificate as `POST /tyk/certs` takes it, and its id once it is stored.
fn upload(gateway: &Gateway) -> (u16, Value) {
    let pem = certs::server(&["stored.example"]).certificate_pem();
    let fields = [
        &*format!("X-Tyk-Authorization: {SECRET}"),
        "Content-Type: text/plain",
    ];
    let answer = raw::ask(
        gateway,
        raw::request("POST", "/tyk/certs?org_id=o", &fields, &pem),
    );
    (answer.status(), answer.json())
}

fn stored(gateway: &Gateway) -> Value {
    gateway.control("/tyk/certs?org_id=o").expect(200).json()["certs"].clone()
}

/// What was answered with success is there after `kill -9` and after an orderly stop.
#[test]
fn what_a_gateway_acknowledged_outlives_it() {
    let mut first = Gateway::builder().start();
    let data = data_of(&first);
    let again = || {
        Gateway::builder()
            .config(json!({"portcullis": {"data_dir": data}}))
            .start()
    };
    let (status, answer) = upload(&first);
    assert_eq!(status, 200, "{answer}");
    first.signal(Signal::KILL);
    first.wait_exit();
    let expected = json!([answer["id"]]);

    let mut second = again();
    assert_eq!(stored(&second), expected);
    second.signal(Signal::TERM);
    assert!(second.wait_exit().success());
    assert_eq!(stored(&again()), expected);
}

/// A store that is cut short under a gateway that runs: it says so in its log, its health and its
/// metrics, accepts nothing for it, and serves what needs none. So does one that is started on what is
/// left, until a backup is in its place: then keys that are in it open what they should.
#[test]
fn traffic_goes_on_while_the_store_cannot_be_used() {
    let upstream = Upstream::answering(ok("served"));
    let mut gateway = Gateway::builder()
        .api("open", &api("open", "/open/", &upstream.url()))
        .start();
    let metric = || {
        let page = gateway.control("/metrics").expect(200).text();
        let line = page
            .lines()
            .find(|line| line.starts_with("portcullis_store_up{"));
        line.unwrap().to_owned()
    };
    assert_eq!(metric(), "portcullis_store_up{store=\"embedded\"} 1");
    assert_eq!(upload(&gateway).0, 200);
    let all = stored(&gateway);

    let file = data_of(&gateway).join("store.redb");
    let backup = std::fs::read(&file).unwrap();
    let left = std::fs::metadata(&file).unwrap().len() / 2;
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(left)
        .unwrap();
    let (status, answer) = upload(&gateway);
    assert!(status >= 400, "{status} {answer}");
    gateway.wait_log("the store has failed");
    let ready = gateway.get("/ready").expect(200).json();
    assert_eq!(ready["details"]["storage"]["status"], "fail", "{ready}");
    let output = ready["details"]["storage"]["output"].as_str().unwrap();
    assert!(output.contains("put a backup in its place"), "{output}");
    assert_eq!(metric(), "portcullis_store_up{store=\"embedded\"} 0");
    gateway.get("/open/").expect(200);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit().success());
    let told = gateway.log().text().matches("the store has failed").count();
    assert_eq!(told, 1);

    let data = data_of(&gateway);
    let gateway = Gateway::builder()
        .config(json!({"portcullis": {"data_dir": data}}))
        .api("open", &api("open", "/open/", &upstream.url()))
        .api("keyed", &token_api("keyed", "/keyed/", &upstream.url()))
        .start();
    gateway.get("/open/").expect(200);
    gateway.call("/keyed/", "mykey").expect(503);
    let ready = gateway.get("/ready").expect(200).json();
    let output = ready["details"]["storage"]["output"].as_str().unwrap();
    assert!(output.contains("put a backup in its place"), "{output}");
    assert!(upload(&gateway).0 >= 400);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), left);

    let mended = data.join("backup");
    std::fs::write(&mended, backup).unwrap();
    std::fs::rename(mended, &file).unwrap();
    gateway.wait_log("the embedded store can be written again");
    assert_eq!(stored(&gateway), all);
    gateway.call("/keyed/", "mykey").expect(403);
}

/// A directory for the store that cannot be made, as its place is a file's: the gateway serves, says so,
/// and makes it once the file is gone.
#[test]
fn a_store_that_cannot_be_made_is_made_later() {
    let upstream = Upstream::answering(ok("served"));
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::write(&data, "in the way").unwrap();
    let gateway = Gateway::builder()
        .config(json!({"portcullis": {"data_dir": data}}))
        .api("open", &api("open", "/open/", &upstream.url()))
        .start();
    gateway.get("/open/").expect(200);
    gateway.wait_log("a file stands where a directory should");
    assert!(upload(&gateway).0 >= 400);
    std::fs::remove_file(&data).unwrap();
    gateway.wait_log("the embedded store can be written again");
    assert_eq!(upload(&gateway).0, 200);
}
