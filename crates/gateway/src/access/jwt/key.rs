//! Keys that verify the signatures of tokens.
//!
//! Invariants:
//! - A key verifies only the algorithms it is made for: no public key is ever taken for a secret, no
//!   curve for another.
//! - A signature has the one form that its algorithm demands; its comparison takes the same time whatever
//!   is wrong with it, where a secret is involved.
//! - RSA keys have 2048 bits and more (RFC 7518, section 3.3).

use base64::{Engine, prelude::BASE64_STANDARD};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    error::ErrorStack,
    hash::hash,
    memcmp,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer, Verifier},
    x509::X509,
};
use portcullis_apidef::SigningMethod;
use portcullis_pki::wiped::Wiped;

use super::jws::{Algorithm, Hash};

/// Fewest bits of an RSA key.
const FEWEST_BITS: u32 = 2048;

/// Most bits of an RSA key: verifying takes longer with every bit.
const MOST_BITS: u32 = 8192;

/// A key.
pub struct VerificationKey(Kind);

enum Kind {
    Secret(Wiped),
    Rsa(PKey<Public>),
    Curve(Hash, EcKey<Public>),
    Ed25519(PKey<Public>),
}

/// Why something is no key tokens can be verified with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither a public key nor a certificate.
    #[error("it is neither a public key nor a certificate, in PEM or DER")]
    Form,
    /// An empty secret.
    #[error("the secret is empty")]
    Empty,
    /// A key of another kind.
    #[error("it is a key of a kind that tokens are not verified with")]
    Kind,
    /// RSA with too few or too many bits.
    #[error(
        "it is an RSA key of {0} bits; {FEWEST_BITS} to {MOST_BITS} are accepted (RFC 7518, section 3.3)"
    )]
    Bits(u32),
    /// Its numbers are no key.
    #[error("its numbers are no key of its kind")]
    Numbers(#[from] ErrorStack),
}

impl VerificationKey {
    /// A secret of HMAC.
    ///
    /// # Errors
    /// [`KeyError::Empty`].
    pub fn secret(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match bytes.is_empty() {
            true => Err(KeyError::Empty),
            false => Ok(Self(Kind::Secret(Wiped::new(bytes)))),
        }
    }

