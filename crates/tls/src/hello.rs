//! What a ClientHello says that matters for choosing a certificate.
//!
//! Read from the raw extensions once per handshake, without allocating. The TLS library has
//! checked the outer form before; whatever is malformed here counts as absent.

use portcullis_pki::KeyKind;

use crate::cipher::{CipherList, Kind};
use crate::offer::Offer;
use crate::version::{Version, VersionRange};

const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// Longest host name of DNS, in bytes.
const LONGEST_NAME: usize = 255;

/// The parts of a ClientHello.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hello<'a> {
    server_name: Option<&'a [u8]>,
    legacy_version: u16,
    versions: Option<Numbers<'a>>,
    ciphers: Numbers<'a>,
    groups: Option<Numbers<'a>>,
    signatures: Option<Numbers<'a>>,
    key_shares: Option<&'a [u8]>,
}

/// A list of 16-bit numbers in network order.
#[derive(Clone, Copy, Default)]
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn iter(self) -> impl Iterator<Item = u16> {
        self.0
            .chunks_exact(2)
            .map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    fn contains(self, number: u16) -> bool {
        self.iter().any(|n| n == number)
    }
}

impl<'a> Hello<'a> {
    /// Takes the version, the cipher suites and the extensions block apart.
    pub(crate) fn parse(legacy_version: u16, ciphers: &'a [u8], extensions: &'a [u8]) -> Hello<'a> {
        let mut hello = Hello {
            legacy_version,
            ciphers: Numbers(ciphers),
            ..Hello::default()
        };
        let mut rest = extensions;
        while let Some((kind, body, after)) = extension(rest) {
            match kind {
                SERVER_NAME => hello.server_name = server_name(body),
                SUPPORTED_GROUPS => hello.groups = prefixed(body).map(Numbers),
                SIGNATURE_ALGORITHMS => hello.signatures = prefixed(body).map(Numbers),
                SUPPORTED_VERSIONS => hello.versions = body.get(1..).map(Numbers),
                KEY_SHARE => hello.key_shares = prefixed(body),
                _ => {}
            }
            rest = after;
        }
        hello
    }

    /// The host name, lower-cased and without trailing dot, written into `buffer`; empty when
    /// there is none or it cannot be a host name.
    pub(crate) fn host<'b>(&self, buffer: &'b mut [u8; LONGEST_NAME]) -> &'b str {
        let name = self.server_name.unwrap_or_default();
        let name = name.strip_suffix(b".").unwrap_or(name);
        let Some(place) = buffer.get_mut(..name.len()) else {
            return "";
        };
        place.copy_from_slice(name);
        place.make_ascii_lowercase();
        std::str::from_utf8(place).unwrap_or("")
    }

    /// What the client offers, to be told when its handshake fails.
    pub(crate) fn offer(&self) -> Offer {
        let mut buffer = [0; LONGEST_NAME];
        let host = self.host(&mut buffer);
        // A client of old names one version only, its best.
        let legacy = self.versions.is_none().then_some(self.legacy_version);
        Offer::new(
            Some(host).filter(|host| !host.is_empty()),
            [
                &mut self.versions.unwrap_or_default().iter().chain(legacy),
                &mut self.ciphers.iter(),
                &mut self.groups.unwrap_or_default().iter(),
                &mut self.signatures.unwrap_or_default().iter(),
            ],
        )
    }

    /// Whether the client and `versions` meet in TLS 1.3.
    fn speaks_tls13(&self, versions: VersionRange) -> bool {
        versions.contains(Version::Tls13)
            && self
                .versions
                .is_some_and(|v| v.contains(Version::Tls13.number()))
    }

    /// Whether a certificate with a key of this kind can serve the client.
    pub(crate) fn can_use(
        &self,
        key: KeyKind,
        versions: VersionRange,
        ciphers: &CipherList,
    ) -> bool {
        let (tls13, tls12): (&[u16], &[u16]) = match key {
            // PSS with SHA-256, -384, -512, then PKCS#1 with the same and SHA-1.
            KeyKind::Rsa { .. } => (
                &[0x0804, 0x0805, 0x0806],
                &[0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0201],
            ),
            KeyKind::EcdsaP256 => (&[0x0403], &[0x0403, 0x0503, 0x0603, 0x0203]),
            KeyKind::EcdsaP384 => (&[0x0503], &[0x0403, 0x0503, 0x0603, 0x0203]),
            KeyKind::EcdsaP521 => (&[0x0603], &[0x0403, 0x0503, 0x0603, 0x0203]),
            KeyKind::Ed25519 => (&[0x0807], &[0x0807]),
            KeyKind::Other => return false,
        };
        let accepts = |wanted: &[u16], without: bool| match self.signatures {
            Some(list) => list.iter().any(|algorithm| wanted.contains(&algorithm)),
            None => without,
        };
        if self.speaks_tls13(versions) {
            return accepts(tls13, false);
        }
        if !versions.contains(Version::Tls12) || self.legacy_version < Version::Tls12.number() {
            return false;
        }
        // A client of TLS 1.2 may leave the list out; then it means SHA-1 with RSA or ECDSA.
        if !accepts(tls12, key != KeyKind::Ed25519) {
            return false;
        }
        let curve = match key {
            KeyKind::EcdsaP256 => Some(23),
            KeyKind::EcdsaP384 => Some(24),
            KeyKind::EcdsaP521 => Some(25),
            _ => None,
        };
        if curve.is_some_and(|curve| self.groups.is_some_and(|groups| !groups.contains(curve))) {
            return false;
        }
        let suits = |kind| match kind {
            Kind::EcdheRsa | Kind::Rsa => key.is_rsa(),
            Kind::EcdheEcdsa => !key.is_rsa(),
            Kind::Tls13 => false,
        };
        ciphers
            .suites()
            .iter()
            .any(|suite| suits(suite.kind) && self.ciphers.contains(suite.id))
    }

    /// The group of `ours` (in order of preference) for which the client sent a key share, if
    /// it is not the one both would settle on anyway: choosing it saves a round trip.
    pub(crate) fn shared_group_at_hand(&self, ours: &[u16], versions: VersionRange) -> Option<u16> {
        if !self.speaks_tls13(versions) {
            return None;
        }
        let supported = self.groups?;
        let preferred = ours
            .iter()
            .copied()
            .find(|group| supported.contains(*group))?;
        let shares = self.key_shares?;
        let shared = |group: u16| Shares(shares).any(|share| share == group);
        if shared(preferred) {
            return None;
        }
        ours.iter()
            .copied()
            .find(|group| supported.contains(*group) && shared(*group))
    }
}

