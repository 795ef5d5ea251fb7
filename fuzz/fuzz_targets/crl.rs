//! Whatever stands where a revocation list is expected is read or refused, without a panic and in time that grows with
//! its size; and a client is revoked by nobody but its own authority.
#![no_main]

use std::sync::OnceLock;

use openssl::x509::X509;
use portcullis_pki::{
    PresentedChain, Refusal, Revocation,
    crl::{CrlSource, Mode},
    reference::Place,
};

/// A client, and its authority, whose key nobody has kept: the seeds are lists it signed.
const CHAIN: &[u8] = include_bytes!("crl_chain.pem");

/// When all of these lists but the old one are good.
const NOW: i64 = 1_900_000_000;

/// To how many bytes a text is repeated. What takes quadratic time for it does not end within the time limit of an input.
const LONG: usize = 1024 * 1024;

struct Client {
    /// Leaf and authority.
    way: Vec<X509>,
    /// The leaf alone.
    shown: PresentedChain,
}

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let way = X509::stack_from_pem(CHAIN).expect("a chain");
        let leaf = way[0].to_der().expect("a certificate");
        let shown = PresentedChain::of_der(&[leaf.as_slice()]).expect("a chain");
        Client { way, shown }
    })
}

/// Asks what was read about the client, as one of a listed authority and as one that is listed itself.
fn ask(source: &CrlSource) {
    let Client { way, shown } = client();
    let names = source
        .lists
        .iter()
        .any(|list| list.revokes(&way[0]).is_some() && list.is_signed_by(&way[1]));
    for mode in [Mode::Strict, Mode::Lenient] {
        let (lists, issuers) = (source.lists.clone(), source.issuers.clone());
        let revocation = Revocation::new(mode, lists, issuers, Vec::new());
        let answers = [
            revocation.way(way, NOW),
            revocation.leaf(shown, way[1..].iter(), NOW),
        ];
        for answer in answers {
            match answer {
                Ok(until) => assert!(until >= NOW, "what holds is over already"),
                Err(Refusal::Revoked { .. }) => assert!(names, "revoked by somebody else"),
                Err(Refusal::RevocationUnknown { .. }) => assert_eq!(mode, Mode::Strict),
                Err(other) => panic!("no list says that: {other}"),
            }
        }
        // Without a word about whose the lists are.
        let _ = revocation.leaf(shown, std::iter::empty(), NOW);
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(source) = CrlSource::of_bytes(bytes, &Place::Inline) {
        assert!(!source.lists.is_empty(), "good, and without a list");
        ask(&source);
    }
    // Some inputs do: this takes long.
    if !bytes.is_empty() && bytes.len().is_multiple_of(64) {
        let _ = CrlSource::of_bytes(&bytes.repeat(LONG / bytes.len()), &Place::Inline);
    }
});
