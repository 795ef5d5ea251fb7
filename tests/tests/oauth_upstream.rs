//! What the gateway proves itself with to upstreams in a header field: access tokens that it fetches, and names
//! with passwords (`upstream_auth`).

use std::thread;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use portcullis_tests::{
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    keys::error_of,
    mtls::{authority, issued},
    oauth::{CLIENT, CLIENT_SECRET, Provider, with_token},
    raw,
    upstream::{
        Upstream,
        http2::{self, Http2Upstream},
        ok,
    },
    wait::eventually,
};
use serde_json::{Value, json};

const PROBLEM: &str = "There was a problem proxying the request";

/// A gateway to be, whose API `u` shows its upstream a token of a provider.
fn builder(echo: &Echo, provider: &Provider, more: Value) -> Builder {
    Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}}))
        .api(
            "u",
            &with_token("u", &echo.url(), &provider.url("/token"), more),
        )
}

/// What the upstream is shown in a field.
fn shown(gateway: &Gateway, field: &str) -> String {
    let answer = gateway
        .curl()
        .header("Authorization", "Bearer the client's own")
        .header("X-Token", "the client's own")
        .send(&gateway.url("/u/"))
        .expect(200);
    answer.json()["headers"][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_token_is_fetched_once_for_many_requests_and_takes_the_place_of_the_client_s_own() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, json!({"scopes": ["read", "write"]})).start();
    assert_eq!(provider.granted(), 0, "nobody needs one yet");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1"));
        }
    });
    gateway.reload();
    assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    assert_eq!(shown(&gateway, "x-token"), "the client's own");
    let form = provider.forms().remove(0);
    assert_eq!(provider.forms().len(), 1);
    assert_eq!(
        (
            form.path.as_str(),
            form.field("grant_type"),
            form.field("scope")
        ),
        ("/token", Some("client_credentials"), Some("read write"))
    );
    assert_eq!(
        form.login,
        Some((CLIENT.to_owned(), CLIENT_SECRET.to_owned()))
    );
    assert_eq!(form.field("client_secret"), None, "once is enough");
    let log = gateway.log().text() + &gateway.output().text();
    for secret in ["granted-1", CLIENT_SECRET, "a+secret"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[test]
fn a_token_that_ends_is_followed_by_another_and_one_without_a_time_is_kept() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    provider.grant_with(json!({"token_type": "bearer", "expires_in": "2"}));
    let gateway = builder(&echo, &provider, json!({})).start();
    assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    eventually("its time is over", || {
        shown(&gateway, "authorization") != "Bearer granted-1"
    });
    let endless = Provider::start();
    endless.grant_with(json!({}));
    let gateway = builder(&echo, &endless, json!({})).start();
    for _ in 0..2 {
        assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    }
}

#[test]
fn without_a_token_nothing_is_sent_and_client_log_and_flag_say_so() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let gateway = builder(&echo, &provider, json!({})).start();
    for (status, body, said) in [
        ("500 No", "{}", "it answers 500"),
        (
            "400 No",
            "{\"error\": \"invalid_scope\"}",
            "it answers 400 (invalid_scope)",
        ),
        (
            "200 OK",
            "{\"token_type\": \"bearer\"}",
            "without an `access_token`",
        ),
        (
            "200 OK",
            "{\"access_token\": \"secret-token\", \"token_type\": \"mac\"}",
            "another type than Bearer",
        ),
    ] {
        provider.answer_instead(status, body);
        // What failed a moment ago is not asked for again at once.
        eventually("it is asked and fails", || {
            let answer = gateway.get("/u/").expect(500);
            assert_eq!(error_of(&answer), PROBLEM);
            gateway.log().text().contains(said)
        });
    }
    let line = gateway.wait_log("no access token for the upstream could be had");
    assert!(line.contains("token endpoint"), "{line}");
    let entry = gateway.output().wait("upstream_token_unavailable");
    let entry: Value = serde_json::from_str(&entry).expect("JSON");
    assert_eq!(
        (&entry["response_flag"], &entry["response_code_details"]),
        (&json!("UPE"), &json!("upstream_token_unavailable"))
    );
    assert_eq!(echo.served(), 0);
    assert!(!gateway.log().text().contains("secret-token"));
    provider.recover();
    eventually("it is asked again", || gateway.get("/u/").status == 200);
}

