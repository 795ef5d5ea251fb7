//! Tokens that are bound to client certificates (RFC 8705, section 3): worth nothing to whoever lacks the
//! certificate's key.

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs::fingerprint,
    echo::Echo,
    gateway::{Builder, Gateway, with},
    jwt::{Issuer, base64url, claims, jwt_api, policy},
    mtls::{Outcome, authority, call, expired, issued, self_signed},
    revoker::Revoker,
    wait::eventually,
};
use serde_json::{Value, json};

const REFUSED: &str = "Key not authorized: token is bound to another client certificate";
const UNKNOWN: &str = "Key not authorized: token is bound to a key that cannot be verified here";

fn thumbprint(pair: &Pair) -> Value {
    let digits = fingerprint(&pair.certificate);
    let bytes: Vec<u8> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
        .collect();
    json!({"cnf": {"x5t#S256": base64url(&bytes)}})
}

/// A gateway to be, whose API `j` takes tokens, with what `more` says of it.
fn builder(echo: &Echo, issuer: &Issuer, more: Value) -> Builder {
    Gateway::builder()
        .tls()
        .config(json!({"policies": {"policy_path": "policies"}}))
        .file(
            "policies/open.json",
            &policy("open", &["j"], json!({})).to_string(),
        )
        .api(
            "j",
            &with(jwt_api("j", &echo.url(), issuer, &issuer.source()), more),
        )
}

fn asking() -> Value {
    json!({"portcullis": {"certificate_bound_tokens": true}})
}

/// What becomes of a token that comes with a certificate or without.
fn outcome(gateway: &Gateway, token: &str, pair: Option<&Pair>) -> (u16, String) {
    let plain = call(gateway);
    let call = pair.map_or(plain.clone(), |pair| plain.with(&[pair]));
    match call
        .field("Authorization", &format!("Bearer {token}"))
        .get("/j/")
    {
        Outcome::Answer { status: 200, .. } => (200, String::new()),
        Outcome::Answer { status, body } => {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            (status, body["error"].as_str().expect("an error").to_owned())
        }
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_bound_token_passes_with_its_certificate_alone_also_when_it_is_known() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = builder(&echo, &issuer, asking()).start();
    let ca = authority("clients");
    let (own, other, proxied) = (self_signed("own"), self_signed("own"), issued(&ca, "own"));
    let refused = (401, REFUSED.to_owned());
    for pair in [&own, &proxied] {
        let token = issuer.token(&claims("anna", thumbprint(pair)));
        // First without: what is refused first is not remembered as good either.
        assert_eq!(outcome(&gateway, &token, None), refused);
        for _ in 0..2 {
            assert_eq!(outcome(&gateway, &token, Some(pair)), (200, String::new()));
            assert_eq!(outcome(&gateway, &token, Some(&other)), refused);
            assert_eq!(outcome(&gateway, &token, None), refused);
        }
    }
    // Others travel freely.
    let free = issuer.token(&claims("anna", json!({})));
    assert_eq!(outcome(&gateway, &free, None).0, 200);
    assert_eq!(outcome(&gateway, &free, Some(&own)).0, 200);
}

#[test]
fn a_bound_token_is_refused_where_no_certificate_is_asked_for_and_in_the_clear() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let own = self_signed("own");
    let token = issuer.token(&claims("anna", thumbprint(&own)));
    let gateway = builder(&echo, &issuer, json!({})).start();
    assert_eq!(call(&gateway).announced(), None, "nobody asked for one");
    assert_eq!(
        outcome(&gateway, &token, Some(&own)),
        (401, REFUSED.to_owned())
    );
    let asks = builder(&echo, &issuer, asking()).start();
    assert_eq!(call(&asks).announced(), Some(0));
    let clear = builder(&echo, &issuer, asking())
        .config(json!({"http_server_options": {"use_ssl": false}}))
        .start();
    clear.call("/j/", &format!("Bearer {token}")).expect(401);
    assert_eq!(echo.served(), 0);
}

#[test]
fn what_a_token_is_bound_to_is_checked_on_http2_and_in_resumed_sessions() {
    let echo = Echo::start("up");
    let issuer = Issuer::rsa("r");
    let gateway = builder(&echo, &issuer, asking())
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .start();
    let (own, other) = (self_signed("own"), self_signed("other"));
    let token = issuer.token(&claims("anna", thumbprint(&own)));
    for (name, pair) in [("own", &own), ("other", &other)] {
        gateway.write(
            &format!("{name}.pem"),
            &portcullis_tests::certs::bundle(pair),
        );
    }
    let status = |name: &str, protocol: &str| {
        let pem = gateway.path(&format!("{name}.pem"));
        gateway
            .curl()
            .arguments(&[protocol, "--cert", pem.to_str().expect("text")])
            .header("Authorization", &format!("Bearer {token}"))
            .send(&gateway.url("/j/"))
            .status
    };
    for protocol in ["--http2", "--http1.1"] {
        assert_eq!(status("own", protocol), 200, "{protocol}");
        assert_eq!(status("other", protocol), 401, "{protocol}");
    }
    // A ticket stands for the certificate of the handshake that gave it, and for no other.
    let session = gateway.path("session");
    let session = session.to_str().expect("text");
    let request = format!(
        "GET /j/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    for (name, answer) in [("own", "HTTP/1.1 200"), ("other", "HTTP/1.1 401")] {
        let pem = gateway.path(&format!("{name}.pem"));
        let pem = pem.to_str().expect("text");
        let with = [
            "-tls1_2",
            "-servername",
            "localhost",
            "-cert",
            pem,
            "-key",
            pem,
        ];
        let say = |more: [&str; 2]| {
            let arguments = [&with[..], &more[..]].concat();
            portcullis_tests::tls::s_client(gateway.address(), &arguments, &request).text
        };
        let first = say(["-sess_out", session]);
        assert!(first.contains(answer), "{first}");
        let again = say(["-sess_in", session]);
        assert!(again.contains("Reused,"), "{again}");
        assert!(again.contains(answer), "{again}");
    }
}

