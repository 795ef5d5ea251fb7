//! What client certificates say about who sends a request: Certificate Auth, and keys that are bound to
//! certificates (inbound sheet 6).
//!
//! Invariants:
//! - Without `allow_unsafe_dynamic_mtls_token` no token stands in for a certificate, and a connection in
//!   the clear never has one.
//! - Only the leaf counts, whose key the client has proven; outside its validity it opens nothing.
//! - A key that is bound to certificates passes an API with an allow list by one of these alone.

use std::borrow::Cow;

use portcullis_pki::{Fingerprint, PresentedChain};

use super::{live::LiveSession, refusal::Refused};
use crate::{clients::unix_now, proxy::view::Peer, snapshot::RunningApi};

/// The certificate whose key a client has proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// First second of its validity, Unix time.
    pub not_before: i64,
    /// Last second of it.
    pub not_after: i64,
}

/// How a request came, as far as certificates are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Over a connection that is not encrypted.
    InClear,
    /// Encrypted, from somebody without a certificate.
    WithoutCertificate,
    /// Encrypted, from somebody with one.
    With(Leaf),
}

/// Whose sessions the token method needs; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<T> {
    /// A certificate's.
    pub certificate: Option<Fingerprint>,
    /// A token's. It counts more than the certificate's.
    pub token: Option<T>,
}

impl Came {
    /// How the requests of a connection come.
    pub fn by(peer: &Peer) -> Self {
        match (&peer.tls, &peer.client) {
            (None, _) => Self::InClear,
            (Some(_), None) => Self::WithoutCertificate,
            (Some(_), Some(client)) => Self::With(client.leaf()),
        }
    }

    /// The certificate it came with.
    pub fn leaf(self) -> Option<Leaf> {
        match self {
            Self::With(leaf) => Some(leaf),
            Self::InClear | Self::WithoutCertificate => None,
        }
    }
}

impl Wanted<Cow<'_, str>> {
    /// The same, beyond the request.
    pub fn owned(self) -> Wanted<String> {
        Wanted {
            certificate: self.certificate,
            token: self.token.map(Cow::into_owned),
        }
    }
}

impl Leaf {
    /// The first certificate of a chain.
    pub fn of(chain: &PresentedChain) -> Self {
        Self {
            fingerprint: chain.fingerprint(),
            not_before: chain.not_before(),
            not_after: chain.not_after(),
        }
    }

    /// Whether its validity has begun and is not over.
    pub fn is_valid(&self, now: i64) -> bool {
        self.in_time(now).is_ok()
    }

    /// Why it opens nothing now.
    ///
    /// # Errors
    /// [`Refused::CertificateExpired`], [`Refused::CertificateEarly`].
    pub fn in_time(&self, now: i64) -> Result<(), Refused> {
        if now > self.not_after {
            Err(Refused::CertificateExpired)
        } else if now < self.not_before {
            Err(Refused::CertificateEarly)
        } else {
            Ok(())
        }
    }

    /// Whether an id of the store means this certificate for an organisation.
    fn is(&self, org: &str, id: &str) -> bool {
        id.strip_prefix(org)
            .is_some_and(|digits| is_hex_of(digits.as_bytes(), self.fingerprint.as_bytes()))
    }
}

/// Whose sessions are needed where the session is the certificate's. `stand_in` lets tokens take a
/// certificate's place; where they do not, none is read.
///
/// # Errors
/// [`Refused`] when whoever asks cannot be anybody.
pub fn wanted<T>(
    came: Came,
    stand_in: bool,
    token: impl FnOnce() -> Option<T>,
) -> Result<Wanted<T>, Refused> {
    match came {
        Came::With(leaf) => {
            leaf.in_time(unix_now())?;
            Ok(Wanted {
                certificate: Some(leaf.fingerprint),
                token: stand_in.then(token).flatten(),
            })
        }
        Came::InClear | Came::WithoutCertificate if !stand_in => Err(Refused::CertificateMissing),
        Came::InClear | Came::WithoutCertificate => match token() {
            Some(token) => Ok(Wanted {
                certificate: None,
                token: Some(token),
            }),
            None if came == Came::InClear => Err(Refused::TokenUnknown),
            // What a Tyk gateway tells somebody who has nothing at all here.
            None => Err(Refused::Inactive),
        },
    }
}

