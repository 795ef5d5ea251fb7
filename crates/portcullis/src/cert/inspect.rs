//! `portcullis cert inspect`, `fingerprint` and `id`: what a file holds.

use std::fmt::Write as _;

use openssl::{
    pkey::{PKey, Private},
    sha::sha256,
    x509::X509Ref,
};
use portcullis_pki::{
    CertificateFacts, Fingerprint, KeyKind,
    block::blocks,
    chain::{Oddity, oddities},
    details::Details,
    names::printable,
};
use serde_json::{Value, json};

use super::{
    CertError,
    arguments::{FileArguments, IdArguments, InspectArguments},
    input::{self, Input, Key, Place},
    when,
};

/// Everything about a file, as text or JSON.
///
/// # Errors
/// [`CertError`].
pub fn inspect(arguments: &InspectArguments) -> Result<String, CertError> {
    let passphrase = super::passphrase(arguments.passphrase_file.as_deref())?;
    let input = input::read(&arguments.input.file, passphrase.as_deref())?;
    let now = when::now();
    let certificates = input
        .certificates
        .iter()
        .map(|certificate| Certificate::of(certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let key = match &input.key {
        Key::Open(key) => Some(key),
        Key::Locked | Key::Absent => None,
    };
    let odd = oddities(&input.certificates, key.map(|key| &**key));
    Ok(match arguments.json {
        true => format!("{:#}\n", as_json(&input, &certificates, key, &odd, now)),
        false => as_text(&input, &certificates, key, &odd, now),
    })
}

/// The fingerprint in both forms, one a line.
///
/// # Errors
/// [`CertError`].
pub fn fingerprint(arguments: &FileArguments) -> Result<String, CertError> {
    let input = input::read(&arguments.file, None)?;
    let Some(first) = input.certificates.first() else {
        return Err(CertError::NoCertificate { place: input.place });
    };
    let fingerprint = Fingerprint::of(first).map_err(CertError::Library)?;
    Ok(format!("{}\n{fingerprint}\n", fingerprint.with_colons()))
}

/// The id in the store: organisation and the hash of the first certificate, or of the last public
/// key when there is no certificate.
///
/// # Errors
/// [`CertError`].
pub fn id(arguments: &IdArguments) -> Result<String, CertError> {
    let (bytes, place) = input::bytes(&arguments.input.file)?;
    // The store hashes what the blocks hold, whether or not it is what their labels say.
    let of_block = |label: &str, last: bool| {
        let mut blocks = blocks(&bytes).filter(|block| block.label == label);
        let block = match last {
            true => blocks.last(),
            false => blocks.next(),
        };
        block.map(|block| Fingerprint::of_der(&block.bytes))
    };
    let hash = match of_block("CERTIFICATE", false).or_else(|| of_block("PUBLIC KEY", true)) {
        Some(hash) => hash,
        None => of_der(&bytes, place)?,
    };
    Ok(format!("{}{hash}\n", arguments.org))
}

/// The hash of a certificate or public key in DER.
fn of_der(bytes: &[u8], place: Place) -> Result<Fingerprint, CertError> {
    let input = input::of_bytes(bytes, place, None)?;
    if let Some(certificate) = input.certificates.first() {
        return Fingerprint::of(certificate).map_err(CertError::Library);
    }
    match input.public_keys.first() {
        Some(_) => Ok(Fingerprint::of_der(bytes)),
        None => Err(CertError::NoCertificate { place: input.place }),
    }
}

struct Certificate {
    facts: CertificateFacts,
    details: Details,
    /// SHA-256 of its public key, in the form of pins.
    public_key: String,
}

impl Certificate {
    fn of(certificate: &X509Ref) -> Result<Self, CertError> {
        let key = certificate
            .public_key()
            .and_then(|key| key.public_key_to_der());
        Ok(Self {
            facts: CertificateFacts::of(certificate).map_err(CertError::Library)?,
            details: Details::of(certificate).map_err(CertError::Library)?,
            public_key: key.map(|der| hex(&sha256(&der))).unwrap_or_default(),
        })
    }

    fn is_for(&self) -> String {
        match (&self.details.purposes, self.facts.is_ca) {
            (Some(purposes), _) => purposes.join(", "),
            (None, true) => "not restricted (authority)".to_owned(),
            (None, false) => "not restricted".to_owned(),
        }
    }

    fn validity(&self, now: i64) -> String {
        let left = if now < self.facts.not_before {
            "not valid yet".to_owned()
        } else {
            when::days_left(self.facts.days_left(now))
        };
        let (from, to) = (
            when::show(self.facts.not_before),
            when::show(self.facts.not_after),
        );
        format!("{from} to {to}, {left}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_text(
    input: &Input,
    certificates: &[Certificate],
    key: Option<&PKey<Private>>,
    odd: &[Oddity],
    now: i64,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let mut blocks = Vec::new();
    for (at, certificate) in certificates.iter().enumerate() {
        let (facts, details) = (&certificate.facts, &certificate.details);
        let mut block = format!("certificate {} of {}\n", at + 1, certificates.len());
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(block, "  {name:<12} {value}");
        };
        line("subject", &details.subject);
        let issuer = match details.self_signed {
            true => format!("{} (itself)", details.issuer),
            false => details.issuer.clone(),
        };
        line("issuer", &issuer);
        if !details.alternatives.is_empty() {
            let names: Vec<String> = details
                .alternatives
                .iter()
                .map(ToString::to_string)
                .collect();
            line("names", &names.join(", "));
        }
        line("valid", &certificate.validity(now));
        line("key", &facts.key.to_string());
        line(
            "authority",
            &match (facts.is_ca, details.path_length) {
                (true, Some(length)) => format!("yes, path length {length}"),
                (true, None) => "yes".to_owned(),
                (false, _) => "no".to_owned(),
            },
        );
        line("use", &certificate.is_for());
        if let Some(usage) = &details.key_usage {
            line("key usage", &usage.join(", "));
        }
        line("signature", &details.signature);
        line("serial", &details.serial);
        line("fingerprint", &facts.fingerprint.with_colons());
        line("id", &facts.fingerprint.to_string());
        line("public key", &certificate.public_key);
        blocks.push(block);
    }
    for key in &input.public_keys {
        let der = key.public_key_to_der().unwrap_or_default();
        blocks.push(format!(
            "public key\n  key          {}\n  id           {}\n",
            KeyKind::of(key),
            Fingerprint::of_der(&der)
        ));
    }
    match (&input.key, key) {
        (_, Some(key)) => {
            line("key", &KeyKind::of(key).to_string());
            let belongs = !odd
                .iter()
                .any(|odd| matches!(odd, Oddity::KeyOfNone | Oddity::KeyOfAnother { .. }));
            if !certificates.is_empty() && belongs {
                line("belongs to", "certificate 1");
            }
            blocks.push(format!("private key\n{text}"));
        }
        (Key::Locked, None) => blocks
            .push("private key\n  encrypted; give --passphrase-file to look at it\n".to_owned()),
        (Key::Open(_) | Key::Absent, None) => {}
    }
    if !odd.is_empty() || input.repaired {
        let mut block = "to know\n".to_owned();
        if input.repaired {
            block.push_str("  the PEM has lost its line breaks; it can be read all the same\n");
        }
        for odd in odd {
            let _ = writeln!(block, "  {odd}");
        }
        blocks.push(block);
    }
    blocks.join("\n")
}

fn as_json(
    input: &Input,
    certificates: &[Certificate],
    key: Option<&PKey<Private>>,
    odd: &[Oddity],
    now: i64,
) -> Value {
    let certificates: Vec<Value> = certificates
        .iter()
        .map(|certificate| {
            let (facts, details) = (&certificate.facts, &certificate.details);
            json!({
                "subject": details.subject,
                "issuer": details.issuer,
                "self_signed": details.self_signed,
                "names": details.alternatives.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "not_before": when::show(facts.not_before),
                "not_after": when::show(facts.not_after),
                "days_left": facts.days_left(now),
                "key": facts.key.to_string(),
                "is_ca": facts.is_ca,
                "path_length": details.path_length,
                "extended_key_usage": details.purposes,
                "key_usage": details.key_usage,
                "signature": details.signature,
                "serial": details.serial,
                "fingerprint": facts.fingerprint.with_colons(),
                "id": facts.fingerprint.to_string(),
                "public_key_sha256": certificate.public_key,
            })
        })
        .collect();
    let public_keys: Vec<Value> = input
        .public_keys
        .iter()
        .map(|key| {
            let der = key.public_key_to_der().unwrap_or_default();
            json!({"key": KeyKind::of(key).to_string(), "id": Fingerprint::of_der(&der).to_string()})
        })
        .collect();
    let belongs = !odd
        .iter()
        .any(|odd| matches!(odd, Oddity::KeyOfNone | Oddity::KeyOfAnother { .. }));
    let private_key = match (&input.key, key) {
        (_, Some(key)) => json!({
            "key": KeyKind::of(key).to_string(),
            "encrypted": false,
            "belongs_to_first_certificate": !certificates.is_empty() && belongs,
        }),
        (Key::Locked, None) => json!({"encrypted": true}),
        (Key::Open(_) | Key::Absent, None) => Value::Null,
    };
    let problems: Vec<Value> = odd
        .iter()
        .map(|odd| json!({"message": printable(&odd.to_string()), "harmful": odd.is_harmful()}))
        .collect();
    json!({
        "certificates": certificates,
        "public_keys": public_keys,
        "private_key": private_key,
        "problems": problems,
        "repaired": input.repaired,
    })
}