/// The groups of a key share list.
struct Shares<'a>(&'a [u8]);

impl Iterator for Shares<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (group, _, after) = extension(self.0)?;
        self.0 = after;
        Some(group)
    }
}

/// A number, a length and that many bytes: the form of an extension, and of a key share.
fn extension(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (body, after) = rest.split_at_checked(length)?;
    Some((u16::from_be_bytes([head[0], head[1]]), body, after))
}

/// The bytes behind a 16-bit length.
fn prefixed(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_at_checked(2)?;
    rest.get(..usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// The host name of a server name extension.
fn server_name(bytes: &[u8]) -> Option<&[u8]> {
    match prefixed(bytes)? {
        [0, name @ ..] => prefixed(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Side;

    fn u16s(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    fn ext(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
    }

    fn list(body: &[u8]) -> Vec<u8> {
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    fn name(host: &str) -> Vec<u8> {
        ext(
            SERVER_NAME,
            &list(&[&[0][..], &list(host.as_bytes())].concat()),
        )
    }

    fn both() -> VersionRange {
        VersionRange::resolve(771, 772, Side::Server).unwrap().0
    }

    #[test]
    fn a_host_is_lower_cased_and_loses_its_trailing_dot() {
        let extensions = name("API.Example.Com.");
        let hello = Hello::parse(771, &[], &extensions);
        assert_eq!(hello.host(&mut [0; 255]), "api.example.com");
        assert_eq!(Hello::parse(771, &[], &[]).host(&mut [0; 255]), "");
        let long = name(&"a".repeat(300));
        assert_eq!(Hello::parse(771, &[], &long).host(&mut [0; 255]), "");
    }

    #[test]
    fn cut_off_extensions_never_panic() {
        let whole = [name("a.test"), ext(KEY_SHARE, &list(&ext(29, &[1; 32])))].concat();
        for end in 0..whole.len() {
            let hello = Hello::parse(771, &[0x13], &whole[..end]);
            hello.host(&mut [0; 255]);
            hello.can_use(KeyKind::EcdsaP256, both(), &CipherList::default());
            hello.shared_group_at_hand(&[29], both());
        }
    }

    #[test]
    fn an_ecdsa_certificate_needs_its_algorithm_its_curve_and_a_suite() {
        let extensions = [
            ext(SIGNATURE_ALGORITHMS, &list(&u16s(&[0x0403, 0x0401]))),
            ext(SUPPORTED_GROUPS, &list(&u16s(&[29, 23]))),
        ]
        .concat();
        let suites = CipherList::default();
        let with = |ciphers: &[u16], key| {
            Hello::parse(771, &u16s(ciphers), &extensions).can_use(key, both(), &suites)
        };
        assert!(with(&[0xc02b], KeyKind::EcdsaP256));
        assert!(!with(&[0xc02b], KeyKind::EcdsaP384));
        assert!(!with(&[0xc02f], KeyKind::EcdsaP256));
        assert!(with(&[0xc02f], KeyKind::Rsa { bits: 2048 }));
        assert!(!with(&[0xc02b], KeyKind::Ed25519));
    }

    #[test]
    fn in_tls13_the_signature_algorithm_alone_decides() {
        let extensions = [
            ext(SUPPORTED_VERSIONS, &[&[4][..], &u16s(&[772, 771])].concat()),
            ext(SIGNATURE_ALGORITHMS, &list(&u16s(&[0x0403, 0x0401]))),
        ]
        .concat();
        let ciphers = u16s(&[0x1301]);
        let hello = Hello::parse(771, &ciphers, &extensions);
        let suites = CipherList::default();
        assert!(hello.can_use(KeyKind::EcdsaP256, both(), &suites));
        // PKCS#1 signatures do not count in TLS 1.3.
        assert!(!hello.can_use(KeyKind::Rsa { bits: 2048 }, both(), &suites));
    }

    #[test]
    fn a_share_at_hand_beats_a_better_group_without_one() {
        let extensions = |shares: &[u16]| {
            let shares: Vec<u8> = shares
                .iter()
                .flat_map(|group| ext(*group, &[0; 32]))
                .collect();
            [
                ext(SUPPORTED_VERSIONS, &[&[2][..], &u16s(&[772])].concat()),
                ext(SUPPORTED_GROUPS, &list(&u16s(&[4588, 29, 23]))),
                ext(KEY_SHARE, &list(&shares)),
            ]
            .concat()
        };
        let ours = [4588, 29, 23];
        let at_hand = |shares: &[u16]| {
            Hello::parse(771, &[], &extensions(shares)).shared_group_at_hand(&ours, both())
        };
        assert_eq!(at_hand(&[29]), Some(29));
        assert_eq!(at_hand(&[4588, 29]), None);
        assert_eq!(at_hand(&[]), None);
    }
}
