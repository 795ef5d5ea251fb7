//! The traditional encryption of PEM blocks: `Proc-Type` and `DEK-Info` header lines, a key made of
//! the passphrase with MD5.
//!
//! It is weak against guessing of a weak passphrase, and it is what a Tyk fleet keeps private keys in,
//! so the certificate store reads and writes it. OpenSSL writes it with `-traditional`.
//!
//! The store's own label for such a block is `ENCRYPTED PRIVATE KEY`, which elsewhere means PKCS#8; under
//! the label of its key type (`RSA PRIVATE KEY`, `EC PRIVATE KEY`) `openssl` opens the same block.

use openssl::{
    error::ErrorStack,
    hash::{MessageDigest, hash},
    rand::rand_bytes,
    symm::{Cipher, decrypt, encrypt},
};

use crate::{block::Block, wiped::Wiped};

/// Label of a private key in the certificate store.
pub const STORED_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// The ciphers a block may be encrypted with, for messages.
pub(crate) const CIPHERS: &str = "AES-256-CBC, AES-192-CBC, AES-128-CBC, DES-EDE3-CBC and DES-CBC";

/// Why an encrypted block does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegacyError {
    /// `DEK-Info` names a cipher or an initialisation vector that cannot be.
    Cipher,
    /// The passphrase is another one, or the content is damaged.
    Passphrase,
}

/// The DER of a private key as a block of the certificate store: AES-256-CBC under a random
/// initialisation vector.
pub fn seal(der: &[u8], passphrase: &str) -> Result<Block, ErrorStack> {
    let mut iv = [0; 16];
    rand_bytes(&mut iv)?;
    seal_with(der, passphrase, &iv)
}

fn seal_with(der: &[u8], passphrase: &str, iv: &[u8; 16]) -> Result<Block, ErrorStack> {
    let cipher = Cipher::aes_256_cbc();
    let key = derive_key(passphrase.as_bytes(), &iv[..8], cipher.key_len())?;
    let sealed = encrypt(cipher, &key, Some(iv), der)?;
    let iv: String = iv.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Block {
        label: STORED_KEY.to_owned(),
        headers: vec![
            ("Proc-Type".to_owned(), "4,ENCRYPTED".to_owned()),
            ("DEK-Info".to_owned(), format!("AES-256-CBC,{iv}")),
        ],
        bytes: Wiped::new(sealed),
    })
}

/// Opens content that was encrypted as the value of a `DEK-Info` header line says.
pub(crate) fn open(sealed: &[u8], dek_info: &str, passphrase: &str) -> Result<Wiped, LegacyError> {
    let (algorithm, iv) = dek_info.split_once(',').ok_or(LegacyError::Cipher)?;
    let iv = unhex(iv.trim()).ok_or(LegacyError::Cipher)?;
    let cipher = match algorithm.trim().to_ascii_uppercase().as_str() {
        "AES-128-CBC" => Cipher::aes_128_cbc(),
        "AES-192-CBC" => Cipher::aes_192_cbc(),
        "AES-256-CBC" => Cipher::aes_256_cbc(),
        "DES-EDE3-CBC" => Cipher::des_ede3_cbc(),
        "DES-CBC" => Cipher::des_cbc(),
        _ => return Err(LegacyError::Cipher),
    };
    if Some(iv.len()) != cipher.iv_len() || iv.len() < 8 {
        return Err(LegacyError::Cipher);
    }
    derive_key(passphrase.as_bytes(), &iv[..8], cipher.key_len())
        .and_then(|key| decrypt(cipher, &key, Some(&iv), sealed))
        .map(Wiped::new)
        .map_err(|_| LegacyError::Passphrase)
}

/// Chained MD5, one round.
fn derive_key(passphrase: &[u8], salt: &[u8], length: usize) -> Result<Wiped, ErrorStack> {
    let mut key = Vec::with_capacity(length.next_multiple_of(16));
    let mut last = 0..0;
    while key.len() < length {
        let input = Wiped::new([&key[last], passphrase, salt].concat());
        last = key.len()..key.len() + 16;
        key.extend_from_slice(&hash(MessageDigest::md5(), &input)?);
    }
    key.truncate(length);
    Ok(Wiped::new(key))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "352d20ee67be67f6340b4c0605b044b7";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What a Tyk node writes for the same secret, vector and content.
    #[test]
    fn the_known_answer_of_the_store_format() {
        let key = derive_key(SECRET.as_bytes(), &[0; 8], 32).unwrap();
        assert_eq!(
            hex(&key),
            "addbd20902791011a960fc77f62da143adae810908ad0601590d8cab4a8d79f2"
        );
        let block = seal_with(&[0x30, 0x00], SECRET, &[0; 16]).unwrap();
        assert_eq!(hex(&block.bytes), "50cc2bb0efad272e681a0a2c198baac6");
        assert_eq!(
            block.to_pem(),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
             DEK-Info: AES-256-CBC,00000000000000000000000000000000\n\n\
             UMwrsO+tJy5oGgosGYuqxg==\n-----END ENCRYPTED PRIVATE KEY-----\n"
        );
        let opened = open(&block.bytes, block.header("DEK-Info").unwrap(), SECRET).unwrap();
        assert_eq!(&*opened, [0x30, 0x00]);
    }

    #[test]
    fn content_of_whole_blocks_gets_a_block_of_padding_and_vectors_differ() {
        let (one, other) = (
            seal(&[7; 16], "any length is a passphrase").unwrap(),
            seal(&[7; 16], "any length is a passphrase").unwrap(),
        );
        assert_eq!(one.bytes.len(), 32);
        assert_ne!(one.headers, other.headers);
        assert_ne!(one.bytes, other.bytes);
    }

    #[test]
    fn an_unknown_cipher_or_vector_is_told_from_a_wrong_passphrase() {
        for info in [
            "",
            "AES-256-CBC",
            "AES-256-CBC,00",
            "AES-256-CBC,zz",
            "AES-256-GCM,00000000000000000000000000000000",
            "DES-CBC,00000000000000000000000000000000",
        ] {
            assert_eq!(
                open(&[0; 16], info, SECRET),
                Err(LegacyError::Cipher),
                "{info}"
            );
        }
        let iv = "00".repeat(16);
        assert_eq!(
            open(&[0; 15], &format!("AES-256-CBC,{iv}"), SECRET),
            Err(LegacyError::Passphrase)
        );
    }
}
