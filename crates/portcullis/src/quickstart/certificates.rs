//! The development certificates: a CA, a server pair for localhost, a client pair that the sample APIs
//! let pass, and one that they do not; and for the hop behind the gateway, a server pair for the demo upstream
//! and the pair that the gateway shows to it.
//!
//! Invariants:
//! - A pair that is there and valid is never touched, whoever made it.
//! - A pair is made anew only when its certificate has expired (or does within a day) and the CA
//!   that is there can sign; an expired CA takes its pairs with it, because they end with it.
//! - Half a pair, or a certificate with another's key, is an error: guessing would lose a key.

use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use portcullis_pki::{
    CertificateFacts, Fingerprint,
    file::write_private,
    make::{Algorithm, MakeError, Pair, make_ca, make_client, make_server},
    pem::{Bundle, PemError},
};

use super::place::{self, Made, PlaceError};

const CA: &str = "ca";
const SERVER: &str = "server";
const CLIENT: &str = "client";
const STRANGER: &str = "stranger";
const UPSTREAM: &str = "upstream";
const GATEWAY: &str = "gateway";

const CA_DAYS: u32 = 3650;
/// The longest a browser accepts of a server certificate.
const PAIR_DAYS: u32 = 397;

/// Less is as good as expired: the gateway may run for longer.
const DAYS_NEEDED: i64 = 1;

/// Why there are no certificates to start with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A private key cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The library makes none.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// One file of a pair is missing.
    #[error("`{}` is there without `{}`; put it back, or remove the other to have both made again", found.display(), missing.display())]
    Half {
        /// What is there.
        found: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// A pair is there, its CA is not.
    #[error("`{}` is there without ca.pem and ca.key beside it; put them back, or remove the pair to have all made again", pair.display())]
    Orphan {
        /// The certificate of the pair.
        pair: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("cannot use `{}`; remove it and its key to have them made again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PemError,
    },
    /// A pair whose halves do not belong together.
    #[error("`{}` does not hold a certificate of the key beside it; remove both to have them made again", path.display())]
    Mismatch {
        /// The certificate's file.
        path: PathBuf,
    },
}

impl CertificateError {
    /// True when the files are wrong, not the system that holds them.
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::Half { .. }
            | Self::Orphan { .. }
            | Self::Unreadable { .. }
            | Self::Mismatch { .. } => true,
            Self::Place(_) | Self::Write { .. } | Self::Make(_) => false,
        }
    }
}

/// Makes sure that `directory` holds all pairs.
///
/// # Errors
/// [`CertificateError`]; what was there is as it was.
pub fn ensure(directory: &Path, made: &mut Made) -> Result<(), CertificateError> {
    place::directory(directory)?;
    let ca = File::of(directory, CA, "development CA");
    let pairs = [
        File::of(
            directory,
            SERVER,
            "server certificate for localhost, 127.0.0.1 and ::1",
        ),
        File::of(
            directory,
            CLIENT,
            "client certificate that /mtls/ lets pass",
        ),
        File::of(
            directory,
            STRANGER,
            "client certificate that nothing lets pass",
        ),
        File::of(
            directory,
            UPSTREAM,
            "server certificate of the demo upstream behind mutual TLS",
        ),
        File::of(
            directory,
            GATEWAY,
            "client certificate that the gateway shows to it",
        ),
    ];
    let (authority, new_authority) = match ca.read()? {
        Found::Valid(authority) => {
            made.keep(ca.title());
            (authority, false)
        }
        Found::Expired => {
            let authority = ca.write(make_ca(
                "Portcullis development CA",
                Algorithm::P256,
                CA_DAYS,
            )?)?;
            made.renew(ca.title());
            (authority, true)
        }
        Found::Nothing => {
            for pair in &pairs {
                if !matches!(pair.read()?, Found::Nothing) {
                    return Err(CertificateError::Orphan {
                        pair: pair.certificate(),
                    });
                }
            }
            let authority = ca.write(make_ca(
                "Portcullis development CA",
                Algorithm::P256,
                CA_DAYS,
            )?)?;
            made.add(ca.title());
            (authority, false)
        }
    };
    for pair in &pairs {
        let found = pair.read()?;
        if !new_authority && matches!(found, Found::Valid(_)) {
            made.keep(pair.title());
            continue;
        }
        pair.write(match pair.name {
            SERVER | UPSTREAM => {
                let names = ["localhost", "127.0.0.1", "::1"];
                make_server(&authority, &names, Algorithm::P256, PAIR_DAYS)?
            }
            CLIENT => make_client(&authority, "quickstart client", Algorithm::P256, PAIR_DAYS)?,
            GATEWAY => make_client(&authority, "quickstart gateway", Algorithm::P256, PAIR_DAYS)?,
            _ => make_client(
                &authority,
                "quickstart stranger",
                Algorithm::P256,
                PAIR_DAYS,
            )?,
        })?;
        match found {
            Found::Nothing => made.add(pair.title()),
            Found::Expired | Found::Valid(_) => made.renew(pair.title()),
        }
    }
    Ok(())
}

