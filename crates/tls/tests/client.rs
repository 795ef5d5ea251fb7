//! The client side against servers that are right, wrong and odd; failures as the access log
//! shows them.

mod support;

use std::{io::Write, os::unix::net::UnixStream, sync::Arc, thread, time::SystemTime};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    ssl::{
        AlpnError, HandshakeError, SslContextBuilder, SslVerifyMode, SslVersion, select_next_proto,
    },
    x509::{
        X509,
        extension::{ExtendedKeyUsage, SubjectAlternativeName},
    },
};
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_server};
use portcullis_tls::{
    CipherList, ClientConfig, ClientSettings, Negotiated, Roots, UpstreamTlsFailure, Verification,
    VersionRange, client::ClientError,
};
use support::upstream::{agreed, failure, flag, range, run, skipping, trusting, upstream};

fn ca() -> Pair {
    make_ca("Upstream CA", Algorithm::P256, 30).unwrap()
}

/// A certificate as no proper authority would make it.
struct Crafted<'a> {
    /// Who signs; itself when there is nobody.
    ca: Option<&'a Pair>,
    common_name: &'a str,
    names: &'a [&'a str],
    /// Seconds from now.
    validity: (i64, i64),
    for_clients_only: bool,
}

fn crafted(ca: &Pair, common_name: &str, names: &[&str], validity: (i64, i64)) -> Pair {
    craft(&Crafted {
        ca: Some(ca),
        common_name,
        names,
        validity,
        for_clients_only: false,
    })
}

fn craft(wanted: &Crafted<'_>) -> Pair {
    let key = Algorithm::P256.generate().unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut subject = openssl::x509::X509Name::builder().unwrap();
    subject
        .append_entry_by_text("CN", wanted.common_name)
        .unwrap();
    let subject = subject.build();
    builder.set_subject_name(&subject).unwrap();
    let issuer = wanted
        .ca
        .map_or(&*subject, |ca| ca.certificate.subject_name());
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(now + wanted.validity.0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(now + wanted.validity.1).unwrap())
        .unwrap();
    if !wanted.names.is_empty() {
        let mut alternatives = SubjectAlternativeName::new();
        wanted.names.iter().for_each(|name| {
            alternatives.dns(name);
        });
        let built = alternatives
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(built).unwrap();
    }
    if wanted.for_clients_only {
        let usage = ExtendedKeyUsage::new().client_auth().build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    let signer = wanted.ca.map_or(&key, |ca| &ca.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Pair {
        certificate: builder.build(),
        key,
    }
}

const VALID: (i64, i64) = (-3600, 86_400);

// --- verification ---------------------------------------------------------------------------

#[test]
fn a_trusted_certificate_for_the_host_is_accepted_by_name_and_by_address() {
    let ca = ca();
    let pair = make_server(
        &ca,
        &["localhost", "*.wild.test", "127.0.0.1", "::1"],
        Algorithm::P256,
        9,
    )
    .unwrap();
    for host in [
        "localhost",
        "LOCALHOST.",
        "a.wild.test",
        "127.0.0.1",
        "[::1]",
        "::1",
    ] {
        agreed(trusting(&ca), upstream(&pair), host);
    }
    for host in ["wild.test", "a.b.wild.test", "127.0.0.2", "other"] {
        assert_eq!(
            flag(trusting(&ca), upstream(&pair), host),
            ["TLM", "tls_hostname_mismatch"],
            "{host}"
        );
    }
}

#[test]
fn ed25519_and_rsa_upstreams_are_accepted() {
    let ca = ca();
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let pair = make_server(&ca, &["localhost"], algorithm, 9).unwrap();
        for max in [771, 772] {
            let settings = ClientSettings {
                versions: range(771, max),
                ..trusting(&ca)
            };
            agreed(settings, upstream(&pair), "localhost");
        }
    }
}

/// OUT-1 for the TLS part.
#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let pair = make_server(&ca(), &["localhost"], Algorithm::P256, 9).unwrap();
    let expected = ["TLN", "tls_unknown_authority"];
    assert_eq!(
        flag(trusting(&ca()), upstream(&pair), "localhost"),
        expected
    );
    let own = craft(&Crafted {
        ca: None,
        common_name: "Self",
        names: &["localhost"],
        validity: VALID,
        for_clients_only: false,
    });
    assert_eq!(flag(trusting(&ca()), upstream(&own), "localhost"), expected);
}

/// OUT-2 for the TLS part.
#[test]
fn without_verification_anything_is_accepted() {
    let pair = crafted(&ca(), "anything", &[], (-7200, -3600));
    agreed(skipping(), upstream(&pair), "localhost");
}