#[test]
fn a_token_that_is_good_outlives_an_outage_of_its_provider() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    provider.grant_with(json!({"expires_in": 8}));
    let gateway = builder(&echo, &provider, json!({})).start();
    assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    provider.answer_instead("503 No", "");
    eventually("it is to be renewed and cannot be", || {
        let answer = gateway.get("/u/");
        assert!(matches!(answer.status, 200 | 500), "{answer:?}");
        if gateway.log().text().contains("cannot be renewed") {
            return true;
        }
        if answer.status == 500 {
            // Nobody called while it was to be renewed and good: once more, with another.
            provider.recover();
            eventually("there is one again", || gateway.get("/u/").status == 200);
            provider.answer_instead("503 No", "");
        }
        false
    });
    let line = gateway.wait_log("cannot be renewed");
    assert!(line.contains("it answers 503"), "{line}");
    eventually("its time is over", || gateway.get("/u/").status == 500);
}

/// Any client may have an upstream answer 401 by what else it sends.
#[test]
fn a_token_that_an_upstream_answers_with_401_is_used_until_there_is_another() {
    let upstream = Upstream::start(|talk| {
        while talk.request().is_some() {
            talk.send("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let provider = Provider::start();
    let definition = with_token("u", &upstream.url(), &provider.url("/token"), json!({}));
    let gateway = Gateway::builder().api("u", &definition).start();
    gateway.get("/u/").expect(401);
    provider.answer_instead("503 No", "");
    eventually("it is to be renewed and cannot be", || {
        gateway.get("/u/").expect(401);
        gateway.log().text().contains("cannot be renewed")
    });
    gateway.get("/u/").expect(401);
    provider.recover();
    eventually("it is renewed", || {
        gateway.get("/u/").expect(401);
        upstream.received().concat().contains("Bearer granted-2")
    });
}

/// What came of a breaker is decided by its upstream alone.
#[test]
fn a_provider_that_is_away_opens_no_breaker_of_the_upstream() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let breaker = json!({"path": "/x", "method": "GET", "threshold_percent": 0.5, "samples": 2,
        "return_to_service_after": 3600, "disable_half_open_state": true});
    let definition = with(
        with_token("u", &echo.url(), &provider.url("/token"), json!({})),
        json!({"version_data": {"versions": {"Default": {
            "use_extended_paths": true, "extended_paths": {"circuit_breakers": [breaker]},
        }}}}),
    );
    let gateway = Gateway::builder().api("u", &definition).start();
    provider.answer_instead("503 No", "");
    for _ in 0..6 {
        gateway.get("/u/x").expect(500);
    }
    provider.recover();
    eventually("there is a token", || match gateway.get("/u/x").status {
        200 => true,
        500 => false,
        status => panic!("the breaker is open: {status}"),
    });
}

#[test]
fn a_provider_that_is_silent_is_no_upstream_that_is_late() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let definition = with(
        with_token(
            "u",
            &echo.url(),
            &provider.url("/token?secret=1"),
            json!({}),
        ),
        json!({"version_data": {"versions": {"Default": {
            "use_extended_paths": true,
            "extended_paths": {"hard_timeouts": [{"path": "/x", "method": "GET", "timeout": 1}]},
        }}}}),
    );
    let gateway = Gateway::builder().api("u", &definition).start();
    provider.fall_silent();
    let answer = gateway.get("/u/x").expect(500);
    assert_eq!(error_of(&answer), PROBLEM);
    let line = gateway.wait_log("in the time that the request may take");
    let place = format!(
        "upstream_auth.oauth.client_credentials.token_url ({})",
        provider.server().address()
    );
    assert!(line.contains(&place) && !line.contains("secret"), "{line}");
}

/// A definition whose upstream is shown a token in `X-Token`.
fn in_a_field_of_its_own(url: &str, provider: &Provider) -> Value {
    let more = json!({"header": {"enabled": true, "name": "X-Token"}});
    with_token("u", url, &provider.url("/token"), more)
}

#[test]
fn what_a_client_calls_like_the_credential_ends_here_as_a_trailer_and_with_underscores() {
    let provider = Provider::start();
    let upstream = Upstream::start(|talk| {
        while talk.request().is_some() {
            talk.send(ok("fine"));
        }
    });
    let gateway = Gateway::builder()
        .api("u", &in_a_field_of_its_own(&upstream.url(), &provider))
        .start();
    let mut wire = raw::plain(&gateway);
    wire.send(
        "POST /u/ HTTP/1.1\r\nHost: h\r\nX_Token: own\r\nX-Token: own\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 42\r\nX-Token: own\r\nX_Token: own\r\n\r\n",
    );
    assert_eq!(wire.message().expect("a response").status(), 200);
    let received = upstream.received().concat().to_lowercase();
    assert!(received.contains("x-sum: 42"), "{received}");
    assert!(received.contains("x-token: bearer granted-1"), "{received}");
    assert_eq!(received.matches("token").count(), 1, "{received}");
}

#[tokio::test]
async fn it_ends_here_over_http2_as_well() {
    let (upstream, provider) = (Http2Upstream::start(http2::echo), Provider::start());
    let url = format!("h2c://{}", upstream.address());
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api("u", &in_a_field_of_its_own(&url, &provider))
        .start();
    let mut client = raw::http2(&gateway).await;
    let own = HeaderValue::from_static("own");
    let named = |names: [&'static str; 3]| {
        HeaderMap::from_iter(names.map(|name| (HeaderName::from_static(name), own.clone())))
    };
    let mut request = Request::post("https://localhost/u/")
        .body(())
        .expect("a request");
    *request.headers_mut() = named(["x-stay", "x-token", "x_token"]);
    let (response, mut stream) = client.send_request(request, false).expect("it is sent");
    stream
        .send_data(Bytes::from_static(b"hello"), false)
        .expect("it is sent");
    stream
        .send_trailers(named(["x-sum", "x-token", "x_token"]))
        .expect("they are sent");
    let (parts, body) = response.await.expect("a response").into_parts();
    let (_, trailers) = http2::read(body).await.expect("a body");
    assert_eq!(parts.status, 200);
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
    let heads = upstream.requests();
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0].headers()["x-stay"], "own");
    let tokens = heads[0]
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().ends_with("token"));
    let tokens: Vec<_> = tokens.map(|(_, value)| value).collect();
    assert_eq!(tokens, ["Bearer granted-1"]);
}

