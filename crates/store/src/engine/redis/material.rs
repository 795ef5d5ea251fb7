//! What a TLS connection to Redis is made with: authorities, the client's pair, versions (outbound
//! sheet 9).
//!
//! Invariant: what cannot be used is an error, never a connection with less than was asked for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use native_tls::{Certificate, Identity, Protocol, TlsConnector};
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use portcullis_config::Redis as Config;
use portcullis_pki::{file::FileStamp, load_pair, pem::Bundle};

use super::stored::{Chosen, Entries};
use crate::StoreError;

/// What connections are made with.
pub(super) enum Material {
    /// Without TLS.
    Clear,
    /// With TLS.
    Tls(Tls),
    /// Nothing can be connected to, and why.
    Missing(String),
}

/// Why nothing can be connected with.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Settings, or the files they name.
    Settings(StoreError),
    /// Entries of the certificate store: which, and why.
    Entries(String),
}

impl From<StoreError> for Unusable {
    fn from(error: StoreError) -> Self {
        Self::Settings(error)
    }
}

/// TLS settings whose files and entries have been read.
pub(super) struct Tls {
    /// Makes TLS connections.
    pub(super) connector: TlsConnector,
    /// The files it was made of, as they were.
    pub(super) stamps: Vec<FileStamp>,
    /// The entries of the certificate store it was made of, as they were.
    pub(super) entries: Entries,
    /// The client's certificate, in DER.
    pub(super) own: Option<Arc<[u8]>>,
    /// How many authorities take the place of the system's.
    pub(super) authorities: Option<usize>,
}

impl Material {
    /// What TLS connections are made with, where there are some.
    pub(super) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Clear | Self::Missing(_) => None,
        }
    }

    /// What makes TLS connections; `None` for connections without TLS.
    ///
    /// # Errors
    /// Why there can be no connection.
    pub(super) fn connector(&self) -> Result<Option<TlsConnector>, String> {
        match self {
            Self::Clear => Ok(None),
            Self::Tls(tls) => Ok(Some(tls.connector.clone())),
            Self::Missing(why) => Err(why.clone()),
        }
    }
}

/// Reads what the settings in `block` name, and takes what the entries of the certificate store hold, in their
/// place where they are named.
///
/// # Errors
/// [`Unusable`], which says what is to be mended.
pub(super) fn load(
    config: &Config,
    block: &str,
    entries: Entries,
    chosen: Chosen,
) -> Result<Material, Unusable> {
    if !config.use_ssl {
        return Ok(Material::Clear);
    }
    let (min, max) = versions(config, block)?;
    let mut builder = TlsConnector::builder();
    builder
        .min_protocol_version(Some(min))
        .max_protocol_version(Some(max))
        .danger_accept_invalid_certs(config.ssl_insecure_skip_verify)
        .danger_accept_invalid_hostnames(config.ssl_insecure_skip_verify);
    let mut stamps = Vec::new();
    let (mut own, mut trusted) = (None, None);
    let has_stored_pair = chosen.pair.is_some();
    if let Some(named) = chosen.authorities {
        trusted = Some(named.len());
        for authority in native(&named).map_err(|reason| of_entries("ca_cert_ids", &reason))? {
            builder.add_root_certificate(authority);
        }
        builder.disable_built_in_roots(true);
    } else if let Some(path) = &config.ca_file {
        let unusable = |reason: String| unusable(block, "ca_file", path, &reason);
        stamps.push(FileStamp::of(path).map_err(|error| unusable(error.to_string()))?);
        let named = authorities(path).map_err(unusable)?;
        trusted = Some(named.len());
        for authority in named {
            builder.add_root_certificate(authority);
        }
        builder.disable_built_in_roots(true);
    }
    if let Some((certificates, key)) = chosen.pair {
        let unusable = |reason: String| of_entries("cert_id", &reason);
        builder.identity(identity(&certificates, &key).map_err(unusable)?);
        let leaf = certificates.first().map(|leaf| leaf.to_der()).transpose();
        own = leaf
            .map_err(|error| unusable(error.to_string()))?
            .map(Arc::from);
    } else if let Some((certificate, key)) = pair_paths(config, block)? {
        let unusable = |reason: String| unusable(block, "cert_file", certificate, &reason);
        let loaded =
            load_pair(certificate, key, None).map_err(|error| unusable(error.to_string()))?;
        let chain: Result<Vec<X509>, _> = loaded
            .pair
            .chain()
            .iter()
            .map(|der| X509::from_der(der))
            .collect();
        let chain = chain.map_err(|error| unusable(error.to_string()))?;
        let key = loaded
            .pair
            .key()
            .map_err(|error| unusable(error.to_string()))?;
        builder.identity(identity(&chain, &key).map_err(unusable)?);
        own = loaded.pair.chain().first().cloned();
        stamps.extend(loaded.stamps);
    }
    // A pair whose key is another's, or that is too weak, is found out only here.
    let connector = builder.build().map_err(|error| match has_stored_pair {
        true => of_entries("cert_id", &error.to_string()),
        false => setup(block, &error.to_string()).into(),
    })?;
    Ok(Material::Tls(Tls {
        connector,
        stamps,
        entries,
        own,
        authorities: trusted,
    }))
}

/// Entries that are named by a key and were read, and that no connection can be made with.
fn of_entries(key: &str, reason: &str) -> Unusable {
    Unusable::Entries(format!(
        "mTLS certificate loading failed: external_services.storage.mtls.{key}: what the store holds cannot be \
         used: {reason}"
    ))
}

fn setup(block: &str, reason: &str) -> StoreError {
    StoreError::Settings {
        key: format!("{block}.use_ssl"),
        reason: format!("TLS cannot be set up: {reason}"),
    }
}

