//! Issuers that are asked: from when an answer counts, what is kept of it, and who is not asked again.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use portcullis_apidef::{Bearer, TokenJudge, parse_classic, policies::PolicySet};
use portcullis_store::{Embedded, Engine};
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::yield_now};

use super::*;
use crate::{
    access::{Access, AccessLink, bearer::meanwhile, jwt::Judged},
    services::{Service, Services},
    stores::Stores,
};

/// What is said to each question, with the time it came.
type Script = fn(&Clock, usize) -> (&'static str, String);

struct Bench {
    issuers: Issuers,
    verifier: Arc<Verifier>,
    access: Arc<Access>,
    clock: Clock,
    /// When each question came.
    asked: mpsc::Receiver<Millis>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(script: Script) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::Embedded(Embedded::open(dir.path()).expect("a store"));
        let text = r#"{"secret": "a secret of the tests"}"#;
        let config = portcullis_config::load_text(&dir.path().join("tyk.conf"), text, [])
            .expect("valid")
            .config;
        let stores = Stores::on(engine, &config);
        let services = Services::new(&config, stores.certificates());
        let client = services.client(Service::Oauth).clone();
        let clock = Clock::start();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (told, asked) = mpsc::channel();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a connection");
                read_form(&mut stream);
                // Whoever listens no more has seen enough.
                let _ = told.send(clock.now());
                let (status, body) = script(&clock, number);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let definition = json!({
            "api_id": "o", "proxy": {"listen_path": "/", "target_url": "http://up.test"},
            "external_oauth": {"enabled": true, "providers": [{"introspection": {
                "enabled": true, "url": url, "cache": {"enabled": true, "timeout": 600},
            }}]},
        });
        let read = parse_classic(definition.to_string().as_bytes()).expect("a definition");
        let bearer = read.api.authentication.bearer().expect("tokens");
        Self {
            access: Access::new(&config, &stores, client.clone(), 1).expect("random numbers"),
            issuers: Issuers::new(client),
            verifier: Arc::new(Verifier::of(&read.api, bearer).expect("it can judge")),
            clock,
            asked,
            _dir: dir,
        }
    }

    async fn ask(&self, token: &str) -> Result<Answer, Problem> {
        let Bearer::Oauth(oauth) = &self.verifier.bearer else {
            panic!("tokens of OAuth");
        };
        let TokenJudge::Issuer(issuer) = &oauth.judged else {
            panic!("an issuer");
        };
        let issuers = &self.issuers;
        issuers
            .ask(&self.verifier, issuer, token, &self.clock)
            .await
    }

    fn kept(&self) -> usize {
        self.issuers.answers().of.len()
    }
}

/// Reads a request whose form holds a token of one letter and nothing else.
fn read_form(stream: &mut TcpStream) {
    let (mut text, mut some) = (Vec::new(), [0; 1024]);
    while !text
        .windows(11)
        .any(|part| part.starts_with(b"\r\n\r\ntoken="))
    {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return,
            Ok(n) => text.extend_from_slice(&some[..n]),
        }
    }
}