/// Recommendation 29: fails closed where the reference goes on without its certificate. RFC 8705, section 2.
#[test]
fn a_provider_is_asked_with_the_certificate_of_the_service_or_not_at_all() {
    let ca = authority("Client CA");
    let (echo, provider) = (Echo::start("up"), Provider::start_mutual(&ca));
    let pair = issued(&ca, "gateway");
    let mtls = json!({"external_services": {"oauth": {"mtls": {"enabled": true,
        "cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem"}}}});
    let by_certificate = json!({"client_secret": ""});
    let gateway = builder(&echo, &provider, by_certificate.clone())
        .config(mtls.clone())
        .file("client.pem", &pair.certificate_pem())
        .file("client.key", &pair.key_pem())
        .start();
    assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    let form = provider.forms().remove(0);
    assert_eq!(
        (form.field("client_id"), form.login.as_ref()),
        (Some(CLIENT), None)
    );
    let before = (provider.server().connections(), echo.served());
    let without = builder(&echo, &provider, by_certificate)
        .config(mtls)
        .start();
    without.get("/u/").expect(500);
    let line = without.wait_log("no access token for the upstream could be had");
    assert!(line.contains("client.pem"), "{line}");
    assert_eq!((provider.server().connections(), echo.served()), before);
}

#[test]
fn a_secret_goes_into_the_body_where_a_provider_takes_it_nowhere_else() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    provider.take_secrets_in_body();
    provider.grant_with(json!({"expires_in": 2}));
    let gateway = builder(&echo, &provider, json!({})).start();
    assert_eq!(shown(&gateway, "authorization"), "Bearer granted-1");
    assert_eq!(provider.forms().len(), 2, "the field first");
    eventually("it is renewed", || {
        shown(&gateway, "authorization") != "Bearer granted-1"
    });
    let later = provider.forms().split_off(2);
    assert!(later.iter().all(|form| form.login.is_none()), "{later:?}");
}

