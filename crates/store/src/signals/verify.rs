//! Which messages are believed, and how ours are signed.

use std::path::{Path, PathBuf};

use openssl::{
    base64,
    hash::MessageDigest,
    pkey::{PKey, Public},
    sha::sha256,
    sign::Verifier,
};
use portcullis_config::Secret;
use serde::{Deserialize, Serialize};

/// What a fleet calls SHA-256 over command, payload and `node_secret`.
const KEYED_DIGEST: i64 = 5;

/// Which messages are believed, and how ours are signed.
pub struct Rules {
    node_secret: Secret,
    public_key: Option<PKey<Public>>,
    allow_unsigned: bool,
}

/// Why signals cannot be verified as the configuration wants.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The key of `public_key_path` cannot be used.
    #[error("{}: {reason}; a PEM file with a PUBLIC KEY is expected", path.display())]
    PublicKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a message is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not what nodes say: {0}")]
    Malformed(String),
    #[error("its signature is wrong")]
    WrongSignature,
    #[error("it is signed with a private key, and no public_key_path is configured")]
    NoPublicKey,
}

/// A message, member names case-insensitive when read.
#[derive(Serialize)]
struct Written<'a> {
    command: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Read {
    command: String,
    payload: String,
    signature: String,
    algorithm: i64,
}

impl Rules {
    /// Nodes that know the same secret believe each other.
    pub fn with_secret(node_secret: Secret) -> Self {
        Self {
            node_secret,
            public_key: None,
            allow_unsigned: false,
        }
    }

    /// Also believes messages signed with the private key of this public key.
    ///
    /// # Errors
    /// [`RulesError`] when the file holds none.
    pub fn and_public_key(mut self, path: &Path) -> Result<Self, RulesError> {
        let unusable = |reason: String| RulesError::PublicKey {
            path: path.to_owned(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let key = PKey::public_key_from_pem(&pem)
            .map_err(|_| unusable("it holds no PUBLIC KEY block that can be read".to_owned()))?;
        self.public_key = Some(key);
        Ok(self)
    }

    /// Believes everybody (`allow_insecure_configs`).
    #[must_use]
    pub fn dangerous_unsigned(mut self) -> Self {
        self.allow_unsigned = true;
        self
    }

    /// The text of a message.
    pub(super) fn signed(&self, command: &str, payload: &str) -> String {
        let written = Written {
            command,
            payload,
            signature: &self.digest(command, payload),
            algorithm: KEYED_DIGEST,
        };
        serde_json::to_string(&written).expect("texts and a number are JSON")
    }

    /// Command and payload of a message that may be believed.
    pub(super) fn believed(&self, text: &str) -> Result<(String, String), Refused> {
        let message = parse(text)?;
        if !self.allow_unsigned {
            self.verify(&message)?;
        }
        Ok((message.command, message.payload))
    }

    fn verify(&self, message: &Read) -> Result<(), Refused> {
        if message.algorithm == KEYED_DIGEST {
            let wanted = self.digest(&message.command, &message.payload);
            let given = message.signature.as_bytes();
            let right =
                wanted.len() == given.len() && openssl::memcmp::eq(wanted.as_bytes(), given);
            return right.then_some(()).ok_or(Refused::WrongSignature);
        }
        let key = self.public_key.as_ref().ok_or(Refused::NoPublicKey)?;
        let signature =
            base64::decode_block(message.signature.trim()).map_err(|_| Refused::WrongSignature)?;
        Verifier::new(MessageDigest::sha256(), key)
            .and_then(|mut verifier| {
                verifier.verify_oneshot(&signature, message.payload.as_bytes())
            })
            .unwrap_or(false)
            .then_some(())
            .ok_or(Refused::WrongSignature)
    }

    fn digest(&self, command: &str, payload: &str) -> String {
        let text = [command, payload, self.node_secret.reveal()].concat();
        sha256(text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn parse(text: &str) -> Result<Read, Refused> {
    let malformed = |error: serde_json::Error| Refused::Malformed(error.to_string());
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(malformed)?;
    let members = members
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    serde_json::from_value(serde_json::Value::Object(members)).map_err(malformed)
}
