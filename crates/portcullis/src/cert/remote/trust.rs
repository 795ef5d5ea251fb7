//! Whom a client of a gateway trusts, and what it shows.

use std::path::Path;

use portcullis_config::causes;
use portcullis_pki::pem::Bundle;
use reqwest::blocking::ClientBuilder;

use super::{
    super::{
        CertError,
        arguments::GatewayAccess,
        input::{self, Key},
        note,
    },
    access::RemoteError,
};

/// Whom the client trusts and what it shows.
pub(super) fn apply(
    mut client: ClientBuilder,
    access: &GatewayAccess,
) -> Result<ClientBuilder, CertError> {
    if access.insecure {
        note("warning: --insecure: the gateway is not verified, its secret may go to anybody");
        client = client.tls_danger_accept_invalid_certs(true);
    }
    if let Some(file) = &access.cacert {
        let input = input::read(file, None)?;
        if input.certificates.is_empty() {
            return Err(CertError::NoCertificate { place: input.place });
        }
        for certificate in &input.certificates {
            let der = certificate.to_der().map_err(CertError::Library)?;
            let certificate = reqwest::Certificate::from_der(&der)
                .map_err(|error| RemoteError::Settings(causes(&error)))?;
            client = client.add_root_certificate(certificate);
        }
    }
    if let (Some(certificate), Some(key)) = (&access.cert, &access.key) {
        client = client.identity(identity(certificate, key)?);
    }
    Ok(client)
}

fn identity(certificate: &Path, key: &Path) -> Result<reqwest::Identity, CertError> {
    let (chain, place) = input::bytes(certificate)?;
    let chain = input::of_bytes(&chain, place, None)?;
    let key = input::read(key, None)?;
    let key_pem = match &key.key {
        Key::Open(key) => key.private_key_to_pem_pkcs8().map_err(CertError::Library)?,
        Key::Locked => return Err(CertError::Locked { place: key.place }),
        Key::Absent => return Err(CertError::NoKey { place: key.place }),
    };
    let mut pem = Vec::new();
    for certificate in &chain.certificates {
        pem.extend(certificate.to_pem().map_err(CertError::Library)?);
    }
    if pem.is_empty() {
        return Err(CertError::NoCertificate { place: chain.place });
    }
    let belongs = Bundle::parse(&[&pem[..], &key_pem].concat(), None).is_ok_and(|bundle| {
        let public = bundle.certificates[0].public_key();
        bundle
            .key
            .is_some_and(|key| public.is_ok_and(|public| public.public_eq(&key)))
    });
    if !belongs {
        return Err(CertError::WrongKey {
            certificate: chain.place,
            key: key.place,
        });
    }
    reqwest::Identity::from_pkcs8_pem(&pem, &key_pem)
        .map_err(|error| RemoteError::Settings(causes(&error)).into())
}
