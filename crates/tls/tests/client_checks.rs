//! What the client side shows of itself, and what it looks at beside the chain: pins and the common name.

mod support;

use std::sync::{Arc, Mutex};

use openssl::{
    ssl::{SslContextBuilder, SslVerifyMode, SslVersion},
    stack::Stack,
    x509::X509Name,
};
use portcullis_pki::{
    certificate::public_key_digest,
    load,
    make::{Algorithm, Pair, make_ca, make_client, make_server},
};
use portcullis_tls::{
    ClientConfig, ClientSettings, Pins, Renegotiation, Roots, UpstreamCheck, Verification,
};
use support::{
    alert,
    upstream::{agreed, failure, range, run, skipping, trusting, upstream},
};

const BAD_CERTIFICATE: i32 = 42;

fn ca() -> Pair {
    make_ca("Upstream CA", Algorithm::P256, 30).unwrap()
}

fn server(ca: &Pair, name: &str) -> Pair {
    make_server(ca, &[name], Algorithm::P256, 9).unwrap()
}

fn pins(of: &[&Pair]) -> Option<Pins> {
    let digest = |pair: &&Pair| public_key_digest(&pair.certificate).unwrap();
    Some(Pins::new(of.iter().map(digest).collect()))
}

/// The upstream's view and ours of a handshake that we refuse.
#[track_caller]
fn refused(
    settings: &ClientSettings,
    upstream: impl Fn() -> SslContextBuilder,
    check: UpstreamCheck,
) -> String {
    let (theirs, _) = run(settings.clone(), upstream(), "localhost");
    assert_eq!(
        alert(theirs.expect_err("refused").error()),
        Some(BAD_CERTIFICATE)
    );
    let failure = failure(settings.clone(), upstream(), "localhost");
    assert_eq!(
        (failure.check, failure.flag, failure.detail),
        (check, "UPE", "upstream_error")
    );
    failure.message
}

#[test]
fn a_pin_is_asked_for_besides_the_chain_and_refuses_inside_the_handshake() {
    let (ca, other) = (ca(), ca());
    let pair = server(&ca, "localhost");
    for max in [771, 772] {
        let base = ClientSettings {
            versions: range(771, max),
            ..trusting(&ca)
        };
        for good in [pins(&[&pair]), pins(&[&ca]), pins(&[&other, &pair])] {
            agreed(
                ClientSettings {
                    pins: good,
                    ..base.clone()
                },
                upstream(&pair),
                "localhost",
            );
        }
        for wrong in [pins(&[&other]), pins(&[])] {
            let settings = ClientSettings {
                pins: wrong,
                ..base.clone()
            };
            let said = refused(&settings, || upstream(&pair), UpstreamCheck::Pins);
            assert_eq!(
                said,
                "https://localhost certificate public key pinning error. Public keys do not match."
            );
        }
    }
    // The right key does not make up for a chain that leads nowhere, or for another name.
    let settings = ClientSettings {
        pins: pins(&[&pair]),
        ..trusting(&other)
    };
    assert_eq!(
        failure(settings, upstream(&pair), "localhost").check,
        UpstreamCheck::Authority
    );
    let settings = ClientSettings {
        pins: pins(&[&pair]),
        ..trusting(&ca)
    };
    assert_eq!(
        failure(settings, upstream(&pair), "elsewhere.test").check,
        UpstreamCheck::Name
    );
}

#[test]
fn a_pin_holds_where_nothing_else_is_verified() {
    let (ca, other) = (ca(), ca());
    let pair = server(&ca, "localhost");
    agreed(
        ClientSettings {
            pins: pins(&[&pair]),
            ..skipping()
        },
        upstream(&pair),
        "elsewhere.test",
    );
    let settings = ClientSettings {
        pins: pins(&[&other]),
        ..skipping()
    };
    refused(&settings, || upstream(&pair), UpstreamCheck::Pins);
    // An authority that has not signed it may come along as often as it likes.
    let dragging = || {
        let mut context = upstream(&pair);
        context
            .add_extra_chain_cert(other.certificate.clone())
            .unwrap();
        context
    };
    refused(&settings, dragging, UpstreamCheck::Pins);
    let following = || {
        let mut context = upstream(&pair);
        context
            .add_extra_chain_cert(ca.certificate.clone())
            .unwrap();
        context
    };
    agreed(
        ClientSettings {
            pins: pins(&[&ca]),
            ..skipping()
        },
        following(),
        "localhost",
    );
}

