//! What a client offered in its ClientHello, kept until its handshake is over: a handshake that fails can
//! then say what the client would have spoken.
//!
//! Invariants:
//! - Numbers and names only: no key share, no random, no ticket.
//! - Bounded: at most [`MOST`] numbers of each kind, and a name no longer than DNS has them.

use std::sync::OnceLock;

use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslRef},
};

use crate::{cipher, hello::Hello};

/// Most numbers of each kind that are kept.
pub const MOST: usize = 64;

/// The lists of a ClientHello, in the client's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// The host it named, lower-cased.
    pub server_name: Option<Box<str>>,
    /// Versions, suites, groups and signature algorithms, one list after the other.
    numbers: Box<[u16]>,
    ends: [u16; 3],
}

impl Offer {
    /// An offer of these lists, each cut at [`MOST`].
    #[must_use]
    pub fn new(server_name: Option<&str>, lists: [&mut dyn Iterator<Item = u16>; 4]) -> Self {
        let mut numbers = Vec::with_capacity(64);
        let mut all_ends = [0; 4];
        for (list, end) in lists.into_iter().zip(&mut all_ends) {
            numbers.extend(list.filter(|number| !is_grease(*number)).take(MOST));
            *end = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
        }
        let [versions, suites, groups, _] = all_ends;
        Self {
            server_name: server_name.map(Into::into),
            numbers: numbers.into(),
            ends: [versions, suites, groups],
        }
    }

    fn list(&self, place: usize) -> &[u16] {
        let end = |place: usize| self.ends.get(place).map(|end| usize::from(*end));
        let from = place.checked_sub(1).and_then(end).unwrap_or(0);
        let to = end(place).unwrap_or(self.numbers.len());
        self.numbers.get(from..to).unwrap_or_default()
    }

    /// TLS versions by name, such as `TLSv1.3`.
    pub fn versions(&self) -> impl Iterator<Item = String> {
        self.list(0).iter().map(|number| name(*number, version))
    }

    /// Cipher suites by their IANA names.
    pub fn suites(&self) -> impl Iterator<Item = String> {
        self.list(1).iter().map(|number| name(*number, suite))
    }

    /// Groups for key agreement by their IANA names.
    pub fn groups(&self) -> impl Iterator<Item = String> {
        self.list(2).iter().map(|number| name(*number, group))
    }

    /// Signature algorithms by their IANA names.
    pub fn signatures(&self) -> impl Iterator<Item = String> {
        self.list(3).iter().map(|number| name(*number, signature))
    }

    /// How much memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let name = self.server_name.as_ref().map_or(0, |name| name.len());
        size_of::<Self>() + name + self.numbers.len() * 2
    }
}

/// A name, or the number in hexadecimal.
fn name(number: u16, known: fn(u16) -> Option<&'static str>) -> String {
    known(number).map_or_else(|| format!("0x{number:04x}"), ToOwned::to_owned)
}

/// Numbers that clients mix in to keep servers tolerant (RFC 8701).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn version(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0300 => "SSLv3",
        0x0301 => "TLSv1.0",
        0x0302 => "TLSv1.1",
        0x0303 => "TLSv1.2",
        0x0304 => "TLSv1.3",
        _ => return None,
    })
}

fn suite(number: u16) -> Option<&'static str> {
    match number {
        0x00ff => Some("TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
        0x5600 => Some("TLS_FALLBACK_SCSV"),
        _ => cipher::by_id(number).map(|suite| suite.name),
    }
}

fn group(number: u16) -> Option<&'static str> {
    Some(match number {
        23 => "secp256r1",
        24 => "secp384r1",
        25 => "secp521r1",
        29 => "x25519",
        30 => "x448",
        256 => "ffdhe2048",
        257 => "ffdhe3072",
        258 => "ffdhe4096",
        259 => "ffdhe6144",
        260 => "ffdhe8192",
        4587 => "SecP256r1MLKEM768",
        4588 => "X25519MLKEM768",
        4589 => "SecP384r1MLKEM1024",
        _ => return None,
    })
}

fn signature(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0201 => "rsa_pkcs1_sha1",
        0x0203 => "ecdsa_sha1",
        0x0401 => "rsa_pkcs1_sha256",
        0x0403 => "ecdsa_secp256r1_sha256",
        0x0501 => "rsa_pkcs1_sha384",
        0x0503 => "ecdsa_secp384r1_sha384",
        0x0601 => "rsa_pkcs1_sha512",
        0x0603 => "ecdsa_secp521r1_sha512",
        0x0804 => "rsa_pss_rsae_sha256",
        0x0805 => "rsa_pss_rsae_sha384",
        0x0806 => "rsa_pss_rsae_sha512",
        0x0807 => "ed25519",
        0x0808 => "ed448",
        0x0809 => "rsa_pss_pss_sha256",
        0x080a => "rsa_pss_pss_sha384",
        0x080b => "rsa_pss_pss_sha512",
        _ => return None,
    })
}

/// Keeps what a client offers with its connection.
pub(crate) fn keep(ssl: &mut SslRef, hello: &Hello<'_>) {
    if let Ok(slot) = slot() {
        ssl.set_ex_data(slot, Some(Box::new(hello.offer())));
    }
}

/// Takes what a client offered away from its connection.
pub(crate) fn take(ssl: &mut SslRef) -> Option<Box<Offer>> {
    ssl.ex_data_mut(slot().ok()?)?.take()
}

/// Where a connection keeps it.
fn slot() -> Result<Index<Ssl, Option<Box<Offer>>>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Option<Box<Offer>>>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_told_by_name_without_what_clients_mix_in() {
        let offer = Offer::new(
            Some("a.test"),
            [
                &mut [0x3a3a, 0x0304, 0x0303].into_iter(),
                &mut [0x1301, 0x00ff, 0xfefe].into_iter(),
                &mut [4588, 29, 9999].into_iter(),
                &mut [0x0403].into_iter(),
            ],
        );
        let all = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
        assert_eq!(all(&mut offer.versions()), ["TLSv1.3", "TLSv1.2"]);
        assert_eq!(
            all(&mut offer.suites()),
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
                "0xfefe"
            ]
        );
        assert_eq!(
            all(&mut offer.groups()),
            ["X25519MLKEM768", "x25519", "0x270f"]
        );
        assert_eq!(all(&mut offer.signatures()), ["ecdsa_secp256r1_sha256"]);
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let offer = Offer::new(
            None,
            [
                &mut std::iter::repeat(0x0303),
                &mut std::iter::repeat(0x1301),
                &mut std::iter::repeat(29),
                &mut std::iter::repeat(0x0403),
            ],
        );
        assert_eq!(offer.suites().count(), MOST);
        assert_eq!(offer.signatures().count(), MOST);
        assert!(offer.bytes() < 1024);
    }
}