    /// A public key or the one of a certificate, in PEM or DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn public(text: &[u8]) -> Result<Self, KeyError> {
        let certificate = |found: Result<X509, ErrorStack>| found.and_then(|c| c.public_key());
        let key = PKey::public_key_from_pem(text)
            .or_else(|_| certificate(X509::from_pem(text)))
            .or_else(|_| PKey::public_key_from_der(text))
            .or_else(|_| certificate(X509::from_der(text)))
            .map_err(|_| KeyError::Form)?;
        Self::of(key)
    }

    /// A certificate's.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn of_certificate(certificate: &X509) -> Result<Self, KeyError> {
        Self::of(certificate.public_key()?)
    }

    /// RSA, by modulus and exponent.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?);
        Self::of(PKey::from_rsa(Rsa::from_public_components(n, e)?)?)
    }

    /// A point of a curve named as in RFC 7518, section 6.2.1.1; both numbers have its full length.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn point(curve: &str, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let hash = match curve {
            "P-256" => Hash::Sha256,
            "P-384" => Hash::Sha384,
            "P-521" => Hash::Sha512,
            _ => return Err(KeyError::Kind),
        };
        if x.len() != hash.half() || y.len() != hash.half() {
            return Err(KeyError::Form);
        }
        let group = EcGroup::from_curve_name(hash.curve())?;
        let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
        let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y)?;
        Self::of(PKey::from_ec_key(key)?)
    }

    /// Ed25519, by its bytes (RFC 8037, section 2).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn ed25519(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::of(PKey::public_key_from_raw_bytes(bytes, Id::ED25519)?)
    }

    fn of(key: PKey<Public>) -> Result<Self, KeyError> {
        Ok(Self(match key.id() {
            Id::RSA => {
                let bits = key.bits();
                if !(FEWEST_BITS..=MOST_BITS).contains(&bits) {
                    return Err(KeyError::Bits(bits));
                }
                Kind::Rsa(key)
            }
            Id::EC => {
                let key = key.ec_key()?;
                key.check_key()?;
                let hash = [Hash::Sha256, Hash::Sha384, Hash::Sha512]
                    .into_iter()
                    .find(|hash| key.group().curve_name() == Some(hash.curve()));
                Kind::Curve(hash.ok_or(KeyError::Kind)?, key)
            }
            Id::ED25519 => Kind::Ed25519(key),
            _ => return Err(KeyError::Kind),
        }))
    }

    /// The family of algorithms it is for.
    pub fn method(&self) -> SigningMethod {
        match self.0 {
            Kind::Secret(_) => SigningMethod::Hmac,
            Kind::Rsa(_) => SigningMethod::Rsa,
            Kind::Curve(..) => SigningMethod::Ecdsa,
            Kind::Ed25519(_) => SigningMethod::Eddsa,
        }
    }

    /// The bytes of a secret; 0 for other keys.
    pub fn secret_length(&self) -> usize {
        match &self.0 {
            Kind::Secret(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Whether both are the same public key.
    pub fn same_as(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Rsa(ours), Kind::Rsa(theirs)) | (Kind::Ed25519(ours), Kind::Ed25519(theirs)) => {
                ours.public_eq(theirs)
            }
            (Kind::Curve(_, ours), Kind::Curve(_, theirs)) => {
                let of = |key: &EcKey<Public>| key.public_key_to_der();
                matches!((of(ours), of(theirs)), (Ok(ours), Ok(theirs)) if ours == theirs)
            }
            _ => false,
        }
    }

    /// Whether this key made a signature by an algorithm; false for an algorithm it is not made for.
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        // The library fails for what is no signature at all: that is no either.
        self.judge(algorithm, signed, signature).unwrap_or(false)
    }

    fn judge(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<bool, ErrorStack> {
        match (&self.0, algorithm) {
            (Kind::Secret(secret), Algorithm::Hmac(hash)) => {
                let key = PKey::hmac(secret)?;
                let expected = Signer::new(hash.digest(), &key)?.sign_oneshot_to_vec(signed)?;
                Ok(expected.len() == signature.len() && memcmp::eq(&expected, signature))
            }
            (Kind::Rsa(key), Algorithm::RsaPkcs1(hash)) => {
                let mut verifier = Verifier::new(hash.digest(), key)?;
                verifier.set_rsa_padding(Padding::PKCS1)?;
                verifier.verify_oneshot(signature, signed)
            }
            (Kind::Rsa(key), Algorithm::RsaPss(hash)) => {
                let mut verifier = Verifier::new(hash.digest(), key)?;
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_mgf1_md(hash.digest())?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                verifier.verify_oneshot(signature, signed)
            }
            (Kind::Curve(own, key), Algorithm::Ecdsa(hash)) if *own == hash => {
                if signature.len() != 2 * hash.half() {
                    return Ok(false);
                }
                let (r, s) = signature.split_at(hash.half());
                let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
                let digest = self::hash(hash.digest(), signed)?;
                EcdsaSig::from_private_components(r, s)?.verify(&digest, key)
            }
            (Kind::Ed25519(key), Algorithm::Eddsa) => {
                Verifier::new_without_digest(key)?.verify_oneshot(signature, signed)
            }
            _ => Ok(false),
        }
    }
}

/// Secrets are not shown, and of public keys only what they are.
impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerificationKey({:?})", self.method())
    }
}

impl Hash {
    /// The curve that goes with it (RFC 7518, section 3.4).
    fn curve(self) -> Nid {
        match self {
            Self::Sha256 => Nid::X9_62_PRIME256V1,
            Self::Sha384 => Nid::SECP384R1,
            Self::Sha512 => Nid::SECP521R1,
        }
    }

    /// Bytes of a number on that curve.
    fn half(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 66,
        }
    }
}

/// What Base64 stands for, with or without padding and line breaks.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut text: String = text.split_ascii_whitespace().collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
