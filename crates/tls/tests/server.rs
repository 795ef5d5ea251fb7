//! The server side as clients see it: certificates, versions, suites, ALPN, resumption.

mod support;

use std::{io::Write, os::unix::net::UnixStream, sync::Arc, thread};

use openssl::ssl::{HandshakeError, SslContextBuilder, SslVersion};
use portcullis_pki::{CertifiedKey, Fingerprint, make::Algorithm};
use portcullis_tls::{
    CipherList, HandshakeFailure, Negotiated, Policies, Policy, ServerConfig, ServerSettings,
    ServingSet, TicketKeys, failure::Reason,
};
use support::*;

fn server(settings: ServerSettings) -> ServerConfig {
    ServerConfig::new(settings).unwrap()
}

/// A client of one version with these suites (in the library's notation).
fn tls12(suites: &str) -> SslContextBuilder {
    let mut context = client();
    context
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    context.set_cipher_list(suites).unwrap();
    context
}

fn refusal(server: &ServerConfig, context: SslContextBuilder, host: &str) -> (Reason, Option<i32>) {
    let (ours, theirs) = handshake(server.session().unwrap(), to(context, host));
    let ours = HandshakeFailure::of(ours.err().unwrap().error());
    (
        ours.reason,
        theirs.err().and_then(|failed| alert(failed.error())),
    )
}

// --- certificates ---------------------------------------------------------------------------

/// IN-1 and, for the library, IN-7 and IN-8: no certificate, alert 112 in either version.
#[test]
fn without_a_certificate_every_handshake_ends_with_unrecognized_name() {
    let server = server(with(ServingSet::default()));
    for host in ["localhost", ""] {
        assert_eq!(
            refusal(&server, client(), host),
            (Reason::UnrecognizedName, Some(112))
        );
        assert_eq!(
            refusal(&server, tls12("ECDHE+AESGCM"), host),
            (Reason::UnrecognizedName, Some(112))
        );
    }
}

#[test]
fn a_single_certificate_serves_every_name() {
    let server = server(settings());
    for host in ["localhost", "other.test", ""] {
        assert_eq!(served(&server, client(), host), "localhost");
    }
}

#[test]
fn exact_names_win_over_wildcards_and_a_wildcard_covers_one_label() {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::P256, &["default.test"]));
    set.listed(certified(Algorithm::P256, &["*.example.com"]));
    set.listed(certified(Algorithm::P256, &["api.example.com"]));
    let server = server(with(set.build()));
    let served = |host: &str| served(&server, client(), host);
    assert_eq!(served("api.example.com"), "api.example.com");
    assert_eq!(served("API.Example.COM"), "api.example.com");
    assert_eq!(served("www.example.com"), "*.example.com");
    assert_eq!(served("a.b.example.com"), "default.test");
    assert_eq!(served("example.com"), "default.test");
    assert_eq!(served(""), "default.test");
}

#[test]
fn a_domain_name_overrides_names_of_certificates_and_apis_override_both() {
    let mut set = ServingSet::builder();
    let pair = certified(Algorithm::P256, &["pair.test"]);
    set.pair("Www.Test.", pair.clone());
    set.pair("*.wild.test", pair);
    set.listed(certified(
        Algorithm::P256,
        &["www.test", "api.test", "listed.test"],
    ));
    set.of_api(certified(Algorithm::P256, &["api.test"]));
    let server = server(with(set.build()));
    let served = |host: &str| served(&server, client(), host);
    assert_eq!(served("www.test"), "pair.test");
    assert_eq!(served("x.wild.test"), "pair.test");
    assert_eq!(served("listed.test"), "www.test");
    assert_eq!(served("api.test"), "api.test");
    assert_eq!(served("unknown.test"), "pair.test");
}

