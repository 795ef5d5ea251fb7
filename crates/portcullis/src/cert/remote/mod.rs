//! The verbs of `cert` that speak to a gateway's Control API.
//!
//! Invariant: the secret goes only to a gateway that was verified, unless the user says
//! `--insecure`, and appears in no message.

mod access;
mod show;
mod trust;

use std::path::Path;

use serde_json::Value;

pub use self::access::{Gateway, RemoteError};
use super::{
    CertError,
    arguments::{AddArguments, InventoryArguments, ListArguments, RemoveArguments, ShowArguments},
    input::{self, Key},
    note,
};

/// Uploads a certificate; its id.
///
/// # Errors
/// [`CertError`]; the gateway's own message when it refuses.
pub fn add(arguments: &AddArguments) -> Result<String, CertError> {
    let mut pem = as_pem(&arguments.file)?;
    if let Some(key) = &arguments.private_key {
        let key = input::read(key, None)?;
        let text = match &key.key {
            Key::Open(key) => key.private_key_to_pem_pkcs8().map_err(CertError::Library)?,
            Key::Locked => return Err(CertError::Locked { place: key.place }),
            Key::Absent => return Err(CertError::NoKey { place: key.place }),
        };
        pem.extend_from_slice(&text);
    }
    let gateway = Gateway::reach(&arguments.access)?;
    let answer = gateway.post("/tyk/certs", &[("org_id", &arguments.org)], pem)?;
    match answer.get("id").and_then(Value::as_str) {
        Some(id) => Ok(format!("{id}\n")),
        None => Err(RemoteError::Strange("an upload was answered without an id".to_owned()).into()),
    }
}

/// The file as the gateway wants it. PEM goes as it is, so that the gateway judges what it says.
fn as_pem(path: &Path) -> Result<Vec<u8>, CertError> {
    let (bytes, place) = input::bytes(path)?;
    if std::str::from_utf8(&bytes).is_ok_and(portcullis_pki::pem::looks_like_pem) {
        return Ok(bytes);
    }
    let input = input::of_bytes(&bytes, place, None)?;
    let mut pem = Vec::new();
    for certificate in &input.certificates {
        pem.extend(certificate.to_pem().map_err(CertError::Library)?);
    }
    for key in &input.public_keys {
        pem.extend(key.public_key_to_pem().map_err(CertError::Library)?);
    }
    match pem.is_empty() {
        true => Err(CertError::NoCertificate { place: input.place }),
        false => Ok(pem),
    }
}

/// The ids in the store, or a table of their certificates.
///
/// # Errors
/// [`CertError`].
pub fn list(arguments: &ListArguments) -> Result<String, CertError> {
    let gateway = Gateway::reach(&arguments.access)?;
    let mut query = vec![("org_id", arguments.org.as_str())];
    if arguments.detailed {
        query.push(("mode", "detailed"));
    }
    let answer = gateway.get("/tyk/certs", &query)?;
    if arguments.json {
        return Ok(format!("{answer:#}\n"));
    }
    let certificates = answer.get("certs").and_then(Value::as_array);
    let certificates = certificates.map_or(&[][..], Vec::as_slice);
    if certificates.is_empty() {
        note("no certificates");
        return Ok(String::new());
    }
    Ok(match arguments.detailed {
        true => show::details(certificates),
        false => certificates
            .iter()
            .filter_map(Value::as_str)
            .map(|id| format!("{id}\n"))
            .collect(),
    })
}

/// What the store says of one certificate.
///
/// # Errors
/// [`CertError`]; one that is not there is an error.
pub fn show(arguments: &ShowArguments) -> Result<String, CertError> {
    let gateway = Gateway::reach(&arguments.access)?;
    let found = gateway.get(&path_of(&arguments.id)?, &[])?;
    Ok(match arguments.json {
        true => format!("{found:#}\n"),
        false => show::one(&found),
    })
}

/// Removes a certificate and says what has used it.
///
/// # Errors
/// [`CertError`]; one that is not there is an error.
pub fn remove(arguments: &RemoveArguments) -> Result<String, CertError> {
    let gateway = Gateway::reach(&arguments.access)?;
    let path = path_of(&arguments.id)?;
    let org: Vec<(&str, &str)> = arguments
        .org
        .as_deref()
        .map(|org| ("org_id", org))
        .into_iter()
        .collect();
    // The gateway says "removed" whatever the id is; whoever typed a wrong one wants to know. An
    // entry that it cannot open is there all the same, and the list names it.
    match gateway.get(&path, &[]) {
        Ok(_) => {}
        Err(RemoteError::Refused {
            status: 404,
            message,
        }) => {
            let own = arguments
                .id
                .len()
                .checked_sub(64)
                .and_then(|at| arguments.id.get(..at));
            let wanted = arguments.org.as_deref().or(own).unwrap_or_default();
            let listed = gateway.get("/tyk/certs", &[("org_id", wanted)])?;
            let ids = listed.get("certs").and_then(Value::as_array);
            let listed = ids.is_some_and(|ids| ids.iter().any(|id| id == arguments.id.as_str()));
            if !listed {
                return Err(RemoteError::Refused {
                    status: 404,
                    message,
                }
                .into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(warning) = gateway.delete(&path, &org)? {
        note(&format!(
            "warning: it was {warning}; what uses it goes on without it"
        ));
    }
    Ok(format!("removed {}\n", arguments.id))
}

/// Every certificate the gateway knows.
///
/// # Errors
/// [`CertError`].
pub fn inventory(arguments: &InventoryArguments) -> Result<String, CertError> {
    let gateway = Gateway::reach(&arguments.access)?;
    let days = arguments.expiring.map(|days| days.to_string());
    let query: Vec<(&str, &str)> = days
        .iter()
        .map(|days| ("expiring", days.as_str()))
        .collect();
    // To a Tyk gateway the path is that of a certificate it does not have.
    let answer = match gateway.get("/tyk/certs/inventory", &query) {
        Err(RemoteError::Refused { status: 404, .. }) => {
            return Err(RemoteError::Lacks("inventory").into());
        }
        answer => answer?,
    };
    Ok(match arguments.json {
        true => format!("{answer:#}\n"),
        false => show::inventory(&answer, arguments.expiring.is_some()),
    })
}

/// The path of one certificate. A list of ids would be answered as a list, or not at all.
fn path_of(id: &str) -> Result<String, RemoteError> {
    let plain = !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    match plain {
        true => Ok(format!("/tyk/certs/{id}")),
        false => Err(RemoteError::Id(portcullis_pki::names::printable(id))),
    }
}