/// OUT-5 for the TLS part.
#[test]
fn the_common_name_never_counts() {
    let ca = ca();
    let pair = crafted(&ca, "localhost", &[], VALID);
    assert_eq!(
        flag(trusting(&ca), upstream(&pair), "localhost"),
        ["TLM", "tls_hostname_mismatch"]
    );
}

/// OUT-6 for the TLS part.
#[test]
fn a_certificate_for_another_name_is_a_mismatch_also_when_its_authority_is_unknown() {
    let authority = ca();
    let pair = crafted(&authority, "other", &["other.test"], VALID);
    let expected = ["TLM", "tls_hostname_mismatch"];
    assert_eq!(
        flag(trusting(&authority), upstream(&pair), "localhost"),
        expected
    );
    assert_eq!(
        flag(trusting(&ca()), upstream(&pair), "localhost"),
        expected
    );
}

/// OUT-7 for the TLS part.
#[test]
fn an_expired_or_not_yet_valid_certificate_is_reported_with_its_subject_and_end() {
    let ca = ca();
    for (validity, words) in [
        ((-7200, -3600), "has expired"),
        ((3600, 7200), "is not yet valid"),
    ] {
        let pair = crafted(&ca, "old.test", &["localhost"], validity);
        let failure = failure(trusting(&ca), upstream(&pair), "localhost");
        assert_eq!(
            [failure.flag, failure.detail],
            ["TLE", "tls_certificate_expired"]
        );
        assert_eq!(failure.cert_subject.as_deref(), Some("old.test"));
        let end = portcullis_pki::CertificateFacts::of(&pair.certificate)
            .unwrap()
            .not_after;
        assert_eq!(failure.cert_expiry, Some(end));
        assert!(failure.message.contains(words));
    }
}

/// OUT-8 for the TLS part.
#[test]
fn a_certificate_for_clients_only_is_invalid() {
    let ca = ca();
    let pair = craft(&Crafted {
        ca: Some(&ca),
        common_name: "client",
        names: &["localhost"],
        validity: VALID,
        for_clients_only: true,
    });
    assert_eq!(
        flag(trusting(&ca), upstream(&pair), "localhost"),
        ["TLI", "tls_certificate_invalid"]
    );
}

/// OUT-9 for the TLS part.
#[test]
fn an_upstream_that_speaks_clear_text_is_a_protocol_error() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let answering = thread::spawn(move || {
        theirs
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        theirs
    });
    let session = ClientConfig::new(skipping())
        .unwrap()
        .session("localhost")
        .unwrap();
    let Err(HandshakeError::Failure(failed)) = session.connect(ours) else {
        panic!("a failure was expected")
    };
    let failure =
        UpstreamTlsFailure::of(failed.error(), failed.ssl(), "localhost", SystemTime::now());
    let failure = failure.unwrap();
    assert_eq!(
        [failure.flag, failure.detail],
        ["TLP", "tls_protocol_error"]
    );
    answering.join().unwrap();
}

/// OUT-16 for the TLS part.
#[test]
fn an_upstream_that_wants_a_certificate_is_a_handshake_failure() {
    let pair = make_server(&ca(), &["localhost"], Algorithm::P256, 9).unwrap();
    let mut demanding = upstream(&pair);
    demanding.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    demanding
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    assert_eq!(
        flag(skipping(), demanding, "localhost"),
        ["TLH", "tls_handshake_failure"]
    );
}

#[test]
fn an_alert_of_another_kind_is_reported_as_such() {
    let pair = make_server(&ca(), &["localhost"], Algorithm::P256, 9).unwrap();
    let mut refusing = upstream(&pair);
    refusing.set_servername_callback(|_, alert| {
        *alert = openssl::ssl::SslAlert::UNRECOGNIZED_NAME;
        Err(openssl::ssl::SniError::ALERT_FATAL)
    });
    let failure = failure(skipping(), refusing, "localhost");
    assert_eq!(
        [failure.flag, failure.detail],
        ["TLA", "tls_alert_received"]
    );
    assert_eq!(
        failure.message,
        "the upstream refused with alert unrecognized_name (112)"
    );
}

#[test]
fn no_roots_is_an_error_of_its_own() {
    let none = ClientSettings::new(Verification::Full(Arc::new(Roots::of(Vec::new()))));
    let error = ClientConfig::new(none).unwrap_err();
    assert!(matches!(error, ClientError::NoRoots));
    let failure = UpstreamTlsFailure::of_setup(&error);
    assert_eq!(
        [failure.flag, failure.detail],
        ["TLC", "tls_certificate_chain_incomplete"]
    );
}

// --- versions and suites --------------------------------------------------------------------

fn pair() -> Pair {
    make_server(&ca(), &["localhost"], Algorithm::Rsa2048, 9).unwrap()
}