#[test]
fn an_empty_domain_name_is_for_clients_that_name_no_host() {
    let mut set = ServingSet::builder();
    set.pair("a.test", certified(Algorithm::P256, &["a.test"]));
    set.pair("", certified(Algorithm::P256, &["nameless.test"]));
    let server = server(with(set.build()));
    assert_eq!(served(&server, client(), ""), "nameless.test");
    assert_eq!(served(&server, client(), "b.test"), "a.test");
}

/// IN-9, the certificate of an API alone.
#[test]
fn the_certificate_of_an_api_is_served_without_any_of_the_gateway() {
    let mut set = ServingSet::builder();
    set.of_api(certified(Algorithm::Rsa2048, &["api.test"]));
    let server = server(with(set.build()));
    assert_eq!(
        served(&server, tls12("ECDHE-RSA-AES128-GCM-SHA256"), "api.test"),
        "api.test"
    );
}

#[test]
fn rsa_and_ecdsa_for_one_name_are_chosen_by_what_the_client_can_do() {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::P256, &["both.test", "ecdsa"]));
    set.listed(certified(Algorithm::Rsa2048, &["both.test", "rsa"]));
    let server = server(with(set.build()));
    let suite = |context| negotiated(&server, to(context, "both.test")).cipher;
    assert_eq!(
        suite(tls12("ECDHE-RSA-AES128-GCM-SHA256")),
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    );
    assert_eq!(
        suite(tls12(
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
        )),
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    );
    let key_of = |context| {
        let (_, client) = connect(&server, to(context, "both.test"));
        let key = client
            .ssl()
            .peer_certificate()
            .unwrap()
            .public_key()
            .unwrap();
        portcullis_pki::KeyKind::of(&key)
    };
    assert_eq!(
        key_of(verifying(&[0x0804])),
        portcullis_pki::KeyKind::Rsa { bits: 2048 }
    );
    assert_eq!(key_of(client()), portcullis_pki::KeyKind::EcdsaP256);
}

#[test]
fn a_client_that_names_no_host_gets_the_first_certificate_it_can_verify() {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::P256, &["ecdsa.test"]));
    set.listed(certified(Algorithm::Rsa2048, &["rsa.test"]));
    let server = server(with(set.build()));
    assert_eq!(
        served(&server, tls12("ECDHE-RSA-AES128-GCM-SHA256"), ""),
        "rsa.test"
    );
    assert_eq!(served(&server, client(), ""), "ecdsa.test");
}

#[test]
fn a_hit_is_final_even_when_the_client_cannot_use_it() {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::P256, &["ecdsa.test"]));
    set.listed(certified(Algorithm::Rsa2048, &["rsa.test"]));
    let server = server(with(set.build()));
    assert_eq!(
        refusal(&server, tls12("ECDHE-RSA-AES128-GCM-SHA256"), "ecdsa.test"),
        (Reason::NoSharedCipher, Some(40))
    );
}

#[test]
fn ed25519_certificates_are_served_to_clients_that_verify_them() {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::Ed25519, &["ed.test"]));
    let server = server(with(set.build()));
    assert_eq!(served(&server, verifying(&[0x0807]), "ed.test"), "ed.test");
    let (ours, _) = handshake(server.session().unwrap(), to(client(), "ed.test"));
    let failure = HandshakeFailure::of(ours.err().unwrap().error());
    assert_eq!(failure.reason, Reason::NoSharedCipher);
}

#[test]
fn the_whole_chain_is_sent_in_order() {
    use portcullis_pki::make::{make_ca, make_server};
    let ca = make_ca("Chain CA", Algorithm::P256, 30).unwrap();
    let leaf = make_server(&ca, &["chain.test"], Algorithm::P256, 30).unwrap();
    let text = format!(
        "{}{}{}",
        leaf.certificate_pem(),
        ca.certificate_pem(),
        leaf.key_pem()
    );
    let mut set = ServingSet::builder();
    set.listed(Arc::new(portcullis_pki::load(&text, None).unwrap().pair));
    let (_, client) = connect(&server(with(set.build())), to(client(), "chain.test"));
    let chain = client.ssl().peer_cert_chain().unwrap();
    let ders: Vec<_> = chain.iter().map(|c| c.to_der().unwrap()).collect();
    assert_eq!(
        ders,
        [
            leaf.certificate.to_der().unwrap(),
            ca.certificate.to_der().unwrap()
        ]
    );
}

