//! What a TLS connection to Redis is made with: authorities, the client's pair, versions (outbound
//! sheet 9).
//!
//! Invariant: what cannot be used is an error, never a connection with less than was asked for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use native_tls::{Certificate, Identity, Protocol, TlsConnector};
use openssl::x509::X509;
use portcullis_config::Redis as Config;
use portcullis_pki::{file::FileStamp, load_pair, pem::Bundle};

use crate::StoreError;

/// TLS settings whose files have been read.
pub(super) struct Material {
    /// Makes TLS connections.
    pub(super) connector: TlsConnector,
    /// The files it was made of, as they were.
    pub(super) stamps: Vec<FileStamp>,
    /// The client's certificate, in DER.
    pub(super) own: Option<Arc<[u8]>>,
    /// How many authorities take the place of the system's.
    pub(super) authorities: Option<usize>,
}

/// Reads what the settings in `block` name; `None` without TLS.
pub(super) fn load(config: &Config, block: &str) -> Result<Option<Material>, StoreError> {
    if !config.use_ssl {
        return Ok(None);
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
    if let Some(path) = &config.ca_file {
        let unusable = |reason: String| unusable(block, "ca_file", path, &reason);
        stamps.push(FileStamp::of(path).map_err(|error| unusable(error.to_string()))?);
        let named = authorities(path).map_err(unusable)?;
        trusted = Some(named.len());
        for authority in named {
            builder.add_root_certificate(authority);
        }
        builder.disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = pair_paths(config, block)? {
        let unusable = |reason: String| unusable(block, "cert_file", certificate, &reason);
        let loaded =
            load_pair(certificate, key, None).map_err(|error| unusable(error.to_string()))?;
        let mut chain = Vec::new();
        for der in loaded.pair.chain() {
            let pem = X509::from_der(der).and_then(|certificate| certificate.to_pem());
            chain.extend(pem.map_err(|error| unusable(error.to_string()))?);
        }
        let key = loaded
            .pair
            .key()
            .and_then(|key| key.private_key_to_pem_pkcs8())
            .map_err(|error| unusable(error.to_string()))?;
        let identity =
            Identity::from_pkcs8(&chain, &key).map_err(|error| unusable(error.to_string()))?;
        builder.identity(identity);
        own = loaded.pair.chain().first().cloned();
        stamps.extend(loaded.stamps);
    }
    let connector = builder.build().map_err(|error| StoreError::Settings {
        key: format!("{block}.use_ssl"),
        reason: format!("TLS cannot be set up: {error}"),
    })?;
    Ok(Some(Material {
        connector,
        stamps,
        own,
        authorities: trusted,
    }))
}

/// The files a connection depends on, in the order of [`Material::stamps`].
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
    bundle
        .certificates
        .iter()
        .map(|certificate| {
            let der = certificate.to_der().map_err(|error| error.to_string())?;
            Certificate::from_der(&der).map_err(|error| error.to_string())
        })
        .collect()
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