/// Whether the certificates that a key has to do with are in order: those it is bound to where the API
/// has an allow list; else, with Certificate Auth, that the one it belongs to is stored.
///
/// # Errors
/// [`Refused`] when they are not.
pub fn in_order(
    api: &RunningApi,
    session: &LiveSession,
    leaf: Option<Leaf>,
) -> Result<(), Refused> {
    if is_bound(api, session) {
        // Whoever has none did not get past the list.
        let leaf = leaf.ok_or(Refused::CertificateMismatch)?;
        leaf.in_time(unix_now())?;
        let bindings = &session.stored.mtls_static_certificate_bindings;
        return match bindings.iter().any(|id| leaf.is(&api.api.org_id, id)) {
            true => Ok(()),
            false => Err(Refused::CertificateMismatch),
        };
    }
    match api.api.authentication.takes_certificates() {
        true => stored(session),
        false => Ok(()),
    }
}

/// The same for a request that was let in a while ago.
///
/// # Errors
/// [`Refused`] when the right to it is lost.
pub fn still_in_order(
    api: &RunningApi,
    session: &LiveSession,
    leaf: Option<Leaf>,
) -> Result<(), Refused> {
    if let (true, Some(leaf)) = (api.api.authentication.takes_certificates(), leaf) {
        leaf.in_time(unix_now())?;
    }
    in_order(api, session, leaf)
}

/// Whether a key has to come with one of the certificates it is bound to.
pub fn is_bound(api: &RunningApi, session: &LiveSession) -> bool {
    api.clients.is_some() && !session.stored.mtls_static_certificate_bindings.is_empty()
}

/// Whether the certificate that a key belongs to, if it does, is still in the store.
///
/// # Errors
/// [`Refused::CertificateRemoved`].
pub fn stored(session: &LiveSession) -> Result<(), Refused> {
    match &session.certificate {
        Some(certificate) if !certificate.stored => Err(Refused::CertificateRemoved),
        _ => Ok(()),
    }
}

/// Whether these are the lower-case digits of the bytes.
fn is_hex_of(digits: &[u8], bytes: &[u8; 32]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        && pairs.len() == bytes.len()
        && pairs.iter().zip(bytes).all(|(pair, byte)| {
            let [high, low] = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
            *pair == [high, low]
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(not_before: i64, not_after: i64) -> Leaf {
        Leaf {
            fingerprint: Fingerprint::of_der(b"a certificate"),
            not_before,
            not_after,
        }
    }

    fn of(
        came: Came,
        stand_in: bool,
        token: Option<&'static str>,
    ) -> Result<Wanted<&'static str>, Refused> {
        wanted(came, stand_in, || {
            assert!(
                stand_in,
                "a token is not even read where it cannot take the certificate's place"
            );
            token
        })
    }

    /// Every cell of the table of Certificate Auth in the inbound sheet, 6.2. Recommendations 9 and 11.
    #[test]
    fn a_token_takes_the_place_of_a_certificate_only_where_that_is_allowed() {
        let good = leaf(0, i64::MAX);
        let print = good.fingerprint;
        let both = |certificate, token| Ok(Wanted { certificate, token });
        for (came, token, safe, permissive) in [
            (
                Came::With(leaf(0, 1)),
                Some("t"),
                Err(Refused::CertificateExpired),
                Err(Refused::CertificateExpired),
            ),
            (
                Came::With(leaf(i64::MAX, i64::MAX)),
                Some("t"),
                Err(Refused::CertificateEarly),
                Err(Refused::CertificateEarly),
            ),
            (
                Came::With(good),
                Some("t"),
                both(Some(print), None),
                both(Some(print), Some("t")),
            ),
            (
                Came::With(good),
                None,
                both(Some(print), None),
                both(Some(print), None),
            ),
            (
                Came::WithoutCertificate,
                Some("t"),
                Err(Refused::CertificateMissing),
                both(None, Some("t")),
            ),
            (
                Came::WithoutCertificate,
                None,
                Err(Refused::CertificateMissing),
                Err(Refused::Inactive),
            ),
            (
                Came::InClear,
                Some("t"),
                Err(Refused::CertificateMissing),
                both(None, Some("t")),
            ),
            (
                Came::InClear,
                None,
                Err(Refused::CertificateMissing),
                Err(Refused::TokenUnknown),
            ),
        ] {
            assert_eq!(of(came, false, token), safe, "{came:?} {token:?}");
            assert_eq!(of(came, true, token), permissive, "{came:?} {token:?}");
        }
    }

    #[test]
    fn an_id_means_a_certificate_by_its_organisation_and_all_of_its_digits() {
        let leaf = leaf(0, 1);
        let print = leaf.fingerprint.to_string();
        assert!(leaf.is("default", &format!("default{print}")));
        assert!(leaf.is("", &print));
        for id in [
            print.clone(),
            format!("other{print}"),
            format!("default{}", print.to_uppercase()),
            format!("default{}", &print[1..]),
            format!("default{print}0"),
            "default".to_owned(),
        ] {
            assert!(!leaf.is("default", &id), "{id}");
        }
    }
}