#[test]
fn thousands_of_certificates_make_their_contexts_on_demand() {
    let mut set = ServingSet::builder();
    let some: Vec<_> = (0..50)
        .map(|n| certified(Algorithm::P256, &[&format!("host{n}.test")]))
        .collect();
    for key in some.iter().cycle().take(10_000) {
        set.listed(key.clone());
    }
    let server = server(with(set.build()));
    assert_eq!(served(&server, client(), "host49.test"), "host49.test");
}

// --- versions and suites --------------------------------------------------------------------

#[test]
fn versions_are_those_configured() {
    let spoken = |max, context| {
        let settings = ServerSettings {
            versions: versions(771, max),
            ..settings()
        };
        negotiated(&server(settings), to(context, "localhost")).version
    };
    assert_eq!(spoken(771, client()), "TLSv1.2");
    assert_eq!(spoken(772, client()), "TLSv1.3");
    assert_eq!(spoken(772, tls12("ECDHE+AESGCM")), "TLSv1.2");
}

#[test]
fn a_client_without_a_common_version_gets_alert_70() {
    let newest = ServerSettings {
        versions: versions(772, 772),
        ..settings()
    };
    assert_eq!(
        refusal(&server(newest), tls12("ECDHE+AESGCM"), "localhost"),
        (Reason::ProtocolVersion, Some(70))
    );
    let mut old = client();
    old.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
    old.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    assert_eq!(
        refusal(&server(settings()), old, "localhost"),
        (Reason::ProtocolVersion, Some(70))
    );
}

fn restricted(names: &[&str]) -> ServerConfig {
    let versions = versions(771, 772);
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::Rsa2048, &["localhost"]));
    let ciphers = CipherList::resolve(names, versions).unwrap().0;
    server(ServerSettings {
        ciphers,
        ..with(set.build())
    })
}

const CASE_86: [&str; 3] = [
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
];