/// A pair on the disk: two files, but for the gateway's own, which definitions name by one path and which
/// therefore holds its key as well.
struct File<'a> {
    directory: &'a Path,
    name: &'static str,
    what: &'static str,
}

enum Found {
    Nothing,
    Expired,
    Valid(Pair),
}

impl<'a> File<'a> {
    fn of(directory: &'a Path, name: &'static str, what: &'static str) -> Self {
        Self {
            directory,
            name,
            what,
        }
    }

    /// Certificate and key are in one file.
    fn is_one(&self) -> bool {
        self.name == GATEWAY
    }

    fn title(&self) -> String {
        let name = self.name;
        match self.is_one() {
            true => format!("certs/{name}.pem: {}, with its key", self.what),
            false => format!("certs/{name}.pem, certs/{name}.key: {}", self.what),
        }
    }

    fn certificate(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    fn key(&self) -> PathBuf {
        match self.is_one() {
            true => self.certificate(),
            false => self.directory.join(format!("{}.key", self.name)),
        }
    }

    fn read(&self) -> Result<Found, CertificateError> {
        let (certificate, key) = (self.certificate(), self.key());
        let (certificate_text, key_text) = match (place::read(&certificate)?, place::read(&key)?) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(Found::Nothing),
            (Some(_), None) => {
                return Err(CertificateError::Half {
                    found: certificate,
                    missing: key,
                });
            }
            (None, Some(_)) => {
                return Err(CertificateError::Half {
                    found: key,
                    missing: certificate,
                });
            }
        };
        let parse = |path: &Path, text: &str| {
            Bundle::parse(text.as_bytes(), None).map_err(|source| CertificateError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        let leaf = parse(&certificate, &certificate_text)?
            .certificates
            .into_iter()
            .next();
        let (Some(leaf), Some(key)) = (leaf, parse(&key, &key_text)?.key) else {
            return Err(CertificateError::Mismatch { path: certificate });
        };
        match leaf.public_key() {
            Ok(public) if public.public_eq(&key) => {}
            _ => return Err(CertificateError::Mismatch { path: certificate }),
        }
        let facts = CertificateFacts::of(&leaf).map_err(MakeError::from)?;
        let valid = facts.days_left(now()) >= DAYS_NEEDED;
        Ok(if valid {
            Found::Valid(Pair {
                certificate: leaf,
                key,
            })
        } else {
            Found::Expired
        })
    }

    /// Key first: a certificate that is there always has its key.
    fn write(&self, pair: Pair) -> Result<Pair, CertificateError> {
        let (certificate, key) = (self.certificate(), self.key());
        let mut private = pair.key_pem();
        if self.is_one() {
            private.insert_str(0, &pair.certificate_pem());
        }
        write_private(&key, private.as_bytes())
            .map_err(|source| CertificateError::Write { path: key, source })?;
        if !self.is_one() {
            place::write_whole(&certificate, &pair.certificate_pem())?;
        }
        Ok(pair)
    }
}

/// The id of the client pair in the certificate store of an organisation.
///
/// # Errors
/// As [`ensure`].
pub fn client_id(directory: &Path, organisation: &str) -> Result<String, CertificateError> {
    let pair = valid(directory, CLIENT)?;
    let print = Fingerprint::of(&pair.certificate).map_err(MakeError::from)?;
    Ok(format!("{organisation}{print}"))
}

/// The pair of the demo upstream, and the authority whose clients it lets in.
///
/// # Errors
/// As [`ensure`].
pub fn of_upstream(directory: &Path) -> Result<(Pair, Pair), CertificateError> {
    Ok((valid(directory, UPSTREAM)?, valid(directory, CA)?))
}

/// A pair that [`ensure`] has seen to.
fn valid(directory: &Path, name: &'static str) -> Result<Pair, CertificateError> {
    let file = File::of(directory, name, "");
    match file.read()? {
        Found::Valid(pair) => Ok(pair),
        Found::Nothing | Found::Expired => Err(CertificateError::Mismatch {
            path: file.certificate(),
        }),
    }
}

/// Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(file: &File<'_>, pair: Pair) -> Vec<u8> {
        file.write(pair).unwrap();
        fs::read(file.certificate()).unwrap()
    }

