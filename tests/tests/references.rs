//! References to values kept elsewhere: environment, files, Vault and Consul.
//!
//! Vault and Consul are stood in for by a server that speaks their HTTP APIs as documented: paths,
//! tokens, statuses, bodies.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use openssl::ssl::{SslAcceptor, SslVerifyMode};
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client};
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, SECRET, api, with},
    upstream::{Talk, Upstream, acceptor},
    wire::Message,
};
use serde_json::{Value, json};

/// What a stand-in for Vault and Consul says.
#[derive(Default)]
struct Kept {
    /// Vault: path behind `/v1/`, and the whole answer.
    vault: BTreeMap<String, Value>,
    /// Consul: key to value.
    consul: BTreeMap<String, String>,
    mood: Mood,
}

/// How it behaves.
#[derive(Default, Clone, Copy, PartialEq)]
enum Mood {
    #[default]
    Serving,
    Sealed,
    Confused,
    Silent,
}

/// Such a server.
struct Store {
    server: Upstream,
    kept: Arc<Mutex<Kept>>,
}

const TOKEN: &str = "the token of the tests";

impl Store {
    fn start() -> Self {
        Self::behind(Upstream::start)
    }

    /// One that speaks TLS.
    fn start_tls(acceptor: SslAcceptor) -> Self {
        Self::behind(|script| Upstream::start_tls(acceptor, script))
    }

    fn behind(start: impl FnOnce(Box<dyn Fn(&mut Talk) + Send + Sync>) -> Upstream) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let shared = kept.clone();
        let server = start(Box::new(move |talk: &mut Talk| {
            while let Some(request) = talk.request() {
                if !answer(&shared, talk, &request) {
                    return;
                }
            }
        }));
        Self { server, kept }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is(&self, mood: Mood) {
        self.with(|kept| kept.mood = mood);
    }

    /// Puts a secret where version 2 of the engine at `secret` has it.
    fn put(&self, path: &str, fields: &Value) {
        let path = format!("secret/data/{path}");
        let answer = json!({"data": {"data": fields, "metadata": {"version": 1}}});
        self.with(|kept| kept.vault.insert(path, answer));
    }

    fn vault(&self) -> Value {
        json!({"kv": {"vault": {"address": self.server.url(), "token": TOKEN, "timeout": "2s"}}})
    }

    fn consul(&self) -> Value {
        json!({"kv": {"consul": {"address": self.server.address().to_string(), "scheme": "http", "token": TOKEN}}})
    }
}

