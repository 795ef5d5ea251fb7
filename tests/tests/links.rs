//! The outgoing links, as `GET /tyk/links` and `portcullis links` tell of them: with whom the gateway was connected to
//! last, what each side showed, and why it was not.

use std::process::Output;

use openssl::ssl::{SslAcceptorBuilder, SslVerifyMode, SslVersion};
use portcullis_pki::make::{Algorithm, Pair, make_server};
use portcullis_tests::{
    certs,
    echo::Echo,
    forward::{secure_echo, secure_url},
    gateway::{Builder, Gateway, SECRET, api, with},
    jwt::{Issuer, jwt_api},
    mtls::{expired, issued, self_signed},
    ports::free_port,
    program, raw,
    receiver::{Receiver, use_and_look, watched, webhook},
    redis::Redis,
    squid::{CREDENTIALS, Squid},
    upstream::{
        Upstream, acceptor, echo,
        http2::{self, Http2Upstream},
    },
    wait::eventually,
};
use serde_json::{Value, json};

/// A gateway with one worker that trusts the tests' authority and speaks every version to upstreams.
fn trusting() -> Builder {
    let builder = Gateway::builder()
        .config(json!({"proxy_ssl_max_version": 772, "portcullis": {"workers": 1}}));
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

/// An API on `/<name>/`.
fn leading(name: &str, url: &str, more: Value) -> Value {
    with(api(name, &format!("/{name}/"), url), more)
}

fn status(gateway: &Gateway, name: &str) -> u16 {
    raw::ask(gateway, raw::get(&format!("/{name}/"), &[])).status()
}

/// The links that a query finds.
fn links(gateway: &Gateway, query: &str) -> Vec<Value> {
    let page = gateway.control(&format!("/tyk/links{query}")).expect(200);
    let page = page.json();
    page["links"].as_array().expect("a list").clone()
}

/// The only link of an API, of a kind.
#[track_caller]
fn link(gateway: &Gateway, api: &str, kind: &str) -> Value {
    let mut found = links(gateway, &format!("?api_id={api}&kind={kind}"));
    assert_eq!(found.len(), 1, "{api} {kind}: {found:?}");
    found.remove(0)
}

/// A server that lets in nobody without a certificate of the tests' authority.
fn demanding(pair: &Pair) -> SslAcceptorBuilder {
    let mut server = acceptor(pair);
    let known = server.cert_store_mut();
    known
        .add_cert(certs::ca().certificate.clone())
        .expect("an authority");
    server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    server
}

fn links_command(gateway: &Gateway, line: &str) -> Output {
    let mut arguments = vec!["links"];
    arguments.extend(line.split_whitespace());
    program::command(&arguments)
        .current_dir(gateway.dir())
        .env("PORTCULLIS_GATEWAY", gateway.url(""))
        .env("PORTCULLIS_SECRET", SECRET)
        .output()
        .expect("the program runs")
}

/// What the verb prints, where it succeeds.
#[track_caller]
fn printed(gateway: &Gateway, line: &str) -> String {
    let output = links_command(gateway, line);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn an_upstream_is_shown_with_both_certificates_and_one_that_fails_with_its_error() {
    let strict = Upstream::start_tls(demanding(certs::localhost()).build(), echo);
    let open = secure_echo();
    let port = free_port();
    let client = issued(certs::ca(), "gateway");
    let mapped = json!({"upstream_certificates": {"localhost": "client.pem"}});
    let key = certs::localhost().key.public_key_to_pem().expect("a key");
    let pinned = json!({
        "pinned_public_keys": {"localhost": String::from_utf8(key).expect("text")},
    });
    let skipping = json!({"proxy": {"transport": {"ssl_insecure_skip_verify": true}}});
    let gateway = trusting()
        .file("client.pem", &certs::bundle(&client))
        .api(
            "strict",
            &leading("strict", &secure_url(&strict), with(mapped.clone(), pinned)),
        )
        .api("open", &leading("open", &secure_url(&open), mapped))
        .api(
            "down",
            &leading("down", &format!("http://127.0.0.1:{port}"), json!({})),
        )
        .api("idle", &leading("idle", "https://idle.test/", skipping))
        .start();

    let before = link(&gateway, "strict", "upstream");
    assert_eq!(before["state"], "not_yet_used");
    assert_eq!(
        (&before["connections"], &before["own"]["subject"]),
        (&json!(0), &json!("CN=gateway"))
    );
    assert_eq!(before.get("peer"), None);

    for _ in 0..3 {
        assert_eq!(status(&gateway, "strict"), 200);
    }
    assert_eq!(status(&gateway, "open"), 200);
    assert_eq!(status(&gateway, "down"), 500);
    let strict_address = format!("localhost:{}", strict.address().port());
    let used = link(&gateway, "strict", "upstream");
    assert_eq!(used["state"], "connected", "{used}");
    assert_eq!(used["address"], strict_address);
    assert_eq!(used["apis"], json!(["strict"]));
    // Requests on a kept connection are no connections.
    assert_eq!(
        (&used["connections"], &used["failures"]),
        (&json!(1), &json!(0))
    );
    let verification = &used["verification"];
    assert_eq!(
        (
            &verification["chain"],
            &verification["name"],
            &verification["pins"]
        ),
        (&json!(true), &json!(true), &json!(1))
    );
    assert!(verification["authorities"].as_u64() >= Some(1), "{used}");
    assert_eq!(used["negotiated"]["version"], "TLSv1.3");
    assert_eq!(used["negotiated"]["group"], "X25519MLKEM768");
    let peer = &used["peer"];
    assert_eq!(
        peer["fingerprint"],
        certs::fingerprint(&certs::localhost().certificate)
    );
    assert_eq!(
        (&peer["subject"], &peer["issuer"], &peer["names"][0]),
        (
            &json!("CN=localhost"),
            &json!("CN=Test CA"),
            &json!("DNS:localhost")
        )
    );
    assert_eq!(
        used["own"]["fingerprint"],
        certs::fingerprint(&client.certificate)
    );
    assert_eq!(used["own"]["shown"], true);
    assert!(used["own"]["not_after"].is_string() && used["last_connected"].is_string());
    assert_eq!(used.get("remarks"), None, "{used}");

    // This one did not ask for it.
    assert_eq!(link(&gateway, "open", "upstream")["own"]["shown"], false);
    let down = link(&gateway, "down", "upstream");
    assert_eq!(
        (&down["state"], &down["tls"]),
        (&json!("failing"), &json!(false))
    );
    let reason = down["last_error"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("cannot connect to 127.0.0.1"), "{reason}");
    let idle = link(&gateway, "idle", "upstream");
    assert_eq!(idle["state"], "not_yet_used");
    let remark = idle["remarks"][0].as_str().expect("a remark");
    assert!(remark.starts_with("nobody is verified"), "{remark}");

    // Once it is there, the link is good and the last error stays.
    let _back = Upstream::start_on(port, echo);
    assert_eq!(status(&gateway, "down"), 200);
    let back = link(&gateway, "down", "upstream");
    assert_eq!(
        (&back["state"], &back["connections"], &back["failures"]),
        (&json!("connected"), &json!(1), &json!(1))
    );
    assert_eq!(back["last_error"], down["last_error"]);
    // A reload that changes nothing of a link forgets nothing; an API that is gone takes its link along.
    gateway.remove_api("idle");
    gateway.reload();
    assert_eq!(link(&gateway, "strict", "upstream")["connections"], 1);
    assert!(links(&gateway, "?api_id=idle").is_empty());
}

/// With TLS 1.3 a server refuses whoever shows nothing after the handshake.
#[test]
fn a_refusal_after_the_handshake_is_a_failure_of_the_link() {
    let strict = Upstream::start_tls(demanding(certs::localhost()).build(), echo);
    let gateway = trusting()
        .api(
            "strict",
            &leading("strict", &secure_url(&strict), json!({})),
        )
        .start();
    assert_eq!(status(&gateway, "strict"), 500);
    let refused = link(&gateway, "strict", "upstream");
    assert_eq!(refused["state"], "failing", "{refused}");
    let reason = refused["last_error"]["reason"].as_str().expect("a reason");
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
}

#[test]
fn a_certificate_that_cannot_be_had_makes_a_link_unusable() {
    let upstream = secure_echo();
    let mapped = json!({"upstream_certificates": {"*": "missing.pem"}});
    let gateway = trusting()
        .api("a", &leading("a", &secure_url(&upstream), mapped))
        .start();
    let unusable = link(&gateway, "a", "upstream");
    assert_eq!(unusable["state"], "unusable", "{unusable}");
    let remark = unusable["remarks"][0].as_str().expect("a remark");
    assert!(remark.contains("missing.pem"), "{remark}");
}

#[test]
fn a_proxy_is_a_link_of_its_own_and_its_password_is_not_shown() {
    let squid = Squid::builder()
        .tls(certs::localhost())
        .with_password()
        .start();
    let (secure, plain) = (secure_echo(), Upstream::echo());
    let h2 = Http2Upstream::start_tls(acceptor(certs::localhost()), http2::echo);
    let h2_url = format!("https://localhost:{}", h2.address().port());
    let by = |name: &str, url: &str, login: &str| {
        let proxy = json!({"proxy": {"transport": {"proxy_url": squid.url_as(login)}}});
        leading(name, url, proxy)
    };
    let gateway = trusting()
        .config(json!({"proxy_enable_http2": true}))
        .api("secure", &by("secure", &secure_url(&secure), CREDENTIALS))
        .api("plain", &by("plain", &plain.url(), CREDENTIALS))
        .api("h2", &by("h2", &h2_url, CREDENTIALS))
        .api("wrong", &by("wrong", &secure_url(&secure), "us%40er:wrong"))
        .start();
    for name in ["secure", "plain", "h2"] {
        assert_eq!(status(&gateway, name), 200, "{}", gateway.log().text());
    }
    assert_eq!(status(&gateway, "wrong"), 500);
    let proxy = link(&gateway, "secure", "proxy");
    assert_eq!(proxy["apis"], json!(["h2", "plain", "secure"]));
    assert_eq!(
        (&proxy["state"], &proxy["tls"]),
        (&json!("connected"), &json!(true))
    );
    assert_eq!(proxy["connections"], 3);
    assert_eq!(proxy["peer"]["subject"], "CN=localhost");
    let target = link(&gateway, "secure", "upstream");
    let through = target["through"].as_str().expect("a proxy");
    assert_eq!(through, squid.url());
    assert_eq!(
        (&target["state"], &target["tls"]),
        (&json!("connected"), &json!(true))
    );
    // The proxy asks for what it forwards over connections of its own.
    assert!(links(&gateway, "?api_id=plain&kind=upstream").is_empty());
    let negotiated = &link(&gateway, "h2", "upstream")["negotiated"];
    assert_eq!(negotiated["alpn"], "h2");

    let refusing = link(&gateway, "wrong", "proxy");
    assert_eq!(refusing["state"], "failing");
    let reason = refusing["last_error"]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("Proxy Authentication Required (407 "),
        "{reason}"
    );
    assert_eq!(link(&gateway, "wrong", "upstream")["state"], "not_yet_used");
    let page = gateway.control("/tyk/links").expect(200).text();
    for secret in ["pa:ss", "pa%3Ass", "us%40er", "us@er", ":wrong"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
}

#[test]
fn a_redis_over_tls_is_shown_with_its_certificate_and_its_outage() {
    let mut redis = Redis::start_with_tls();
    let client = issued(certs::ca(), "gateway");
    let builder = Gateway::builder()
        .file("client.pem", &client.certificate_pem())
        .file("client.key", &client.key_pem());
    let pair = json!({"storage": {
        "cert_file": builder.path("client.pem"), "key_file": builder.path("client.key"),
    }});
    let gateway = builder.config(with(redis.configuration(), pair)).start();
    let stores = || {
        let mut found = links(&gateway, "?kind=redis");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    let up = stores();
    assert_eq!(
        (&up["state"], &up["settings"], &up["tls"]),
        (&json!("connected"), &json!("storage"), &json!(true)),
        "{up}"
    );
    assert_eq!(up["address"], format!("127.0.0.1:{}", redis.port()));
    assert_eq!(
        up["verification"],
        json!({"chain": true, "name": true, "authorities": 1})
    );
    assert_eq!(
        up["peer"]["fingerprint"],
        certs::fingerprint(&certs::localhost().certificate)
    );
    assert_eq!(up["own"]["subject"], "CN=gateway");
    // What its library does not tell is left out.
    assert_eq!((up.get("negotiated"), up["own"].get("shown")), (None, None));

    redis.kill();
    eventually("the outage is noticed", || stores()["state"] == "failing");
    let reason = stores()["last_error"]["reason"].to_string();
    assert!(reason.contains("cannot connect"), "{reason}");
    redis.revive();
    eventually("it is back", || stores()["state"] == "connected");
}

#[test]
fn services_are_shown_before_they_are_called_and_after_without_what_their_urls_hide() {
    let (echo, user) = (Echo::start("up"), self_signed("good"));
    let receiver = Receiver::tls(demanding(certs::localhost()).build());
    let hook = format!(
        "https://user:hidden@localhost:{}/hook?token=secret",
        receiver.server.address().port()
    );
    let listed = [&user, &expired("over")];
    let client = issued(certs::ca(), "gateway");
    let issuer = Issuer::curve("c");
    let keys = "https://keys.test:8443/secret-path/jwks.json";
    let gateway = Gateway::builder()
        .tls()
        .config(json!({
            "external_services": {"webhooks": {"mtls": {
                "enabled": true, "cert_file": "client.pem", "key_file": "client.key", "ca_file": "ca.pem",
            }}},
            "security": {"certificate_expiry_monitor": {
                "check_cooldown_seconds": 1, "event_cooldown_seconds": 1,
            }},
        }))
        .file("client.pem", &client.certificate_pem())
        .file("client.key", &client.key_pem())
        .api("a", &watched("a", &echo, &listed, &[webhook(&hook, json!({}))]))
        .api("j", &jwt_api("j", &echo.url(), &issuer, keys))
        .start();
    let unused = link(&gateway, "j", "oauth");
    assert_eq!(
        (&unused["address"], &unused["state"], &unused["settings"]),
        (
            &json!("keys.test:8443"),
            &json!("not_yet_used"),
            &json!("external_services.oauth")
        )
    );
    assert_eq!(link(&gateway, "a", "webhooks")["state"], "not_yet_used");

    use_and_look(&gateway, &user, "/a/");
    receiver.wait(1);
    let called = link(&gateway, "a", "webhooks");
    assert_eq!(called["state"], "connected", "{called}");
    assert_eq!(called["peer"]["subject"], "CN=localhost");
    assert_eq!(
        (&called["own"]["subject"], &called["own"]["shown"]),
        (&json!("CN=gateway"), &json!(true))
    );
    assert_eq!(
        called["verification"],
        json!({"chain": true, "name": true, "authorities": 1})
    );
    let page = gateway.control("/tyk/links").expect(200).text();
    for secret in ["hidden", "token=secret", "secret-path", "user"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
}

#[test]
fn the_verb_prints_a_table_that_marks_what_ends_and_what_failed() {
    let short = make_server(certs::ca(), &["localhost"], Algorithm::P256, 5).expect("a pair");
    let mut settings = acceptor(&short);
    settings
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .expect("a version");
    let ending = Upstream::start_tls(settings.build(), echo);
    let port = free_port();
    let gateway = trusting()
        .api(
            "ending",
            &leading("ending", &secure_url(&ending), json!({})),
        )
        .api(
            "down",
            &leading("down", &format!("https://localhost:{port}"), json!({})),
        )
        .start();
    assert_eq!(status(&gateway, "ending"), 200);
    assert_eq!(status(&gateway, "down"), 500);
    let table = printed(&gateway, "");
    let line = |part: &str| {
        let found = table.lines().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part} in {table}"))
    };
    let head = line("STATE");
    assert!(
        head.contains("PEER") && head.contains("OWN CERTIFICATE"),
        "{table}"
    );
    let ending_at = format!("localhost:{}", ending.address().port());
    let row = line(&ending_at);
    for part in [
        "connected",
        "upstream",
        "ending",
        "TLSv1.2",
        "chain and name, by 1",
        "CN=localhost, ",
    ] {
        assert!(row.contains(part), "{part} in {row}");
    }
    let mark = line(&format!("! upstream {ending_at}: its certificate ends in "));
    assert!(mark.ends_with("days: renew it"), "{mark}");
    let failed = line(&format!("upstream localhost:{port}, failed at "));
    assert!(failed.contains("cannot connect"), "{failed}");

    let all: Value = serde_json::from_str(&printed(&gateway, "--json")).expect("JSON");
    assert_eq!(all["links"].as_array().map(Vec::len), Some(2));
    let one: Value = serde_json::from_str(&printed(&gateway, "--json --api down --kind upstream"))
        .expect("JSON");
    assert_eq!(one["links"][0]["state"], "failing");
    let wrong = links_command(&gateway, "--kind nonsense");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(5), "{said}");
    assert!(
        said.contains("kind must be one of upstream, proxy, redis"),
        "{said}"
    );
}

/// As its siblings.
#[test]
fn the_secret_is_needed_and_nobody_else_is_told_anything() {
    let gateway = Gateway::builder().start();
    let answer = gateway.curl().send(&gateway.url("/tyk/links")).expect(403);
    assert!(
        answer.text().contains("invalid or missing key"),
        "{}",
        answer.text()
    );
    let wrong = program::command(&["links", "--gateway", &gateway.url("")])
        .env("PORTCULLIS_SECRET", "not it")
        .output()
        .expect("the program runs");
    assert_eq!(wrong.status.code(), Some(5));
    assert_eq!(
        gateway.control("/tyk/links").expect(200).json(),
        json!({"links": []})
    );
}
