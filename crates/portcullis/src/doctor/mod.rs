//! `portcullis doctor`: what would become of a client, what a live server does, or how an upstream is
//! reached, in plain words.

mod live;
mod offline;
mod upstream;

use std::{io::Write, path::Path, sync::Arc};

use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use portcullis_gateway::{Diagnosis, Outcome};
use portcullis_pki::PresentedChain;

use crate::{
    cert::{
        CertError,
        input::{self, Key},
    },
    cli::DoctorArguments,
    exit::{Exit, Failure},
};

/// The client's certificate and key.
pub struct Identity {
    certificates: Vec<X509>,
    chain: Arc<PresentedChain>,
    key: Key,
}

/// Examines.
///
/// # Errors
/// When a file cannot be read, or the configuration cannot be used.
pub fn run(arguments: &DoctorArguments) -> Result<Exit, Failure> {
    let client = match &arguments.cert {
        Some(path) => Some(Identity::read(path, arguments.key.as_deref())?),
        None => None,
    };
    let mut diagnosis = match (&arguments.connect, upstream::destination(arguments)) {
        (Some(server), _) => live::examine(arguments, server, client.as_ref())?,
        (None, Some(destination)) => upstream::examine(arguments, destination)?,
        (None, None) => offline::examine(arguments, client.as_ref())?,
    };
    if let Some(client) = &client {
        client.told(&mut diagnosis);
    }
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        let text = serde_json::to_string_pretty(&diagnosis).map_err(std::io::Error::from)?;
        writeln!(stdout, "{text}")?;
    } else {
        write!(stdout, "{}", text(&diagnosis))?;
    }
    Ok(match diagnosis.verdict {
        Outcome::Passes | Outcome::Note => Exit::Success,
        Outcome::Refused | Outcome::Unknown => Exit::Configuration,
    })
}

impl Identity {
    fn read(path: &Path, key: Option<&Path>) -> Result<Self, CertError> {
        let input = input::read(path, None)?;
        let key = match key {
            Some(path) => input::read(path, None)?.key,
            None => input.key,
        };
        let ders: Vec<Vec<u8>> = input
            .certificates
            .iter()
            .map(|certificate| certificate.to_der())
            .collect::<Result<_, _>>()
            .map_err(CertError::Library)?;
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        let chain = PresentedChain::of_der(&ders);
        let Ok(chain) = chain else {
            return Err(CertError::NoCertificate { place: input.place });
        };
        Ok(Self {
            certificates: input.certificates,
            chain: Arc::new(chain),
            key,
        })
    }

    /// The key, where it is at hand.
    fn open_key(&self) -> Option<&PKey<Private>> {
        match &self.key {
            Key::Open(key) => Some(key),
            Key::Absent | Key::Locked => None,
        }
    }

    /// Whether key and certificate belong together.
    fn told(&self, diagnosis: &mut Diagnosis) {
        let (outcome, says) = match &self.key {
            Key::Absent => (
                Outcome::Note,
                "no private key was given, so it is not known whether the client has the right one",
            ),
            Key::Locked => (
                Outcome::Note,
                "the private key is encrypted, so it is not known whether it is the certificate's",
            ),
            Key::Open(key) => {
                let public = self.chain.leaf().public_key();
                match public.is_ok_and(|public| public.public_eq(key)) {
                    true => (
                        Outcome::Passes,
                        "the private key belongs to the certificate",
                    ),
                    false => (
                        Outcome::Refused,
                        "the private key does not belong to the certificate: no handshake can succeed",
                    ),
                }
            }
        };
        diagnosis.step("key", outcome, says.to_owned());
        if outcome == Outcome::Refused {
            diagnosis.change = Some("Give the client the key of this certificate.".to_owned());
        }
    }
}

/// The diagnosis for people.
fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for step in &diagnosis.steps {
        let mark = match step.outcome {
            Outcome::Passes => "ok",
            Outcome::Refused => "FAILED",
            Outcome::Unknown => "unknown",
            Outcome::Note => "",
        };
        text.push_str(&format!("{mark:<8}{:<11}{}\n", step.step, step.says));
    }
    text.push_str(match diagnosis.verdict {
        Outcome::Passes | Outcome::Note => "It passes.\n",
        Outcome::Refused => "It does not pass.\n",
        Outcome::Unknown => "It cannot be said whether it passes.\n",
    });
    if let Some(change) = &diagnosis.change {
        text.push_str(&format!("To change: {change}\n"));
    }
    text
}