/// A pair as connections take it.
fn identity(chain: &[X509], key: &PKey<Private>) -> Result<Identity, String> {
    let told = |error: openssl::error::ErrorStack| error.to_string();
    let mut pem = Vec::new();
    for certificate in chain {
        pem.extend(certificate.to_pem().map_err(told)?);
    }
    let key = key.private_key_to_pem_pkcs8().map_err(told)?;
    Identity::from_pkcs8(&pem, &key).map_err(|error| error.to_string())
}

/// Authorities as connections take them.
fn native(certificates: &[X509]) -> Result<Vec<Certificate>, String> {
    let converted = certificates.iter().map(|certificate| {
        let der = certificate.to_der().map_err(|error| error.to_string())?;
        Certificate::from_der(&der).map_err(|error| error.to_string())
    });
    converted.collect()
}

/// The files a connection depends on, in the order of [`Tls::stamps`].
pub(super) fn files(config: &Config) -> Vec<&PathBuf> {
    let files = [&config.ca_file, &config.cert_file, &config.key_file];
    if config.use_ssl {
        files.into_iter().flatten().collect()
    } else {
        Vec::new()
    }
}

fn pair_paths<'a>(
    config: &'a Config,
    block: &str,
) -> Result<Option<(&'a Path, &'a Path)>, StoreError> {
    let half = |set: &str, missing: &str| StoreError::Settings {
        key: format!("{block}.{missing}"),
        reason: format!(
            "is not set, but {block}.{set} is; a client certificate needs both, and without it the \
             server would be connected to with less than was asked for"
        ),
    };
    match (&config.cert_file, &config.key_file) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) => Err(half("cert_file", "key_file")),
        (None, Some(_)) => Err(half("key_file", "cert_file")),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let bundle = Bundle::parse(&text, None)
        .map_err(|error| format!("failed to add CA certificate: {error}"))?;
    if bundle.certificates.is_empty() {
        return Err("failed to add CA certificate: the file holds none".to_owned());
    }
    native(&bundle.certificates)
}

fn unusable(block: &str, name: &str, path: &Path, reason: &str) -> StoreError {
    let path = path.display().to_string();
    StoreError::Settings {
        key: format!("{block}.{name}"),
        // Some reasons begin with the file, some do not.
        reason: if reason.contains(&path) {
            reason.to_owned()
        } else {
            format!("{path}: {reason}")
        },
    }
}

/// The range of versions. Those before 1.2 are not spoken; who asks for them gets 1.2.
fn versions(config: &Config, block: &str) -> Result<(Protocol, Protocol), StoreError> {
    let number = |name: &str, text: &str, what: &str| match text {
        "1.0" => Ok(0),
        "1.1" => Ok(1),
        "1.2" => Ok(2),
        "1.3" => Ok(3),
        _ => Err(StoreError::Settings {
            key: format!("{block}.{name}"),
            reason: format!(
                "invalid {what} specified. Please specify a valid TLS version: 1.0, 1.1, 1.2, or 1.3"
            ),
        }),
    };
    let max = number("tls_max_version", &config.tls_max_version, "MaxVersion")?;
    let min = number("tls_min_version", &config.tls_min_version, "MinVersion")?;
    if min > max {
        return Err(StoreError::Settings {
            key: format!("{block}.tls_min_version"),
            reason:
                "MinVersion is higher than MaxVersion. Please specify a valid MinVersion that is \
                     lower or equal to MaxVersion"
                    .to_owned(),
        });
    }
    for (name, version, text) in [
        ("tls_min_version", min, &config.tls_min_version),
        ("tls_max_version", max, &config.tls_max_version),
    ] {
        if version < 2 {
            tracing::warn!(
                key = format!("{block}.{name}"),
                value = text,
                "TLS before 1.2 is not spoken; 1.2 is used"
            );
        }
    }
    if max < 3 {
        tracing::warn!(
            key = format!("{block}.tls_max_version"),
            value = config.tls_max_version,
            "TLS 1.3 cannot be kept from a store that offers it; everything else is as configured"
        );
    }
    let protocol = |number| match number {
        3 => Protocol::Tlsv13,
        _ => Protocol::Tlsv12,
    };
    Ok((protocol(min), protocol(max)))
}

#[cfg(test)]
mod tests {
    use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client};

    use super::*;

    fn client() -> Pair {
        let ca = make_ca("CA", Algorithm::P256, 1).expect("an authority");
        make_client(&ca, "client", Algorithm::P256, 1).expect("a pair")
    }

    #[test]
    fn a_stored_pair_that_no_connection_can_be_made_with_is_no_matter_of_files() {
        let text = r#"{"storage": {"type": "redis", "host": "localhost", "use_ssl": true}}"#;
        let loaded = portcullis_config::load_text(Path::new("tyk.conf"), text, []);
        let config = loaded.expect("valid").config.storage.expect("a store");
        let (own, other) = (client(), client());
        let load = |key: &PKey<Private>| {
            let chosen = Chosen {
                pair: Some((vec![own.certificate.clone()], key.clone())),
                authorities: None,
            };
            load(&config, "storage", vec![None], chosen)
        };
        assert!(matches!(load(&own.key), Ok(Material::Tls(tls)) if tls.own.is_some()));
        match load(&other.key) {
            Err(Unusable::Entries(why)) => {
                assert!(
                    why.contains("external_services.storage.mtls.cert_id"),
                    "{why}"
                );
            }
            Err(Unusable::Settings(error)) => panic!("{error}"),
            Ok(_) => panic!("a key that is another's"),
        }
    }
}