/// OUT-23, OUT-24 and OUT-25 for the TLS part.
#[test]
fn versions_are_those_configured() {
    let pair = pair();
    let spoken = |versions| {
        agreed(
            ClientSettings {
                versions,
                ..skipping()
            },
            upstream(&pair),
            "localhost",
        )
        .version
    };
    assert_eq!(spoken(range(0, 0)), "TLSv1.2");
    assert_eq!(spoken(range(0, 772)), "TLSv1.3");

    let mut old = upstream(&pair);
    old.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    let settings = ClientSettings {
        versions: range(772, 772),
        ..skipping()
    };
    assert_eq!(
        flag(settings, old, "localhost"),
        ["TLP", "tls_protocol_version_error"]
    );
}

/// The TLS part of an API's own versions.
#[test]
fn an_api_narrows_the_versions_of_the_gateway() {
    let versions = VersionRange::for_api((0, 772), (0, 771)).unwrap();
    let settings = ClientSettings {
        versions,
        ..skipping()
    };
    assert_eq!(
        agreed(settings, upstream(&pair()), "localhost").version,
        "TLSv1.2"
    );
    assert!(VersionRange::for_api((772, 772), (0, 771)).is_err());
    assert_eq!(
        UpstreamTlsFailure::no_version().detail,
        "tls_protocol_version_error"
    );
}

fn with_suites(names: &[&str], max: u16) -> ClientSettings {
    let versions = range(771, max);
    let ciphers = CipherList::resolve(names, versions).unwrap().0;
    ClientSettings {
        versions,
        ciphers,
        ..skipping()
    }
}

fn speaking(suites: &str) -> SslContextBuilder {
    let mut context = upstream(&pair());
    context
        .set_max_proto_version(Some(SslVersion::TLS1_2))
        .unwrap();
    context.set_cipher_list(suites).unwrap();
    context
}

/// OUT-31 and OUT-35 for the TLS part.
#[test]
fn the_suite_named_is_the_suite_used() {
    let gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    assert_eq!(
        agreed(with_suites(&[gcm], 771), speaking("ALL"), "localhost").cipher,
        gcm
    );
    assert_eq!(
        flag(
            with_suites(&[gcm], 771),
            speaking("ECDHE-RSA-AES256-GCM-SHA384"),
            "localhost"
        ),
        ["TLH", "tls_handshake_failure"]
    );
    let chacha = with_suites(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"], 771);
    assert_eq!(
        agreed(chacha, speaking("ECDHE-RSA-CHACHA20-POLY1305"), "localhost").cipher,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    );
}

/// OUT-36 for the TLS part; and a list of TLS 1.3 names alone offers nothing older.
#[test]
fn the_list_never_restricts_tls13() {
    let mut newest = upstream(&pair());
    newest
        .set_min_proto_version(Some(SslVersion::TLS1_3))
        .unwrap();
    let list = with_suites(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], 772);
    assert_eq!(agreed(list, newest, "localhost").version, "TLSv1.3");

    let only13 = || with_suites(&["TLS_AES_256_GCM_SHA384"], 772);
    assert_eq!(
        agreed(only13(), upstream(&pair()), "localhost").version,
        "TLSv1.3"
    );
    let refused = flag(only13(), speaking("ALL"), "localhost");
    assert_eq!(refused, ["TLP", "tls_protocol_version_error"]);
}

// --- SNI, ALPN, resumption ------------------------------------------------------------------

#[test]
fn names_go_out_as_sni_and_addresses_do_not() {
    let seen = |host: &str| {
        let (server, _) = run(skipping(), upstream(&pair()), host);
        Negotiated::of(server.ok().unwrap().ssl()).server_name
    };
    assert_eq!(seen("Api.Example.com.").as_deref(), Some("api.example.com"));
    assert_eq!(seen("127.0.0.1"), None);
    assert_eq!(seen("[::1]"), None);
}

/// OUT-37, OUT-38 and OUT-39 for the TLS part.
#[test]
fn alpn_is_offered_only_with_http2() {
    let choosing = |ours: &'static [u8]| {
        let mut context = upstream(&pair());
        context.set_alpn_select_callback(move |_, theirs| {
            select_next_proto(ours, theirs).ok_or(AlpnError::NOACK)
        });
        context
    };
    let protocol = |http2, ours| {
        let settings = ClientSettings {
            http2,
            ..skipping()
        };
        let (_, client) = run(settings, choosing(ours), "localhost");
        client
            .ok()
            .unwrap()
            .ssl()
            .selected_alpn_protocol()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(protocol(false, b"\x02h2"), None);
    assert_eq!(protocol(true, b"\x02h2").as_deref(), Some(&b"h2"[..]));
    assert_eq!(
        protocol(true, b"\x08http/1.1").as_deref(),
        Some(&b"http/1.1"[..])
    );
}