#[test]
fn the_common_name_is_the_host_whatever_its_case_and_no_pattern() {
    let ca = ca();
    let named = |name: &str| server(&ca, name);
    let check = ClientSettings {
        common_name: true,
        ..skipping()
    };
    agreed(check.clone(), upstream(&named("up.test")), "Up.Test.");
    for (pair, said) in [
        (
            named("other.test"),
            "certificate had CN other.testexpected localhost",
        ),
        (
            named("*.test"),
            "certificate had CN *.testexpected localhost",
        ),
    ] {
        assert_eq!(
            refused(&check, || upstream(&pair), UpstreamCheck::CommonName),
            said
        );
    }
    let pattern = failure(check.clone(), upstream(&named("*.test")), "up.test");
    assert_eq!(pattern.check, UpstreamCheck::CommonName);
    // Pins come first, and both count.
    let both = ClientSettings {
        pins: pins(&[&ca]),
        ..check
    };
    refused(&both, || upstream(&named("localhost")), UpstreamCheck::Pins);
}

#[test]
fn the_chain_can_be_verified_without_the_names() {
    let (ca, other) = (ca(), ca());
    let pair = server(&ca, "localhost");
    let chain = |ca: &Pair| {
        let roots = Roots::of(vec![ca.certificate.clone()]);
        ClientSettings::new(Verification::Chain(Arc::new(roots)))
    };
    agreed(chain(&ca), upstream(&pair), "elsewhere.test");
    assert_eq!(
        failure(chain(&other), upstream(&pair), "elsewhere.test").check,
        UpstreamCheck::Authority
    );
}

#[test]
fn an_intermediate_authority_is_trusted_by_itself() {
    let root = ca();
    let sub = make_ca("Intermediate", Algorithm::P256, 30).unwrap();
    // Signed by itself here; what counts is that the upstream sends no other.
    let pair = server(&sub, "localhost");
    agreed(trusting(&sub), upstream(&pair), "localhost");
    assert_eq!(
        failure(trusting(&root), upstream(&pair), "localhost").check,
        UpstreamCheck::Authority
    );
}

/// OUT-64 and OUT-65 for the TLS part.
#[test]
fn the_whole_chain_is_shown_whatever_authorities_are_asked_for() {
    let ca = ca();
    let client = make_client(&ca, "client", Algorithm::P256, 9).unwrap();
    let text = [
        client.certificate_pem(),
        ca.certificate_pem(),
        client.key_pem(),
    ]
    .concat();
    let identity = Arc::new(load(&text, None).unwrap().pair);
    let pair = server(&ca, "localhost");
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let noted = shown.clone();
        let mut demanding = upstream(&pair);
        demanding.set_max_proto_version(Some(version)).unwrap();
        demanding.set_verify_callback(
            SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            move |_, _| true,
        );
        let mut hints = Stack::new().unwrap();
        let mut stranger = X509Name::builder().unwrap();
        stranger.append_entry_by_text("CN", "Nobody's CA").unwrap();
        hints.push(stranger.build()).unwrap();
        demanding.set_client_ca_list(hints);
        let settings = ClientSettings {
            versions: range(771, 772),
            identity: Some(identity.clone()),
            ..trusting(&ca)
        };
        let (theirs, ours) = run(settings, demanding, "localhost");
        assert!(ours.is_ok());
        let theirs = theirs.unwrap_or_else(|failed| panic!("{}", failed.error()));
        let chain = theirs
            .ssl()
            .peer_cert_chain()
            .map_or(0, |chain| chain.len());
        noted.lock().unwrap().push(chain);
        // The list of a server is without the leaf.
        assert_eq!(*shown.lock().unwrap(), [1]);
    }
}

#[test]
fn settings_that_differ_in_anything_have_another_digest() {
    let (ca, other) = (ca(), ca());
    let client = |name: &str| {
        let pair = make_client(&ca, name, Algorithm::P256, 9).unwrap();
        let text = pair.certificate_pem() + &pair.key_pem();
        Some(Arc::new(load(&text, None).unwrap().pair))
    };
    let base = trusting(&ca);
    let different = [
        base.clone(),
        trusting(&other),
        skipping(),
        ClientSettings {
            versions: range(771, 772),
            ..base.clone()
        },
        ClientSettings {
            http2: true,
            ..base.clone()
        },
        ClientSettings {
            identity: client("a"),
            ..base.clone()
        },
        ClientSettings {
            identity: client("b"),
            ..base.clone()
        },
        ClientSettings {
            pins: pins(&[]),
            ..base.clone()
        },
        ClientSettings {
            pins: pins(&[&ca]),
            ..base.clone()
        },
        ClientSettings {
            common_name: true,
            ..base.clone()
        },
        ClientSettings {
            renegotiation: Renegotiation::Once,
            ..base.clone()
        },
    ];
    let digests: std::collections::HashSet<_> =
        different.iter().map(ClientSettings::digest).collect();
    assert_eq!(digests.len(), different.len());
    assert_eq!(base.digest(), trusting(&ca).digest());
    assert!(ClientConfig::new(base).is_ok());
}
