//! `portcullis cert create`: a key and a certificate.
//!
//! Invariants: a file that is there is replaced only with `--force`; the key is written before its
//! certificate and for its owner only; what is written is printed.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use openssl::x509::X509;
use portcullis_pki::{
    CertificateFacts, KeyKind,
    file::{write_new, write_private},
    make::{Pair, Role, Template, make},
    names::AlternativeName,
};

use super::{
    CertError,
    arguments::CreateArguments,
    input::{self, Key},
    when,
};

const AUTHORITY_DAYS: u32 = 3650;
/// The longest a browser accepts of a server certificate.
const LEAF_DAYS: u32 = 397;

/// Makes what the arguments ask for and says what was made.
///
/// # Errors
/// [`CertError`]; no file was replaced unless asked for.
pub fn run(arguments: &CreateArguments) -> Result<String, CertError> {
    let name = match (&arguments.name, arguments.sans.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(first)) => bare(first),
        // The command line demands one of the two.
        (None, None) => String::new(),
    };
    let server = arguments.server || !arguments.client;
    let mut alternatives = arguments.sans.clone();
    if !arguments.ca && server {
        // A name that is no host name, such as `My server`, is a common name only.
        let own = name.parse().ok().filter(|own| {
            matches!(own, AlternativeName::Dns(_) | AlternativeName::Ip(_))
                && !alternatives.contains(own)
        });
        if let Some(own) = own {
            alternatives.insert(0, own);
        }
        if alternatives.is_empty() {
            return Err(CertError::NoHostName { name });
        }
    }
    let issuer = issuer(arguments)?;
    let template = Template {
        name: &name,
        alternatives: &alternatives,
        role: match arguments.ca {
            true => Role::Authority {
                path_length: arguments.path_length,
            },
            false => Role::Leaf {
                server,
                client: arguments.client,
            },
        },
        algorithm: arguments.key_type.into(),
        days: arguments.days.unwrap_or(match arguments.ca {
            true => AUTHORITY_DAYS,
            false => LEAF_DAYS,
        }),
    };
    let files = Files::of(arguments.out.as_deref(), &name)?;
    if !arguments.force {
        files.are_free()?;
    }
    let pair = make(&template, issuer.as_ref().map(|issuer| &issuer.pair))?;
    let mut chain = pair.certificate_pem();
    for certificate in issuer.iter().flat_map(|issuer| &issuer.to_send) {
        let pem = certificate.to_pem().map_err(CertError::Library)?;
        chain.push_str(&String::from_utf8_lossy(&pem));
    }
    files.write(&pair, &chain, arguments.force)?;
    told(arguments, &pair, issuer.as_ref(), &files)
}

/// Who signs.
struct Issuer {
    pair: Pair,
    /// What a server has to send after its certificate: the issuer and those above it, without the root.
    to_send: Vec<X509>,
}

fn issuer(arguments: &CreateArguments) -> Result<Option<Issuer>, CertError> {
    let (Some(certificate), Some(key)) = (&arguments.signed_by, &arguments.ca_key) else {
        return Ok(None);
    };
    let passphrase = super::passphrase(arguments.passphrase_file.as_deref())?;
    let certificates = input::read(certificate, passphrase.as_deref())?;
    let keys = input::read(key, passphrase.as_deref())?;
    let key = match keys.key {
        Key::Open(key) => key,
        Key::Locked => return Err(CertError::Locked { place: keys.place }),
        Key::Absent => return Err(CertError::NoKey { place: keys.place }),
    };
    let Some((first, rest)) = certificates.certificates.split_first() else {
        return Err(CertError::NoCertificate {
            place: certificates.place,
        });
    };
    if !first
        .public_key()
        .is_ok_and(|public| public.public_eq(&key))
    {
        return Err(CertError::WrongKey {
            certificate: certificates.place,
            key: keys.place,
        });
    }
    let facts = CertificateFacts::of(first).map_err(CertError::Library)?;
    if facts.days_left(when::now()) < 0 {
        return Err(CertError::IssuerExpired {
            place: certificates.place,
            on: when::show_date(facts.not_after),
        });
    }
    let is_root = |certificate: &&X509| {
        certificate
            .subject_name()
            .try_cmp(certificate.issuer_name())
            .is_ok_and(|order| order.is_eq())
    };
    let to_send = std::iter::once(first)
        .chain(rest)
        .filter(|certificate| !is_root(certificate))
        .cloned()
        .collect();
    let pair = Pair {
        certificate: first.clone(),
        key,
    };
    Ok(Some(Issuer { pair, to_send }))
}