fn field<'m>(request: &'m Message, name: &str) -> Option<&'m str> {
    let mut fields = request.fields.iter();
    fields
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Answers one request; false ends the connection.
fn answer(kept: &Mutex<Kept>, talk: &mut Talk, request: &Message) -> bool {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let target = request.start.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches("/v1/");
    let of_consul = path.strip_prefix("kv/");
    let token = field(
        request,
        if of_consul.is_some() {
            "X-Consul-Token"
        } else {
            "X-Vault-Token"
        },
    );
    let (status, body) = match (kept.mood, of_consul) {
        (Mood::Silent, _) => {
            drop(kept);
            talk.stall();
            return false;
        }
        (Mood::Sealed, _) => (503, json!({"errors": ["Vault is sealed"]}).to_string()),
        (Mood::Confused, _) => (200, "<html>hello".to_owned()),
        _ if token != Some(TOKEN) => (403, json!({"errors": ["permission denied"]}).to_string()),
        (_, None) => match kept.vault.get(path) {
            Some(answer) => (200, answer.to_string()),
            None => (404, json!({"errors": []}).to_string()),
        },
        (_, Some(key)) if query.contains("recurse") => {
            let below = kept.consul.iter().filter(|(name, _)| name.starts_with(key));
            let list: Vec<Value> = below
                .map(|(name, value)| json!({"Key": name, "Value": openssl::base64::encode_block(value.as_bytes())}))
                .collect();
            match list.is_empty() {
                true => (404, String::new()),
                false => (200, Value::from(list).to_string()),
            }
        }
        (_, Some(key)) => match kept.consul.get(key) {
            Some(value) => (200, value.clone()),
            None => (404, String::new()),
        },
    };
    let length = body.len();
    talk.try_send(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
    .is_ok()
}

/// The status of a Control API call with this secret.
fn control(gateway: &Gateway, secret: &str) -> u16 {
    let call = gateway.curl().header("X-Tyk-Authorization", secret);
    call.send(&gateway.url("/tyk/apis")).status
}

#[test]
fn the_secret_comes_from_vault_of_both_versions_and_from_consul() {
    let store = Store::start();
    store.put("tyk", &json!({"gw": "from vault"}));
    store.with(|kept| {
        kept.vault.insert(
            "old/tyk".to_owned(),
            json!({"data": {"gw": "from version 1"}}),
        );
        kept.consul
            .insert("gateways/one".to_owned(), "from consul".to_owned());
    });
    for (text, more, value) in [
        ("vault://secret/tyk.gw", store.vault(), "from vault"),
        (
            "vault://old/tyk.gw",
            with(store.vault(), json!({"kv": {"vault": {"kv_version": 1}}})),
            "from version 1",
        ),
        ("consul://gateways/one", store.consul(), "from consul"),
        (
            "kv://mine/secret/tyk#gw",
            json!({"kv": {"stores": {"mine": {"type": "hashicorp_vault", "required": true,
                "config": {"address": store.server.url(), "token": TOKEN}}}}}),
            "from vault",
        ),
    ] {
        // The probe of a required store.
        store.with(|kept| {
            kept.vault
                .insert("sys/health".to_owned(), json!({"sealed": false}))
        });
        let gateway = Gateway::builder()
            .config(more)
            .config(json!({"secret": text}))
            .start();
        assert_eq!(control(&gateway, value), 200, "{text}");
        assert_eq!(
            control(&gateway, text),
            403,
            "the reference is not the secret: {text}"
        );
        assert!(
            !gateway.log().text().contains(value),
            "{}",
            gateway.log().text()
        );
    }
}

#[test]
fn a_secret_that_is_not_to_be_had_stops_the_start_and_says_why() {
    let store = Store::start();
    store.put("tyk", &json!({"gw": "from vault"}));
    let fail = |text: &str, more: Value| {
        let ended = Gateway::builder()
            .config(store.vault())
            .config(json!({"kv": {"vault": {"max_retries": 1, "timeout": "900ms"}}}))
            .config(more)
            .config(json!({"secret": text}))
            .fail();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(
            ended.log.contains("`secret`") && ended.log.contains(text),
            "{}",
            ended.log
        );
        assert!(
            !ended.log.contains(TOKEN) && !ended.log.contains("from vault"),
            "{}",
            ended.log
        );
        ended.log
    };
    let url = store.server.url();
    let told = fail("vault://secret/none.gw", json!({}));
    assert!(
        told.contains(&format!("{url} has no `v1/secret/data/none`")),
        "{told}"
    );
    let told = fail("vault://secret/tyk.none", json!({}));
    assert!(told.contains("field `none`"), "{told}");
    let told = fail(
        "vault://secret/tyk.gw",
        json!({"kv": {"vault": {"token": "another"}}}),
    );
    assert!(
        told.contains(&format!("refused by {url} (403): permission denied")),
        "{told}"
    );
    for (mood, reason) in [
        (Mood::Sealed, "answers 503: Vault is sealed"),
        (Mood::Confused, "something else than the JSON of a secret"),
        (Mood::Silent, "did not answer within 0.9 s"),
    ] {
        store.is(mood);
        let told = fail("vault://secret/tyk.gw", json!({}));
        assert!(told.contains(&url) && told.contains(reason), "{told}");
    }
    let nobody = format!("127.0.0.1:{}", portcullis_tests::ports::free_port());
    let told = fail(
        "consul://gateways/one",
        json!({"kv": {"consul": {"address": nobody}}}),
    );
    assert!(
        told.contains(&format!("http://{nobody} cannot be reached")),
        "{told}"
    );
}

#[test]
fn server_certificates_come_from_vault_and_from_files() {
    let store = Store::start();
    let (one, other) = (certs::server(&["one.test"]), certs::server(&["other.test"]));
    store.put("tls", &json!({"pem": certs::bundle(&one)}));
    let gateway = Gateway::builder()
        .tls()
        .config(store.vault())
        .config(json!({"http_server_options": {"ssl_certificates": ["vault://secret/tls.pem", "file://other.pem"]}}))
        .file("other.pem", &certs::bundle(&other))
        .start();
    for name in ["one.test", "other.test"] {
        let call = gateway.curl().at(name, gateway.address());
        let answer = call.send(&format!("https://{name}:{}/hello", gateway.port()));
        assert_eq!(answer.status, 200, "{name}: {}", answer.error);
    }
    assert!(!gateway.log().text().contains("PRIVATE KEY"));

    let log = Gateway::builder()
        .tls()
        .config(store.vault())
        .config(json!({"http_server_options": {"ssl_certificates": ["vault://secret/none.pem"]}}))
        .fail()
        .log;
    let told =
        "`http_server_options.ssl_certificates[0]`: `vault://secret/none.pem` leads to nothing";
    assert!(log.contains(told), "{log}");
}

#[test]
fn references_in_a_definition_run_as_their_values_and_are_shown_as_they_are_written() {
    let (store, echo) = (Store::start(), Echo::start("here"));
    store.put(
        "tyk-apis",
        &json!({"target": echo.url(), "deep": {"er": "nested"}}),
    );
    store.with(|kept| {
        kept.consul.insert("tyk-apis/".to_owned(), String::new());
        kept.consul
            .insert("tyk-apis/path".to_owned(), "/by-consul/".to_owned());
    });
    let pair = certs::server(&["own.test"]);
    let definition = with(
        api("env://API_NAME", "consul://path", "vault://target"),
        json!({"api_id": "a", "domain": "own.test", "certificates": ["file://own.pem"],
               "tags": ["secrets://tag", "vault://deep.er", "env://NOT_THERE"]}),
    );
    let gateway = Gateway::builder()
        .tls()
        .config(store.vault())
        .config(store.consul())
        .config(json!({"enable_custom_domains": true, "secrets": {"tag": "t1"}, "kv": {"file": {"base_path": "kv"}}}))
        .environment("API_NAME", "Named \"by\" the environment")
        .file("kv/own.pem", &certs::bundle(&pair))
        .api("a", &definition)
        .start();
    let call = gateway.curl().at("own.test", gateway.address());
    let answer = call.send(&format!("https://own.test:{}/by-consul/x", gateway.port()));
    assert_eq!(answer.status, 200, "{}", answer.error);
    let shown = gateway.control("/tyk/apis/a").text();
    for written in [
        "vault://target",
        "file://own.pem",
        "env://API_NAME",
        "secrets://tag",
    ] {
        assert!(shown.contains(written), "{shown}");
    }
    assert!(
        !shown.contains("PRIVATE KEY") && !shown.contains(&echo.url()),
        "{shown}"
    );
    let told = gateway.wait_log("env://NOT_THERE");
    assert!(
        told.contains("a.json") && told.contains("as it is written"),
        "{told}"
    );
    assert!(!gateway.log().text().contains("PRIVATE KEY"));
}

#[test]
fn a_value_changes_with_a_reload_and_outlives_an_outage_of_its_source() {
    let (store, one, other) = (Store::start(), Echo::start("one"), Echo::start("other"));
    store.put("tyk-apis", &json!({"target": one.url()}));
    let gateway = Gateway::builder()
        .config(store.vault())
        .config(json!({"kv": {"vault": {"max_retries": 1, "timeout": "500ms"}}}))
        .api("a", &api("a", "/a/", "vault://target"))
        .start();
    let names = |name: &str| gateway.get("/a/").text().contains(name);
    assert!(names("one"));
    for mood in [Mood::Sealed, Mood::Silent, Mood::Confused] {
        store.is(mood);
        gateway.reload();
        assert!(names("one"));
    }
    let told = gateway.wait_log("stays in use");
    assert!(
        told.contains("vault://target") && told.contains(&store.server.url()),
        "{told}"
    );
    store.is(Mood::Serving);
    store.put("tyk-apis", &json!({"target": other.url()}));
    gateway.reload();
    assert!(names("other"));
    assert_eq!(control(&gateway, SECRET), 200);
}

/// Listen path and upstream too: what is stored and shown is what was sent, what runs is its value.
#[test]
fn a_definition_may_be_sent_to_the_control_api_with_references_in_any_place() {
    let (store, echo) = (Store::start(), Echo::start("here"));
    store.put("tyk-apis", &json!({"target": echo.url()}));
    store.with(|kept| {
        kept.consul.insert("tyk-apis/".to_owned(), String::new());
        kept.consul
            .insert("tyk-apis/path".to_owned(), "/by-consul/".to_owned());
    });
    let gateway = Gateway::builder()
        .config(store.vault())
        .config(store.consul())
        .start();
    let definition = with(
        api("sent", "consul://path", "vault://target"),
        json!({"api_id": "sent"}),
    );
    let send = |method: &str, path: &str, definition: &Value| {
        let call = gateway.curl().header("X-Tyk-Authorization", SECRET);
        let body = definition.to_string();
        call.arguments(&["-X", method, "--data-raw", &body])
            .send(&gateway.url(path))
    };
    for (method, path) in [("POST", "/tyk/apis"), ("PUT", "/tyk/apis/sent")] {
        let answer = send(method, path, &definition);
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.reload();
        assert_eq!(gateway.get("/by-consul/x").status, 200);
        let shown = gateway.control("/tyk/apis/sent").text();
        assert!(
            shown.contains("vault://target") && shown.contains("consul://path"),
            "{shown}"
        );
        assert!(!shown.contains(&echo.url()), "{shown}");
    }
    let lost = with(
        api("lost", "/lost/", "vault://nothing"),
        json!({"api_id": "lost"}),
    );
    let answer = send("POST", "/tyk/apis", &lost);
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(
        answer.text().contains("vault://nothing"),
        "{}",
        answer.text()
    );
}

#[test]
fn references_in_policies_are_in_force_as_their_values_and_shown_as_they_are_written() {
    let store = Store::start();
    store.put("tyk-apis", &json!({"org": "org-by-vault"}));
    let gateway = Gateway::builder()
        .config(store.vault())
        .config(json!({"policies": {"policy_source": "file", "policy_path": "policies"}}))
        .file(
            "policies/gold.json",
            &json!({"id": "gold", "org_id": "vault://org", "tags": ["vault://none"]}).to_string(),
        )
        .start();
    let shown = gateway.control("/tyk/policies/gold").text();
    assert!(
        shown.contains("vault://org") && !shown.contains("org-by-vault"),
        "{shown}"
    );
    let told = gateway.wait_log("vault://none");
    assert!(
        told.contains("gold.json") && told.contains("as it is written"),
        "{told}"
    );
}

#[test]
fn a_certificate_for_an_upstream_may_be_a_reference() {
    let store = Store::start();
    store.put("tls", &json!({"pem": "from vault"}));
    let log = Gateway::builder()
        .config(store.vault())
        .config(json!({"security": {"certificates": {"upstream": {"up.test": "vault://secret/none.pem"}}}}))
        .fail()
        .log;
    let told = "`security.certificates.upstream.up.test`: `vault://secret/none.pem`";
    assert!(log.contains(told), "{log}");
}

/// Settings of a TLS server with this certificate, for clients that this authority knows.
fn acceptor_for_clients(pair: &Pair, authority: &Pair) -> SslAcceptor {
    let mut builder = acceptor(pair);
    let known = builder.cert_store_mut();
    known.add_cert(authority.certificate.clone()).unwrap();
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.build()
}

/// What stands in for both, behind TLS, with the secret in its place; and that it leads there.
fn secured_store(acceptor: SslAcceptor) -> Store {
    let store = Store::start_tls(acceptor);
    store.put("tyk", &json!({"gw": "from vault"}));
    store.with(|kept| {
        kept.consul
            .insert("gateways/one".to_owned(), "from consul".to_owned())
    });
    store
}

/// A private authority and a client pair, by the variables of Vault's tools and by `kv.consul.tls_config`
/// as files and as text.
#[test]
fn vault_and_consul_are_asked_over_tls_with_a_client_certificate() {
    let clients = make_ca("Clients of the store", Algorithm::P256, 30).unwrap();
    let client = make_client(&clients, "gateway", Algorithm::P256, 30).unwrap();
    let store = secured_store(acceptor_for_clients(certs::localhost(), &clients));
    let address = store.server.address();
    let files = |builder: portcullis_tests::gateway::Builder| {
        // The older form of a key is as good as PKCS#8.
        let key = client.key.ec_key().unwrap().private_key_to_pem().unwrap();
        builder
            .file("ca.pem", &certs::ca().certificate_pem())
            .file("client.pem", &client.certificate_pem())
            .file("client-key.pem", std::str::from_utf8(&key).unwrap())
    };
    let builder = files(Gateway::builder());
    let path = |name: &str| builder.path(name).to_str().unwrap().to_owned();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client-key.pem"));
    let gateway = builder
        .environment("VAULT_CACERT", &ca)
        .environment("VAULT_CLIENT_CERT", &certificate)
        .environment("VAULT_CLIENT_KEY", &key)
        .config(json!({"kv": {"vault": {"address": format!("https://{address}"), "token": TOKEN}}}))
        .config(json!({"secret": "vault://secret/tyk.gw"}))
        .start();
    assert_eq!(control(&gateway, "from vault"), 200);

    let consul = |tls: Value| {
        json!({"secret": "consul://gateways/one", "kv": {"consul": {"address": address.to_string(),
            "scheme": "https", "token": TOKEN, "tls_config": tls}}})
    };
    let by_text = json!({"ca_pem": certs::ca().certificate_pem(),
        "cert_pem": client.certificate_pem(), "key_pem": client.key_pem()});
    let builder = files(Gateway::builder());
    let path = |name: &str| builder.path(name).to_str().unwrap().to_owned();
    let by_file = json!({"ca_file": path("ca.pem"),
        "cert_file": path("client.pem"), "key_file": path("client-key.pem")});
    for builder in [
        Gateway::builder().config(consul(by_text)),
        builder.config(consul(by_file)),
    ] {
        let gateway = builder.start();
        assert_eq!(control(&gateway, "from consul"), 200);
        assert!(!gateway.log().text().contains("PRIVATE KEY"));
    }
}

/// Each refusal says which check failed; a directory of authorities, another name and no verification
/// at all are ways through.
#[test]
fn a_store_of_values_whose_certificate_does_not_hold_is_not_believed() {
    let store = secured_store(acceptor(&certs::server(&["kv.test"])).build());
    let address = store.server.address();
    let other = make_ca("Another authority", Algorithm::P256, 30).unwrap();
    let consul = |tls: Value| {
        Gateway::builder()
            .file("authorities/ca.pem", &certs::ca().certificate_pem())
            .config(json!({"secret": "consul://gateways/one", "kv": {"consul": {
                "address": address.to_string(), "scheme": "https", "token": TOKEN, "tls_config": tls}}}))
    };
    let vault = || {
        Gateway::builder()
            .config(json!({"secret": "vault://secret/tyk.gw", "kv": {"vault": {
                "address": format!("https://{address}"), "token": TOKEN, "max_retries": 1}}}))
            .file("ca.pem", &certs::ca().certificate_pem())
    };
    let trusted = certs::ca().certificate_pem();
    for (builder, check) in [
        (
            consul(json!({"ca_pem": other.certificate_pem()})),
            "certificate verify failed",
        ),
        (consul(json!({"ca_pem": trusted})), "mismatch"),
        (vault(), "certificate verify failed"),
    ] {
        let log = builder.fail().log;
        assert!(
            log.contains(check)
                && log.contains(&format!("https://{address}"))
                && log.contains("`secret`"),
            "{log}"
        );
        assert!(!log.contains(TOKEN), "{log}");
    }

    let builder = consul(json!({}));
    let directory = builder.path("authorities").to_str().unwrap().to_owned();
    let tls = json!({"ca_path": directory, "address": "kv.test"});
    let builder = builder.config(json!({"kv": {"consul": {"tls_config": tls}}}));
    for (builder, secret) in [
        (builder, "from consul"),
        (consul(json!({"insecure_skip_verify": true})), "from consul"),
        (
            vault().environment("VAULT_SKIP_VERIFY", "true"),
            "from vault",
        ),
    ] {
        assert_eq!(control(&builder.start(), secret), 200);
    }
}
