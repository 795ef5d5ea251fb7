//! Keys and signatures: what is too weak, too large, unusual.

use crate::{
    Case,
    Verdict::{self, Other, Passes, Untrusted, Weak},
    der::{bits, integer, oid, sequence},
    recipe::{Recipe, Signed, key},
};

const POLICY: &str = "RFC 5280 leaves keys and digests to the application";

/// An RSA key of as many bits that nobody has the private half of.
fn modulus(length: usize, exponent: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x00, 0xc3];
    octets.resize(length / 8 + 1, 0xa5);
    let numbers = sequence(&[&integer(&octets), &integer(exponent)]);
    let algorithm = sequence(&[&oid("1.2.840.113549.1.1.1"), &[0x05, 0x00]]);
    sequence(&[&algorithm, &bits(&numbers)])
}

pub fn cases() -> Vec<Case> {
    let root = Recipe::authority("Root");
    let leaf = Recipe::leaf("client").by("Root");
    let mut cases = Vec::new();
    let mut case =
        |id: &str, what, ours: Verdict, rfc: bool, anchor: &Recipe, shown: &[&Recipe]| {
            let case = Case::new(format!("keys::{id}"), what, ours);
            let case = case.trusting(&[anchor]).shown(shown);
            let same = rfc == (ours == Passes);
            cases.push(if same { case } else { case.unlike_rfc(POLICY) });
        };
    for kind in ["p256", "p384", "p521", "ed25519", "rsa2048"] {
        let (authority, client) = (format!("{kind}:Root"), format!("{kind}:client"));
        let signed = Recipe::leaf("client").by(&authority);
        case(
            &format!("authority::{kind}"),
            "an authority's key",
            Passes,
            true,
            &Recipe::authority(&authority),
            &[&signed],
        );
        let certified = leaf.clone().key(&client);
        case(
            &format!("leaf::{kind}"),
            "a leaf's key",
            Passes,
            true,
            &root,
            &[&certified],
        );
        let middle = Recipe::authority(&authority).by("Root");
        case(
            &format!("intermediate::{kind}"),
            "an intermediate's key",
            Passes,
            true,
            &root,
            &[&signed, &middle],
        );
    }
    let short = Recipe::authority("rsa1024:Root");
    case(
        "authority::rsa1024",
        "the shortest RSA key that is taken",
        Passes,
        true,
        &short,
        &[&Recipe::leaf("client").by("rsa1024:Root")],
    );
    for (length, ours) in [
        (512, Weak),
        (768, Weak),
        (1016, Weak),
        (1024, Passes),
        (4096, Passes),
        (8192, Passes),
        (8200, Weak),
        (16_384, Weak),
        (24_576, Weak),
    ] {
        let mut shown = leaf.clone();
        shown.public_key = Some(modulus(length, &[1, 0, 1]));
        case(
            &format!("leaf::rsa-of-{length}"),
            "an RSA key of that many bits",
            ours,
            true,
            &root,
            &[&shown],
        );
        let mut anchor = Recipe::authority("Root");
        anchor.public_key = Some(modulus(length, &[1, 0, 1]));
        // Beyond 16384 bits the library does not read a key.
        let not_its_signature = if length > 16_384 { Other } else { Untrusted };
        case(
            &format!("authority::rsa-of-{length}"),
            "an RSA authority of that many bits that did not sign",
            not_its_signature,
            false,
            &anchor,
            &[&leaf],
        );
    }
    for (id, exponent) in [
        ("one", vec![1u8]),
        ("two", vec![2]),
        ("long", vec![0x7f; 200]),
    ] {
        let mut shown = leaf.clone();
        shown.public_key = Some(modulus(2048, &exponent));
        case(
            &format!("leaf::rsa-exponent-{id}"),
            "an RSA key of an exponent nobody uses",
            Weak,
            true,
            &root,
            &[&shown],
        );
    }
    let certified = leaf.clone().key("k256:client");
    case(
        "leaf::k256",
        "a curve TLS does not use",
        Weak,
        true,
        &root,
        &[&certified],
    );
    let mut off = leaf.clone();
    let mut point = key("client").public_key_to_der().unwrap();
    *point.last_mut().unwrap() ^= 1;
    off.public_key = Some(point);
    case(
        "leaf::off-curve",
        "a point that is not on its curve",
        Weak,
        false,
        &root,
        &[&off],
    );
    let mut unknown = leaf.clone();
    unknown.public_key = Some(sequence(&[
        &sequence(&[&oid("1.3.6.1.4.1.99999.2")]),
        &bits(b"key"),
    ]));
    case(
        "leaf::unknown",
        "a key of an unknown kind",
        Weak,
        true,
        &root,
        &[&unknown],
    );
    let mut mismatched = leaf.clone();
    mismatched.public_key = Some(sequence(&[
        &sequence(&[&oid("1.2.840.113549.1.1.1"), &[5, 0]]),
        &bits(b"no numbers"),
    ]));
    case(
        "leaf::malformed",
        "an RSA key that is none",
        Weak,
        false,
        &root,
        &[&mismatched],
    );

    // Signatures.
    let rsa = Recipe::authority("rsa2048:Root");
    let under_rsa = Recipe::leaf("client").by("rsa2048:Root");
    let middle = Recipe::authority("rsa2048:Middle").by("rsa2048:Root");
    let deep = Recipe::leaf("client").by("rsa2048:Middle");
    for (id, how, ours) in [
        ("md5", Signed::Md5Rsa, Weak),
        ("sha1", Signed::Sha1Rsa, Weak),
        ("sha384", Signed::Sha384Rsa, Passes),
        ("sha512", Signed::Sha512Rsa, Passes),
        ("pss", Signed::PssSha256, Passes),
    ] {
        case(
            &format!("signature::leaf::{id}"),
            "the signature on a leaf",
            ours,
            true,
            &rsa,
            &[&under_rsa.clone().signed(how)],
        );
        case(
            &format!("signature::intermediate::{id}"),
            "the signature on an intermediate",
            ours,
            true,
            &rsa,
            &[&deep, &middle.clone().signed(how)],
        );
        case(
            &format!("signature::anchor::{id}"),
            "the signature on the anchor itself",
            Passes,
            true,
            &rsa.clone().signed(how),
            &[&under_rsa],
        );
    }
    let sha1 = leaf.clone().signed(Signed::Sha1Ecdsa);
    case(
        "signature::ecdsa-sha1",
        "ECDSA with SHA-1",
        Weak,
        true,
        &root,
        &[&sha1],
    );
    case(
        "signature::two-algorithms",
        "an algorithm outside that is not the one inside",
        Untrusted,
        false,
        &root,
        &[&leaf.clone().signed(Signed::TwoAlgorithms)],
    );
    cases
}