    #[test]
    fn an_expired_pair_is_made_anew_by_the_ca_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        ensure(root.path(), &mut Made::default()).unwrap();
        let ca = fs::read(root.path().join("ca.pem")).unwrap();
        let client = fs::read(root.path().join("client.pem")).unwrap();
        let signer = match File::of(root.path(), CA, "").read().unwrap() {
            Found::Valid(pair) => pair,
            Found::Nothing | Found::Expired => panic!("the new CA is valid"),
        };
        let server = File::of(root.path(), SERVER, "");
        let expired = write(
            &server,
            make_server(&signer, &["localhost"], Algorithm::P256, 0).unwrap(),
        );

        let mut made = Made::default();
        ensure(root.path(), &mut made).unwrap();
        assert_ne!(fs::read(server.certificate()).unwrap(), expired);
        assert_eq!(made.renewed().count(), 1);
        assert_eq!(fs::read(root.path().join("ca.pem")).unwrap(), ca);
        assert_eq!(fs::read(root.path().join("client.pem")).unwrap(), client);
        let renewed = Bundle::parse(&fs::read(server.certificate()).unwrap(), None).unwrap();
        assert!(renewed.certificates[0].verify(&signer.key).unwrap());
    }

    #[test]
    fn an_expired_ca_takes_its_pairs_with_it() {
        let root = tempfile::tempdir().unwrap();
        ensure(root.path(), &mut Made::default()).unwrap();
        write(
            &File::of(root.path(), CA, ""),
            make_ca("old", Algorithm::P256, 0).unwrap(),
        );
        let mut made = Made::default();
        ensure(root.path(), &mut made).unwrap();
        assert_eq!(made.renewed().count(), 6);
    }

    #[test]
    fn nothing_is_guessed_about_half_a_pair_or_a_pair_without_its_ca() {
        let root = tempfile::tempdir().unwrap();
        ensure(root.path(), &mut Made::default()).unwrap();
        let at = |name: &str| root.path().join(name);
        let again = || ensure(root.path(), &mut Made::default()).unwrap_err();

        fs::rename(at("client.key"), at("aside")).unwrap();
        assert!(
            matches!(again(), CertificateError::Half { missing, .. } if missing == at("client.key"))
        );
        fs::copy(at("server.key"), at("client.key")).unwrap();
        assert!(matches!(again(), CertificateError::Mismatch { path } if path == at("client.pem")));
        fs::rename(at("aside"), at("client.key")).unwrap();

        fs::remove_file(at("ca.pem")).unwrap();
        fs::remove_file(at("ca.key")).unwrap();
        assert!(matches!(again(), CertificateError::Orphan { .. }));
    }
}
