//! Hashes that names of keys and passwords are stored under.
//!
//! All are without a seed, in lower-case hex, big endian, as a Tyk fleet has them.

use std::io::Cursor;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    /// 8 hex digits; see [`murmur32`] for why it protects nothing.
    Murmur32,
    /// 16 hex digits: the first half of MurmurHash3 x64-128.
    Murmur64,
    /// 32 hex digits: MurmurHash3 x64-128.
    Murmur128,
    /// 64 hex digits.
    Sha256,
}

impl HashFunction {
    /// The function a configuration or a token names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "murmur32" => Some(Self::Murmur32),
            "murmur64" => Some(Self::Murmur64),
            "murmur128" => Some(Self::Murmur128),
            "sha256" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Murmur32 => "murmur32",
            Self::Murmur64 => "murmur64",
            Self::Murmur128 => "murmur128",
            Self::Sha256 => "sha256",
        }
    }

    /// The hash of a text.
    pub fn hex(self, text: &str) -> String {
        match self {
            Self::Murmur32 => format!("{:08x}", murmur32(text.as_bytes())),
            Self::Murmur64 => format!("{:016x}", murmur128(text).0),
            Self::Murmur128 => {
                let (first, second) = murmur128(text);
                format!("{first:016x}{second:016x}")
            }
            Self::Sha256 => openssl::sha::sha256(text.as_bytes())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }
}

/// The 32-bit hash of a Tyk fleet, which is not the published MurmurHash3: only whole blocks of four
/// bytes are mixed; the last one to three bytes, the length and the final avalanche are left out.
///
/// So tokens shorter than four bytes are all the same, and a token differs from another only by its
/// whole blocks. It is here to read and write what such a fleet shares, and nowhere else.
fn murmur32(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    for block in bytes.as_chunks::<4>().0 {
        let mixed = u32::from_le_bytes(*block)
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593);
        hash = (hash ^ mixed)
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    hash
}

/// Both halves of MurmurHash3 x64-128.
fn murmur128(text: &str) -> (u64, u64) {
    // Reading from memory does not fail.
    let hash = murmur3::murmur3_x64_128(&mut Cursor::new(text.as_bytes()), 0).unwrap_or_default();
    let [first, second] = [hash, hash >> 64].map(|half| (half & u128::from(u64::MAX)) as u64);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values a Tyk fleet has in its Redis.
    #[test]
    fn hashes_are_those_of_the_golden_vectors() {
        let token = |end: &str| format!("eyJvcmciOiJkZWZhdWx0IiwiaWQiOiJteWtleSIsImgiOiJ{end}");
        let grpc = "eyJvcmciOiI1ZTlkOTU0NGExZGNkNjAwMDFkMGVkMjAiLCJpZCI6ImdycGNfaG1hY19rZXkiLCJoIjoibXVybXVyNjQifQ==";
        let certificate = "eyJvcmciOiJkZWZhdWx0IiwiaWQiOiJlM2IwYzQ0Mjk4ZmMxYzE0OWFmYmY0Yzg5OTZmYjkyNDI3YWU0MWU0NjQ5YjkzNGNhNDk1OTkxYjc4NTJiODU1IiwiaCI6InNoYTI1NiJ9";
        let legacy = "defaulte3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (text, function, expected) in [
            (grpc, HashFunction::Murmur64, "a72fcdc09caa86b5"),
            (
                &token("tdXJtdXI2NCJ9"),
                HashFunction::Murmur64,
                "20996d934a45f3af",
            ),
            (
                &token("tdXJtdXIxMjgifQ=="),
                HashFunction::Murmur128,
                "a253b911598da48c88c821365424c14b",
            ),
            (
                &token("zaGEyNTYifQ=="),
                HashFunction::Sha256,
                "103870ea2b2743f8a275d1e65e917ff9e44ebfae66eade42ae92f2195bb3f5c0",
            ),
            (&token("tdXJtdXIzMiJ9"), HashFunction::Murmur32, "266c2727"),
            ("defaultmykey", HashFunction::Murmur32, "259d945d"),
            ("GET:/api/v1/users", HashFunction::Murmur32, "e0a415db"),
            (legacy, HashFunction::Murmur32, "7032d654"),
            (
                certificate,
                HashFunction::Sha256,
                "92394fd36da8b90ddf17b1f93e78398671c837d91411511c5a8a6299acd43d1e",
            ),
        ] {
            assert_eq!(
                function.hex(text),
                expected,
                "{} of {text}",
                function.name()
            );
        }
    }

    #[test]
    fn the_32_bit_hash_does_not_see_the_end_of_a_token() {
        let hash = |text| HashFunction::Murmur32.hex(text);
        assert_eq!(hash("abc"), "00000000");
        assert_eq!(hash("abcdabc"), hash("abcd"));
        assert_ne!(hash("abcdabcd"), hash("abcd"));
    }
}