/// IN-86
#[test]
fn a_named_suite_that_the_client_offers_is_used() {
    let agreed = negotiated(
        &restricted(&CASE_86),
        to(
            tls12("ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256"),
            "localhost",
        ),
    );
    assert_eq!(agreed.cipher, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA");
}

/// IN-87
#[test]
fn a_client_with_other_suites_gets_handshake_failure() {
    assert_eq!(
        refusal(
            &restricted(&CASE_86),
            tls12("ECDHE-RSA-CHACHA20-POLY1305"),
            "localhost"
        ),
        (Reason::NoSharedCipher, Some(40))
    );
}

/// IN-88
#[test]
fn lower_case_and_short_names_reach_the_handshake() {
    let server = restricted(&["tls_ecdhe_rsa_with_chacha20_poly1305"]);
    let agreed = negotiated(&server, to(tls12("ALL"), "localhost"));
    assert_eq!(agreed.cipher, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256");
}

#[test]
fn rsa_key_transport_and_3des_work_only_when_named() {
    for (suite, library) in [
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"),
    ] {
        let agreed = negotiated(&restricted(&[suite]), to(tls12(library), "localhost"));
        assert_eq!(agreed.cipher, suite);
        assert_eq!(agreed.group, None);
        assert_eq!(
            refusal(&restricted(&[]), tls12(library), "localhost"),
            (Reason::NoSharedCipher, Some(40))
        );
    }
}

#[test]
fn the_list_never_restricts_tls13_and_a_list_for_tls13_alone_leaves_tls12_nothing() {
    let server = restricted(&["TLS_AES_256_GCM_SHA384"]);
    let agreed = negotiated(&server, to(client(), "localhost"));
    assert_eq!(
        (agreed.version, agreed.cipher),
        ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    );
    assert_eq!(
        refusal(&server, tls12("ALL"), "localhost"),
        (Reason::NoSharedCipher, Some(40))
    );
}

#[test]
fn the_server_prefers_by_its_own_order() {
    let agreed = negotiated(
        &restricted(&[]),
        to(
            tls12("ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"),
            "localhost",
        ),
    );
    assert_eq!(agreed.cipher, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
}

// --- groups ---------------------------------------------------------------------------------

#[test]
fn the_hybrid_group_is_used_with_tls13_and_x25519_without_it() {
    let server = server(settings());
    let group = |list: &str| {
        let mut context = client();
        context.set_groups_list(list).unwrap();
        negotiated(&server, to(context, "localhost")).group
    };
    assert_eq!(group("X25519MLKEM768:X25519"), Some("X25519MLKEM768"));
    assert_eq!(group("X25519:P-256"), Some("X25519"));
    assert_eq!(group("P-384"), Some("P-384"));
}

#[test]
fn a_key_share_that_came_along_is_taken_without_another_round_trip() {
    // This client sends a share for P-256 only and knows X25519, which we prefer.
    let mut context = client();
    context.set_groups_list("P-256:X25519").unwrap();
    let agreed = negotiated(&server(settings()), to(context, "localhost"));
    assert_eq!(agreed.group, Some("P-256"));
}

// --- ALPN -----------------------------------------------------------------------------------

fn alpn(context: SslContextBuilder, list: &[u8]) -> SslContextBuilder {
    let mut context = context;
    context.set_alpn_protos(list).unwrap();
    context
}

/// IN-91 for the TLS part.
#[test]
fn h2_is_agreed_on_when_offered_and_only_when_switched_on() {
    let on = server(ServerSettings {
        http2: true,
        ..settings()
    });
    let off = server(settings());
    for list in [&b"\x02h2\x08http/1.1"[..], b"\x08http/1.1\x02h2", b"\x02h2"] {
        assert!(negotiated(&on, to(alpn(client(), list), "localhost")).http2);
        assert!(!negotiated(&off, to(alpn(client(), list), "localhost")).http2);
    }
    let (_, client) = connect(&on, to(alpn(client(), b"\x08http/1.1"), "localhost"));
    assert_eq!(client.ssl().selected_alpn_protocol(), None);
    assert!(!negotiated(&on, to(support::client(), "localhost")).http2);
}

#[test]
fn neither_h2_nor_http11_ends_with_alert_120() {
    let on = server(ServerSettings {
        http2: true,
        ..settings()
    });
    assert_eq!(
        refusal(&on, alpn(client(), b"\x06spdy/3"), "localhost"),
        (Reason::NoApplicationProtocol, Some(120))
    );
}

#[test]
fn h2_is_not_chosen_with_a_suite_it_prohibits_unless_nothing_else_is_offered() {
    let on = server(ServerSettings {
        http2: true,
        ..settings()
    });
    let cbc = || tls12("ECDHE-ECDSA-AES128-SHA");
    let both = negotiated(&on, to(alpn(cbc(), b"\x02h2\x08http/1.1"), "localhost"));
    assert!(!both.http2 && !both.http2_prohibited);
    let only = negotiated(&on, to(alpn(cbc(), b"\x02h2"), "localhost"));
    assert!(only.http2 && only.http2_prohibited);
    let gcm = tls12("ECDHE-ECDSA-AES128-GCM-SHA256");
    let good = negotiated(&on, to(alpn(gcm, b"\x02h2\x08http/1.1"), "localhost"));
    assert!(good.http2 && !good.http2_prohibited);
}

// --- resumption -----------------------------------------------------------------------------

/// Whether a session made with `first` for one host is resumed by `second` for another.
fn resumes(first: (&ServerConfig, &str), second: (&ServerConfig, &str), max: SslVersion) -> bool {
    let (mut context, sessions) = remembering_client();
    context.set_max_proto_version(Some(max)).unwrap();
    let (mut ours, mut theirs) = connect(first.0, to(context, first.1));
    say_hello(&mut ours, &mut theirs);
    let sessions = sessions.lock().unwrap();
    let session = sessions.last().expect("a ticket");
    let mut context = client();
    context.set_max_proto_version(Some(max)).unwrap();
    let mut ssl = to(context, second.1);
    #[expect(
        unsafe_code,
        reason = "the safe API cannot know that the contexts agree"
    )]
    // SAFETY: the session was made by a context of the same method.
    unsafe {
        ssl.set_session(session).unwrap();
    }
    let (ours, theirs) = connect(second.0, ssl);
    assert_eq!(ours.ssl().session_reused(), theirs.ssl().session_reused());
    Negotiated::of(ours.ssl()).resumed
}

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn two_hosts(policies: Policies) -> ServerSettings {
    let mut set = ServingSet::builder();
    set.listed(certified(Algorithm::P256, &["a.test"]));
    set.listed(certified(Algorithm::P256, &["b.test"]));
    ServerSettings {
        policies,
        ..with(set.build())
    }
}

#[test]
fn a_session_is_resumed_also_after_a_reload_and_a_rotation_of_keys() {
    for version in VERSIONS {
        let before = server(settings());
        let tickets = before.settings().tickets.clone();
        let after = server(ServerSettings {
            tickets,
            ..settings()
        });
        assert!(resumes(
            (&before, "localhost"),
            (&before, "localhost"),
            version
        ));
        let later = std::time::SystemTime::now() + portcullis_tls::tickets::ROTATION;
        assert!(after.settings().tickets.rotate(later).unwrap());
        assert!(resumes(
            (&before, "localhost"),
            (&after, "localhost"),
            version
        ));
    }
}

#[test]
fn without_rotation_of_keys_there_are_no_tickets() {
    let tickets = TicketKeys::rotated(std::time::SystemTime::now(), None).unwrap();
    let server = server(ServerSettings {
        tickets: tickets.into(),
        ..settings()
    });
    for version in VERSIONS {
        let (mut context, sessions) = remembering_client();
        context.set_max_proto_version(Some(version)).unwrap();
        let (mut ours, mut theirs) = connect(&server, to(context, "localhost"));
        say_hello(&mut ours, &mut theirs);
        assert!(sessions.lock().unwrap().is_empty(), "{version:?}");
    }
}

#[test]
fn a_session_of_another_gateway_gets_a_full_handshake() {
    for version in VERSIONS {
        let (one, other) = (server(settings()), server(settings()));
        assert!(!resumes(
            (&one, "localhost"),
            (&other, "localhost"),
            version
        ));
    }
}

#[test]
fn a_session_is_resumed_for_another_host_of_the_same_policy_only() {
    let mut policies = Policies::open();
    policies.host(
        "b.test",
        Policy {
            partition: "guarded".into(),
            ..Policy::open()
        },
    );
    let (same, split) = (
        server(two_hosts(Policies::open())),
        server(two_hosts(policies)),
    );
    for version in VERSIONS {
        assert!(resumes((&same, "a.test"), (&same, "b.test"), version));
        assert!(resumes((&split, "b.test"), (&split, "B.test"), version));
        assert!(!resumes((&split, "a.test"), (&split, "b.test"), version));
        assert!(!resumes((&split, "b.test"), (&split, "a.test"), version));
        // The same ticket keys, but the policy of the host changed with a reload.
        let reloaded = server(ServerSettings {
            tickets: same.settings().tickets.clone(),
            ..two_hosts(split.settings().policies.clone())
        });
        assert!(resumes((&same, "a.test"), (&reloaded, "a.test"), version));
        assert!(!resumes((&same, "b.test"), (&reloaded, "b.test"), version));
    }
}

#[test]
fn one_ticket_follows_a_handshake_of_tls13() {
    let (context, sessions) = remembering_client();
    let (mut ours, mut theirs) = connect(&server(settings()), to(context, "localhost"));
    say_hello(&mut ours, &mut theirs);
    assert_eq!(sessions.lock().unwrap().len(), 1);
}

// --- outcomes -------------------------------------------------------------------------------

#[test]
fn a_connection_reports_what_was_agreed_on() {
    let agreed = negotiated(&server(settings()), to(client(), "LocalHost"));
    assert_eq!(agreed.server_name.as_deref(), Some("LocalHost"));
    assert_eq!(agreed.version, "TLSv1.3");
    assert!(!agreed.resumed);
    assert_eq!(
        negotiated(&server(settings()), to(client(), "")).server_name,
        None
    );
}

/// What the server makes of raw bytes.
fn spoken_to(bytes: &[u8]) -> HandshakeFailure {
    let server = server(settings());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || match server.session().unwrap().accept(ours) {
        Err(HandshakeError::Failure(failed)) => HandshakeFailure::of(failed.error()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("that was no handshake"),
    });
    theirs.write_all(bytes).unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    serving.join().unwrap()
}

#[test]
fn failures_have_a_reason_of_a_closed_set() {
    assert_eq!(
        spoken_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").reason,
        Reason::PlainHttp
    );
    assert_eq!(
        spoken_to(b"\x16\x03\x01\x00\x05hello").reason,
        Reason::BadRecord
    );
    assert_eq!(
        spoken_to(b"SSH-2.0-OpenSSH_9.6\r\n").reason,
        Reason::BadRecord
    );
    assert_eq!(spoken_to(b"").reason, Reason::Eof);
    assert_eq!(spoken_to(b"\x16\x03\x01").reason, Reason::Eof);
}

#[test]
fn a_client_that_does_not_trust_us_is_reported_with_its_alert() {
    let mut context = client();
    context.set_verify(openssl::ssl::SslVerifyMode::PEER);
    let (ours, theirs) = handshake(
        server(settings()).session().unwrap(),
        to(context, "localhost"),
    );
    assert!(theirs.is_err());
    // In TLS 1.3 the alert arrives after our side is done, with the first read.
    let failure = match ours {
        Err(failed) => HandshakeFailure::of(failed.error()),
        Ok(mut stream) => HandshakeFailure::of(&stream.ssl_read(&mut [0]).unwrap_err()),
    };
    assert_eq!(failure.reason, Reason::ClientAlert(48));
    assert_eq!(
        failure.to_string(),
        "the client refused with alert unknown_ca (48)"
    );
}

/// An update of one certificate, as the control side makes it.
#[test]
fn a_replaced_certificate_is_shown_and_connections_made_before_finish_under_the_old() {
    let names = ["a.test", "b.test", "c.test"].map(|name| certified(Algorithm::P256, &[name]));
    let mut set = ServingSet::builder();
    for key in &names {
        set.listed(key.clone());
    }
    let before = server(with(set.build()));
    let waiting = before.session().unwrap();
    let renewed = certified(Algorithm::P256, &["b.test"]);
    let after = before
        .with_certificates(&[(1, Some(renewed.clone())), (2, None)])
        .unwrap();

    assert!(shows(&after, "a.test", &names[0]));
    assert!(shows(&after, "b.test", &renewed));
    assert!(shows(&after, "c.test", &names[0]));
    let (_, client) = handshake(waiting, to(client(), "b.test"));
    let shown = client.unwrap().ssl().peer_certificate().unwrap();
    assert_eq!(
        Fingerprint::of(&shown).unwrap(),
        names[1].facts().fingerprint
    );
}

fn shows(server: &ServerConfig, host: &str, key: &CertifiedKey) -> bool {
    let (_, client) = handshake(server.session().unwrap(), to(client(), host));
    let shown = client.unwrap().ssl().peer_certificate().unwrap();
    Fingerprint::of(&shown).unwrap() == key.facts().fingerprint
}
