//! Tokens past the time they should be renewed at, before an endpoint that grants them and one that does not.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use portcullis_apidef::session::SecretText;
use portcullis_store::{Embedded, Engine};

use super::*;
use crate::services::{Service, services_on};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    link: TokenLink,
    source: Arc<TokenSource>,
    asked: mpsc::Receiver<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// An endpoint that answers so.
    fn new(status: &'static str, body: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::Embedded(Embedded::open(dir.path()).expect("a store"));
        let client = services_on(dir.path(), &engine)
            .client(Service::Oauth)
            .clone();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (told, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                read_form(&mut stream);
                // Whoever listens no more has seen enough.
                let _ = told.send(());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let request = TokenRequest {
            url: SecretText::new(format!("http://user:word@{address}/token?secret=1")),
            client_id: "gateway".to_owned(),
            client_secret: SecretText::new("secret"),
            scopes: Vec::new(),
            grant: TokenGrant::ClientCredentials,
        };
        Self {
            link: TokenLink::new(client, Handle::current()),
            source: Arc::new(TokenSource::new("u", &request)),
            asked,
            _dir: dir,
        }
    }

    /// Holds a token that was granted a minute ago and is to be renewed at `renew_at`.
    fn hold(&self, renew_at: Instant) -> Arc<Token> {
        let now = Instant::now();
        let token = Arc::new(Token {
            field: HeaderValue::from_static("Bearer held"),
            asked_at: now.checked_sub(MINUTE).expect("a minute ago"),
            renew_at,
            until: now + 10 * MINUTE,
        });
        self.source.held.store(Some(token.clone()));
        token
    }

    /// Waits until nobody renews the token any more.
    async fn settled(&self) {
        let settled = async {
            while self.source.renewing.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(MINUTE, settled)
            .await
            .expect("it ends");
    }
}

/// Reads a request up to the end of its form, which ends with what is asked for.
fn read_form(stream: &mut TcpStream) {
    let (mut text, mut some) = (Vec::new(), [0; 1024]);
    while !text.ends_with(b"grant_type=client_credentials") {
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return,
            Ok(n) => text.extend_from_slice(&some[..n]),
        }
    }
}

#[tokio::test]
async fn a_token_is_renewed_once_its_time_for_that_has_come_and_not_before() {
    let bench = Bench::new("200 OK", r#"{"access_token": "new", "expires_in": 600}"#);
    let (now, renew_at) = (Instant::now(), Instant::now() + MINUTE);
    bench.hold(renew_at);
    let field = |now| {
        bench
            .link
            .at_hand(&bench.source, now)
            .expect("a token")
            .field
            .clone()
    };
    assert_eq!(field(now), "Bearer held");
    assert!(!bench.source.renewing.load(Ordering::Acquire));
    bench.hold(now);
    assert_eq!(field(now), "Bearer held", "nobody waits for the new one");
    bench.settled().await;
    assert_eq!(field(Instant::now()), "Bearer new");
    assert_eq!(bench.asked.try_iter().count(), 1);
}

#[tokio::test]
async fn while_its_endpoint_is_away_a_token_is_used_and_nothing_begun_until_the_pause_is_over() {
    let bench = Bench::new("503 No", "");
    let now = Instant::now();
    let token = bench.hold(now);
    assert!(bench.link.at_hand(&bench.source, now).is_some());
    bench.settled().await;
    for _ in 0..3 {
        assert!(bench.link.at_hand(&bench.source, now).is_some());
        assert!(!bench.source.renewing.load(Ordering::Acquire));
    }
    assert!(bench.source.is_due(&token, now + MINUTE), "but later");
    assert_eq!(bench.asked.try_iter().count(), 1);
}

#[tokio::test]
async fn a_renewal_that_is_cut_off_is_not_waited_for() {
    let bench = Bench::new("503 No", "");
    let gone = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let link = TokenLink::new(bench.link.client.clone(), gone.handle().clone());
    gone.shutdown_background();
    let now = Instant::now();
    bench.hold(now);
    assert!(link.at_hand(&bench.source, now).is_some());
    bench.settled().await;
}

#[tokio::test]
async fn a_token_in_doubt_is_used_until_it_is_renewed_and_a_new_one_is_in_no_doubt() {
    let bench = Bench::new("200 OK", r#"{"access_token": "new"}"#);
    let token = bench.hold(Instant::now() + MINUTE);
    bench.source.doubt(&token);
    let now = Instant::now();
    let held = bench.link.at_hand(&bench.source, now).expect("a token");
    assert_eq!(held.field, "Bearer held");
    assert_eq!(held.until, token.until);
    bench.settled().await;
    let new = bench.source.at_hand(Instant::now()).expect("a token");
    assert_eq!(new.field, "Bearer new");
    for doubted in [&token, &held, &new] {
        bench.source.doubt(doubted);
        let still = bench.source.at_hand(Instant::now()).expect("a token");
        assert!(Arc::ptr_eq(&still, &new));
    }
    assert_eq!(bench.asked.try_iter().count(), 1);
}

#[tokio::test]
async fn what_is_said_without_a_token_names_setting_and_host_and_no_secret() {
    let bench = Bench::new("400 No", r#"{"error": "invalid_scope"}"#);
    let why = bench.link.obtain(&bench.source).await.err().expect("none");
    let port = bench.source.request.url.reveal().split(['@', '/']).nth(3);
    let place = format!(
        "upstream_auth.oauth.client_credentials.token_url ({}): it answers 400 (invalid_scope)",
        port.expect("an address")
    );
    assert_eq!(*why, *place);
    assert_eq!(bench.asked.try_iter().count(), 1, "the body would not help");
}
