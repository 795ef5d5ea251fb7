//! The client side against an upstream that a test shapes as it likes.

use std::{sync::Arc, time::SystemTime};

use openssl::ssl::{Ssl, SslContextBuilder, SslMethod};
use portcullis_pki::make::Pair;
use portcullis_tls::{
    ClientConfig, ClientSettings, Negotiated, Roots, Side, UpstreamTlsFailure, Verification,
    VersionRange,
};

use super::{Outcome, handshake};

/// A range for upstreams.
pub fn range(min: u16, max: u16) -> VersionRange {
    VersionRange::resolve(min, max, Side::Upstream).unwrap().0
}

/// Settings that trust one authority.
pub fn trusting(ca: &Pair) -> ClientSettings {
    ClientSettings::new(Verification::Full(Arc::new(Roots::of(vec![
        ca.certificate.clone(),
    ]))))
}

/// Settings that verify nothing.
pub fn skipping() -> ClientSettings {
    ClientSettings::new(Verification::DangerousNone)
}

/// An upstream with this pair, TLS 1.2 and 1.3.
pub fn upstream(pair: &Pair) -> SslContextBuilder {
    let mut context = SslContextBuilder::new(SslMethod::tls()).unwrap();
    context.set_certificate(&pair.certificate).unwrap();
    context.set_private_key(&pair.key).unwrap();
    context
}

/// Runs a handshake with `host`; the upstream's result and ours.
pub fn run(
    settings: ClientSettings,
    upstream: SslContextBuilder,
    host: &str,
) -> (Outcome, Outcome) {
    let client = ClientConfig::new(settings).unwrap().session(host).unwrap();
    handshake(Ssl::new(&upstream.build()).unwrap(), client)
}

/// What a handshake that must succeed agreed on.
pub fn agreed(settings: ClientSettings, upstream: SslContextBuilder, host: &str) -> Negotiated {
    let client = run(settings, upstream, host).1;
    Negotiated::of(client.unwrap_or_else(|e| panic!("{}", e.error())).ssl())
}

/// Why a handshake failed that must.
pub fn failure(
    settings: ClientSettings,
    upstream: SslContextBuilder,
    host: &str,
) -> UpstreamTlsFailure {
    let (_, client) = run(settings, upstream, host);
    let failed = client.expect_err("a failure");
    UpstreamTlsFailure::of(failed.error(), failed.ssl(), host, SystemTime::now()).unwrap()
}

/// Flag and detail of such a failure.
pub fn flag(
    settings: ClientSettings,
    upstream: SslContextBuilder,
    host: &str,
) -> [&'static str; 2] {
    let failure = failure(settings, upstream, host);
    [failure.flag, failure.detail]
}