/// The two files of a pair.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(out: Option<&Path>, name: &str) -> Result<Self, CertError> {
        let prefix = match out {
            None => PathBuf::from(file_name(name)),
            Some(out) if out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                fs::create_dir_all(out).map_err(|source| CertError::Write {
                    path: out.to_owned(),
                    source,
                })?;
                out.join(file_name(name))
            }
            Some(out) => match out.extension().and_then(|ending| ending.to_str()) {
                Some("pem" | "crt" | "cert" | "cer" | "key") => out.with_extension(""),
                _ => out.to_owned(),
            },
        };
        let with = |ending: &str| {
            let mut path = prefix.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        Ok(Self {
            certificate: with(".pem"),
            key: with(".key"),
        })
    }

    fn are_free(&self) -> Result<(), CertError> {
        for path in [&self.certificate, &self.key] {
            if path.symlink_metadata().is_ok() {
                return Err(CertError::Exists { path: path.clone() });
            }
        }
        Ok(())
    }

    fn write(&self, pair: &Pair, chain: &str, replace: bool) -> Result<(), CertError> {
        let failed = |path: &Path, source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => CertError::Exists {
                path: path.to_owned(),
            },
            _ => CertError::Write {
                path: path.to_owned(),
                source,
            },
        };
        let key = pair.key_pem();
        let written = match replace {
            true => write_private(&self.key, key.as_bytes()),
            false => write_new(&self.key, key.as_bytes(), 0o600),
        };
        written.map_err(|source| failed(&self.key, source))?;
        let written = match replace {
            true => fs::write(&self.certificate, chain),
            false => write_new(&self.certificate, chain.as_bytes(), 0o644),
        };
        written.map_err(|source| {
            if !replace {
                // A key without its certificate would stand in the way of the next attempt.
                let _ = fs::remove_file(&self.key);
            }
            failed(&self.certificate, source)
        })
    }
}

/// A file name that any system takes.
fn file_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|character| match character {
            '*' => '_',
            c if c.is_ascii_alphanumeric() || ".-_".contains(c) => c.to_ascii_lowercase(),
            _ => '-',
        })
        .collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "certificate".to_owned()
    } else {
        name.to_owned()
    }
}

/// A name without the word for its kind.
fn bare(name: &AlternativeName) -> String {
    match name {
        AlternativeName::Dns(name) | AlternativeName::Uri(name) | AlternativeName::Email(name) => {
            name.clone()
        }
        AlternativeName::Ip(address) => address.to_string(),
        AlternativeName::Other(kind) => (*kind).to_owned(),
    }
}

/// What was made, and what to do with it.
fn told(
    arguments: &CreateArguments,
    pair: &Pair,
    issuer: Option<&Issuer>,
    files: &Files,
) -> Result<String, CertError> {
    let facts = CertificateFacts::of(&pair.certificate).map_err(CertError::Library)?;
    let by = match issuer {
        None => "signed by itself".to_owned(),
        Some(issuer) => {
            let of_issuer =
                CertificateFacts::of(&issuer.pair.certificate).map_err(CertError::Library)?;
            format!("signed by `{}`", of_issuer.subject_cn)
        }
    };
    let what = match (arguments.ca, arguments.client, arguments.server) {
        (true, ..) => "authority",
        (false, true, true) => "server and client certificate",
        (false, true, false) => "client certificate",
        (false, false, _) => "server certificate",
    };
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let mut text = String::new();
    let until = when::show_date(facts.not_after);
    let _ = writeln!(
        text,
        "certificate  {certificate}: {what}, {by}, until {until}"
    );
    let _ = writeln!(
        text,
        "key          {key}: {}, readable by you only",
        facts.key
    );
    let _ = writeln!(text, "fingerprint  {}", facts.fingerprint.with_colons());
    let _ = writeln!(
        text,
        "id           {} (after the name of its organisation)",
        facts.fingerprint
    );
    if let Some(issuer) = issuer {
        let of_issuer =
            CertificateFacts::of(&issuer.pair.certificate).map_err(CertError::Library)?;
        if of_issuer.not_after < facts.not_after {
            let end = when::show_date(of_issuer.not_after);
            let _ = writeln!(
                text,
                "note         its issuer expires before it does, on {end}"
            );
        }
    }
    if facts.key == KeyKind::Ed25519 {
        let _ = writeln!(
            text,
            "note         few TLS clients verify Ed25519, browsers do not"
        );
    }
    let next = match (arguments.ca, arguments.client) {
        (true, _) => format!(
            "portcullis cert create --name localhost --signed-by {certificate} --ca-key {key}"
        ),
        (false, true) => format!("curl --cert {certificate} --key {key} https://…"),
        (false, false) => format!("portcullis cert add {certificate} {key} --conf tyk.conf"),
    };
    let _ = writeln!(text, "next         {next}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_certificate_or_as_they_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let of = |out: Option<&Path>, name: &str| {
            let files = Files::of(out, name).unwrap();
            (files.certificate, files.key)
        };
        assert_eq!(
            of(None, "*.Example.com"),
            ("_.example.com.pem".into(), "_.example.com.key".into())
        );
        assert_eq!(of(None, "../../etc"), ("etc.pem".into(), "etc.key".into()));
        assert_eq!(of(Some(Path::new("a/ca")), "x").0, Path::new("a/ca.pem"));
        assert_eq!(
            of(Some(Path::new("a/ca.pem")), "x").1,
            Path::new("a/ca.key")
        );
        assert_eq!(
            of(Some(Path::new("api.v2")), "x").0,
            Path::new("api.v2.pem")
        );
        assert_eq!(
            of(Some(dir.path()), "Ex CA").0,
            dir.path().join("ex-ca.pem")
        );
        let new = format!("{}/new/", dir.path().display());
        assert_eq!(
            of(Some(Path::new(&new)), "x").0,
            dir.path().join("new/x.pem")
        );
    }
}
