//! `portcullis cert verify`: whether a certificate would be accepted.

use std::fmt::Write as _;

use openssl::x509::X509;
use portcullis_pki::verify::{Question, verify};

use super::{
    CertError,
    arguments::VerifyArguments,
    input::{self, Key},
    when,
};
use crate::exit::Exit;

/// The checks as text, and whether all of them are good.
///
/// # Errors
/// [`CertError`] when a file cannot be used.
pub fn run(arguments: &VerifyArguments) -> Result<(String, Exit), CertError> {
    let input = input::read(&arguments.input.file, None)?;
    if input.certificates.is_empty() {
        return Err(CertError::NoCertificate { place: input.place });
    }
    let mut anchors: Vec<X509> = Vec::new();
    for path in &arguments.anchors {
        let trusted = input::read(path, None)?;
        if trusted.certificates.is_empty() {
            return Err(CertError::NoCertificate {
                place: trusted.place,
            });
        }
        anchors.extend(trusted.certificates);
    }
    let question = Question {
        chain: &input.certificates,
        anchors: &anchors,
        purpose: arguments.purpose.map(Into::into),
        host: arguments.host.as_deref(),
        at: arguments.at.unwrap_or_else(when::now),
    };
    let mut checks: Vec<(&str, Result<String, String>)> = verify(&question)
        .map_err(CertError::Library)?
        .into_iter()
        .map(|check| (check.aspect.name(), check.outcome))
        .collect();
    if let Key::Open(key) = &input.key {
        let belongs = input.certificates[0]
            .public_key()
            .is_ok_and(|public| public.public_eq(key));
        let outcome = match belongs {
            true => Ok("the private key belongs to the certificate".to_owned()),
            false => Err("the private key does not belong to the certificate".to_owned()),
        };
        checks.push(("key", outcome));
    }
    let mut text = String::new();
    let mut failed = 0;
    for (name, outcome) in checks {
        let (verdict, said) = match outcome {
            Ok(said) => ("ok", said),
            Err(said) => {
                failed += 1;
                ("FAILED", said)
            }
        };
        let _ = writeln!(text, "{verdict:<7} {name:<9} {said}");
    }
    let (verdict, exit) = match failed {
        0 => ("would be accepted".to_owned(), Exit::Success),
        1 => (
            "would be refused: 1 check failed".to_owned(),
            Exit::Configuration,
        ),
        _ => (
            format!("would be refused: {failed} checks failed"),
            Exit::Configuration,
        ),
    };
    let _ = writeln!(text, "{}: {verdict}", input.place);
    Ok((text, exit))
}