fn good(more: &Value) -> String {
    let mut said = json!({"active": true, "sub": "anna"});
    said["more"] = more.clone();
    said.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_from_before_the_question() {
    let bench = Bench::new(|clock, _| {
        let asked = clock.now();
        while clock.now().since(asked) < Duration::from_millis(50) {
            thread::yield_now();
        }
        ("200 OK", good(&Value::Null))
    });
    let answer = bench.ask("a").await.expect("it is good");
    let asked = bench.asked.recv().expect("a question");
    assert!(answer.until <= asked + Duration::from_secs(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_issuer_said_is_not_used_past_its_time_though_nobody_can_be_asked() {
    let bench = Bench::new(|_, _| ("200 OK", good(&Value::Null)));
    let policies = Arc::<PolicySet>::default();
    let judged = bench.access.judge(&bench.verifier, "a", &policies).await;
    let Judged::Good(verified) = judged else {
        panic!("it is good");
    };
    let end = verified.ask_at.expect("an end");
    let before = Some(verified);
    assert!(meanwhile(before.clone(), Millis::of(end.number() - 1)).is_some());
    assert!(meanwhile(before, end).is_none());
    assert!(meanwhile(None, end).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_bounded_in_size_and_of_bad_tokens_nothing_but_that() {
    let bench = Bench::new(|_, number| {
        let body = match number {
            0 | 1 => good(&json!("x".repeat(LARGEST_KEPT))),
            2 => json!({"active": false, "more": "x".repeat(LARGEST_KEPT)}).to_string(),
            _ => good(&Value::Null),
        };
        ("200 OK", body)
    });
    for _ in 0..2 {
        assert!(bench.ask("a").await.is_ok());
        assert_eq!(bench.kept(), 0);
    }
    for _ in 0..2 {
        assert_eq!(bench.ask("b").await.err(), Some(Problem::Inactive));
        assert_eq!(bench.kept(), 1);
    }
    for _ in 0..2 {
        assert!(bench.ask("c").await.is_ok());
    }
    assert_eq!(bench.asked.try_iter().count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_away_is_not_asked_about_the_next_token() {
    let bench = Bench::new(|_, _| ("503 No", String::new()));
    assert_eq!(bench.ask("a").await.err(), Some(Problem::IssuerAway));
    // So that the pause is over for no machine, however slow.
    let later = Instant::now() + Duration::from_secs(600);
    bench.verifier.line.was_away(later);
    for token in ["b", "c"] {
        assert_eq!(bench.ask(token).await.err(), Some(Problem::IssuerAway));
    }
    assert_eq!(bench.asked.try_iter().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_outage_keeps_nobody_from_asking() {
    let bench = Bench::new(|_, number| match number {
        0 => ("400 No", String::new()),
        _ => ("200 OK", good(&Value::Null)),
    });
    assert_eq!(bench.ask("a").await.err(), Some(Problem::IssuerAway));
    assert!(bench.ask("b").await.is_ok());
}

#[tokio::test]
async fn a_request_that_is_gone_asks_nothing_any_more() {
    let bench = Bench::new(|_, _| ("200 OK", good(&Value::Null)));
    let link = AccessLink::new(bench.access.clone(), Handle::current());
    let mut turns = Vec::new();
    for _ in 0..16 {
        turns.push(bench.verifier.line.turn().await.expect("a place"));
    }
    let policies = Arc::<PolicySet>::default();
    tokio::select! {
        biased;
        _ = link.judge(&bench.verifier, "a", &policies) => panic!("there is no place"),
        () = yield_now() => {}
    }
    turns.clear();
    // Whoever judges holds it.
    while Arc::strong_count(&bench.verifier) > 1 {
        yield_now().await;
    }
    assert_eq!(bench.asked.try_iter().count(), 0);
}

#[test]
fn what_is_over_is_forgotten_once_a_minute_and_bad_tokens_first_when_there_is_no_room() {
    let now = Millis::of(1);
    let key = |number: u64| (number, [0; 32]);
    let bad = |until| Said { good: None, until };
    let mut answers = Answers::default();
    answers.remember(key(0), bad(now + Duration::from_secs(1)), now);
    answers.remember(key(1), bad(now + SWEEP * 2), now);
    answers.remember(key(2), bad(now + SWEEP * 2), now + SWEEP / 2);
    assert_eq!(answers.of.len(), 3, "it is no time yet");
    answers.remember(key(3), bad(now + SWEEP * 2), now + SWEEP);
    assert!(!answers.of.contains_key(&key(0)));
    assert_eq!(answers.of.len(), 3);

    let claims = Arc::new(Claims::parse(br#"{"active": true}"#).expect("an object"));
    let mut answers = Answers::default();
    let good = Said {
        good: Some(claims),
        until: now + SWEEP,
    };
    answers.remember(key(0), good, now);
    for number in 1..=MOST as u64 {
        answers.remember(key(number), bad(now + SWEEP), now);
    }
    assert_eq!(answers.of.len(), 2);
    assert!(answers.of.contains_key(&key(0)));
}