#[test]
fn a_certificate_outside_its_validity_and_bindings_that_cannot_be_verified_are_refused() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let gateway = builder(&echo, &issuer, asking()).start();
    let over = expired("own");
    let token = issuer.token(&claims("anna", thumbprint(&over)));
    assert_eq!(
        outcome(&gateway, &token, Some(&over)),
        (401, REFUSED.to_owned())
    );
    let own = self_signed("own");
    for cnf in [
        json!({"cnf": {"jkt": "x"}}),
        json!({"cnf": {}}),
        json!({"cnf": {"x5t#S256": "x"}}),
    ] {
        let token = issuer.token(&claims("anna", cnf));
        assert_eq!(
            outcome(&gateway, &token, Some(&own)),
            (401, UNKNOWN.to_owned())
        );
    }
    gateway.wait_log("bound to a key by a method that is not known here");
}

/// An API on the same host whose list has handshakes ask for certificates.
fn listing(echo: &Echo, authority: &Pair) -> Value {
    with(
        portcullis_tests::gateway::api("m", "/m/", &echo.url()),
        json!({"use_mutual_tls_auth": true, "client_certificates": [authority.certificate_pem()]}),
    )
}

/// The list of an authority, with its certificate: no allow list of the API names it.
fn list(authority: &Pair, revoker: &Revoker) -> String {
    authority.certificate_pem() + &revoker.list()
}

/// RFC 8705 together with revocation lists: a token is worth no more than the certificate it is bound to,
/// whichever API had the handshake ask for that.
#[test]
fn a_token_bound_to_a_certificate_that_is_revoked_opens_nothing_also_when_it_is_known() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let ca = authority("clients");
    let [stays, leaves] = ["stays", "leaves"].map(|name| issued(&ca, name));
    for more in [asking(), json!({})] {
        let revoker = Revoker::of(&ca);
        let gateway = builder(&echo, &issuer, more)
            .config(json!({"portcullis": {"client_crls": ["ca.crl"]}}))
            .file("ca.crl", &list(&ca, &revoker))
            .api("m", &listing(&echo, &ca))
            .start();
        let [good, gone] =
            [&stays, &leaves].map(|pair| issuer.token(&claims("anna", thumbprint(pair))));
        let known = (200, String::new());
        assert_eq!(outcome(&gateway, &good, Some(&stays)), known);
        assert_eq!(outcome(&gateway, &gone, Some(&leaves)), known);
        gateway.write("ca.crl", &list(&ca, revoker.revoke(&leaves)));
        let revoked = (403, "Certificate has been revoked".to_owned());
        eventually("the list is in force", || {
            outcome(&gateway, &gone, Some(&leaves)) == revoked
        });
        // One that is not known yet is no better.
        let fresh = issuer.token(&claims("bert", thumbprint(&leaves)));
        assert_eq!(outcome(&gateway, &fresh, Some(&leaves)), revoked);
        assert_eq!(outcome(&gateway, &gone, None), (401, REFUSED.to_owned()));
        assert_eq!(outcome(&gateway, &good, Some(&stays)), known);
    }
}

#[test]
fn what_is_open_for_a_bound_token_ends_when_its_certificate_is_revoked() {
    let echo = Echo::start("up");
    let issuer = Issuer::curve("c");
    let ca = authority("clients");
    let own = issued(&ca, "own");
    let revoker = Revoker::of(&ca);
    let gateway = builder(&echo, &issuer, asking())
        .config(json!({"portcullis": {"client_crls": ["ca.crl"]}}))
        .file("ca.crl", &list(&ca, &revoker))
        .start();
    let token = issuer.token(&claims("anna", thumbprint(&own)));
    echo.hold();
    let call = call(&gateway).with(&[&own]);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            call.field("Authorization", &format!("Bearer {token}"))
                .get("/j/held")
        });
        eventually("the upstream has the request", || echo.waiting() > 0);
        gateway.write("ca.crl", &list(&ca, revoker.revoke(&own)));
        gateway.wait_log("open exchange ended");
        let ended = asking.join().expect("it ends well");
        assert!(
            !matches!(ended, Outcome::Answer { status: 200, .. }),
            "{ended:?}"
        );
        echo.release();
    });
}