#[test]
fn a_password_of_somebody_is_sent_for_a_token_and_a_field_of_ones_own_holds_it() {
    let (echo, provider) = (Echo::start("up"), Provider::start());
    let request = json!({
        "client_id": CLIENT, "client_secret": CLIENT_SECRET, "token_url": provider.url("/token"),
        "username": "anna", "password": "env://HER_PASSWORD",
        "header": {"enabled": true, "name": "X-Token"},
    });
    let definition = with(
        api("u", "/u/", &echo.url()),
        json!({"upstream_auth": {"enabled": true, "oauth": {
            "enabled": true, "allowed_authorize_types": ["password"], "password": request,
        }}}),
    );
    let gateway = Gateway::builder()
        .environment("HER_PASSWORD", "hers & no one else's")
        .api("u", &definition)
        .start();
    assert_eq!(shown(&gateway, "x-token"), "Bearer granted-1");
    assert_eq!(shown(&gateway, "authorization"), "Bearer the client's own");
    let form = provider.forms().remove(0);
    assert_eq!(
        (
            form.field("grant_type"),
            form.field("username"),
            form.field("password")
        ),
        (Some("password"), Some("anna"), Some("hers & no one else's"))
    );
}

#[test]
fn an_upstream_that_speaks_http2_is_shown_a_token_too() {
    let upstream = Http2Upstream::start(http2::echo);
    let provider = Provider::start();
    let url = format!("h2c://{}", upstream.address());
    let gateway = Gateway::builder()
        .api(
            "u",
            &with_token("u", &url, &provider.url("/token"), json!({})),
        )
        .start();
    let call = || {
        gateway
            .curl()
            .header("Authorization", "own")
            .send(&gateway.url("/u/"))
    };
    call().expect(200);
    call().expect(200);
    let heads = upstream.requests();
    assert_eq!(heads.len(), 2);
    for head in heads {
        let fields: Vec<_> = head.headers().get_all("authorization").iter().collect();
        assert_eq!(fields, ["Bearer granted-1"]);
    }
    assert_eq!(provider.granted(), 1);
}

#[test]
fn a_name_with_a_password_is_shown_to_the_upstream() {
    let echo = Echo::start("up");
    let definition = with(
        api("u", "/u/", &echo.url()),
        json!({"upstream_auth": {"enabled": true, "basic_auth": {
            "enabled": true, "username": "gateway", "password": "p:w"}}}),
    );
    let gateway = Gateway::builder().api("u", &definition).start();
    gateway.wait_log("travels in clear text: use an https:// target");
    // RFC 7617: gateway:p:w
    assert_eq!(shown(&gateway, "authorization"), "Basic Z2F0ZXdheTpwOnc=");
}

#[test]
fn credentials_in_a_field_of_http_have_no_place_in_raw_services() {
    let echo = Echo::start("up");
    let definition = with(
        api("r", "/", &format!("tcp://{}", echo.address())),
        json!({"protocol": "tcp", "listen_port": portcullis_tests::ports::free_port(),
            "upstream_auth": {"enabled": true, "basic_auth": {"enabled": true, "username": "u"}}}),
    );
    let gateway = Gateway::builder().api("r", &definition).start();
    gateway.wait_log("its protocol is not HTTP");
}
