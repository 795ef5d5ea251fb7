//! Cipher suites by the names Go gives them.
//!
//! The list in configuration restricts TLS 1.2 only; TLS 1.3 always offers its three suites.
//! The order of the list does not matter: suites are preferred as in [`SUITES`], with
//! ChaCha20 in front on machines without AES instructions.
//!
//! Invariant: a list that leaves nothing usable is an error and never means "the default".

use std::fmt::Write;

use crate::version::{Version, VersionRange};

/// A suite Go knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its number on the wire.
    pub id: u16,
    /// Its IANA name, which is also Go's.
    pub name: &'static str,
    /// What the TLS library calls it; `None` when the library does not have it.
    pub library: Option<&'static str>,
    /// How keys are agreed and who signs.
    pub kind: Kind,
    /// Whether it is offered when nothing is configured.
    pub default: bool,
}

/// How a suite agrees on keys and authenticates the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TLS 1.3: independent of both.
    Tls13,
    /// Ephemeral keys, signed with ECDSA or Ed25519.
    EcdheEcdsa,
    /// Ephemeral keys, signed with RSA.
    EcdheRsa,
    /// Key transport with RSA: no forward secrecy.
    Rsa,
}

impl Suite {
    /// HTTP/2 forbids suites of TLS 1.2 without ephemeral keys or without authenticated
    /// encryption (RFC 9113, appendix A).
    pub fn is_prohibited_in_http2(&self) -> bool {
        let aead = self.name.contains("_GCM_") || self.name.contains("_POLY1305_");
        match self.kind {
            Kind::Tls13 => false,
            Kind::EcdheEcdsa | Kind::EcdheRsa => !aead,
            Kind::Rsa => true,
        }
    }
}

const fn suite(
    id: u16,
    name: &'static str,
    library: Option<&'static str>,
    kind: Kind,
    default: bool,
) -> Suite {
    Suite {
        id,
        name,
        library,
        kind,
        default,
    }
}

/// Every suite, in order of preference.
#[rustfmt::skip]
pub static SUITES: [Suite; 25] = {
    use Kind::{EcdheEcdsa, EcdheRsa, Rsa, Tls13};
    [
        suite(0x1301, "TLS_AES_128_GCM_SHA256", Some("TLS_AES_128_GCM_SHA256"), Tls13, true),
        suite(0x1302, "TLS_AES_256_GCM_SHA384", Some("TLS_AES_256_GCM_SHA384"), Tls13, true),
        suite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", Some("TLS_CHACHA20_POLY1305_SHA256"), Tls13, true),
        suite(0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some("ECDHE-ECDSA-AES128-GCM-SHA256"), EcdheEcdsa, true),
        suite(0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some("ECDHE-RSA-AES128-GCM-SHA256"), EcdheRsa, true),
        suite(0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some("ECDHE-ECDSA-AES256-GCM-SHA384"), EcdheEcdsa, true),
        suite(0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some("ECDHE-RSA-AES256-GCM-SHA384"), EcdheRsa, true),
        suite(0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Some("ECDHE-ECDSA-CHACHA20-POLY1305"), EcdheEcdsa, true),
        suite(0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Some("ECDHE-RSA-CHACHA20-POLY1305"), EcdheRsa, true),
        suite(0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Some("ECDHE-ECDSA-AES128-SHA"), EcdheEcdsa, true),
        suite(0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Some("ECDHE-RSA-AES128-SHA"), EcdheRsa, true),
        suite(0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Some("ECDHE-ECDSA-AES256-SHA"), EcdheEcdsa, true),
        suite(0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Some("ECDHE-RSA-AES256-SHA"), EcdheRsa, true),
        suite(0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256", Some("AES128-GCM-SHA256"), Rsa, false),
        suite(0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384", Some("AES256-GCM-SHA384"), Rsa, false),
        suite(0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA", Some("AES128-SHA"), Rsa, false),
        suite(0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA", Some("AES256-SHA"), Rsa, false),
        suite(0xc012, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", None, EcdheRsa, false),
        suite(0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Some("DES-CBC3-SHA"), Rsa, false),
        suite(0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", None, EcdheEcdsa, false),
        suite(0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Some("ECDHE-RSA-AES128-SHA256"), EcdheRsa, false),
        suite(0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256", Some("AES128-SHA256"), Rsa, false),
        suite(0xc007, "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", None, EcdheEcdsa, false),
        suite(0xc011, "TLS_ECDHE_RSA_WITH_RC4_128_SHA", None, EcdheRsa, false),
        suite(0x0005, "TLS_RSA_WITH_RC4_128_SHA", None, Rsa, false),
    ]
};

/// Other names for suites.
const ALIASES: [(&str, &str); 2] = [
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];

/// The suite called `name`, in any case, by its name or an alias.
pub fn by_name(name: &str) -> Option<&'static Suite> {
    let alias = ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, full)| full);
    SUITES
        .iter()
        .find(|suite| suite.name.eq_ignore_ascii_case(name))
}

/// The suite with this number.
pub fn by_id(id: u16) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.id == id)
}

/// The suites of TLS 1.2 a side may use, ready for the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherList {
    suites: Vec<&'static Suite>,
}

/// Why a list of names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Names nobody knows.
    #[error("unknown cipher suite {}", Unknown(names))]
    Unknown {
        /// The names, each with the nearest one that exists.
        names: Vec<(String, Option<&'static str>)>,
    },
    /// TLS 1.3 names only, while TLS 1.3 is off.
    #[error(
        "only TLS 1.3 cipher suites are named, but the maximum version is TLS 1.2; name a TLS 1.2 suite or set the maximum version to 772"
    )]
    OnlyTls13,
    /// Everything named is missing in the library.
    #[error("none of the named cipher suites is supported: {}", names.join(", "))]
    NothingUsable {
        /// The names.
        names: Vec<&'static str>,
    },
}

struct Unknown<'a>(&'a [(String, Option<&'static str>)]);

impl std::fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, nearest)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name:?}")?;
            if let Some(nearest) = nearest {
                write!(f, " (did you mean {nearest}?)")?;
            }
        }
        f.write_str("; accepted are Go's names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    }
}

/// A suite that Go knows and our TLS library does not have; it was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cipher suite {name} is not supported by this gateway's TLS library and was left out")]
pub struct Unsupported {
    /// The name.
    pub name: &'static str,
}

impl Default for CipherList {
    /// Ephemeral keys only: authenticated encryption, then CBC with SHA-1.
    fn default() -> CipherList {
        CipherList::of(|suite| suite.default)
    }
}

impl CipherList {
    /// The suites `names` stand for, in the gateway's order of preference, and what was left
    /// out. No names: the default list.
    pub fn resolve<S: AsRef<str>>(
        names: &[S],
        versions: VersionRange,
    ) -> Result<(CipherList, Vec<Unsupported>), CipherError> {
        if names.is_empty() {
            return Ok((CipherList::default(), Vec::new()));
        }
        let mut found: Vec<&'static Suite> = Vec::new();
        let mut unknown = Vec::new();
        for name in names.iter().map(|name| name.as_ref().trim()) {
            match by_name(name) {
                Some(suite) => found.push(suite),
                None => unknown.push((name.to_owned(), nearest(name))),
            }
        }
        if !unknown.is_empty() {
            return Err(CipherError::Unknown { names: unknown });
        }
        let list = CipherList::of(|suite| found.contains(&suite));
        let missing: Vec<&'static str> = found
            .iter()
            .filter(|s| s.library.is_none())
            .map(|s| s.name)
            .collect();
        let tls13_named = found.iter().any(|suite| suite.kind == Kind::Tls13);
        if list.suites.is_empty() {
            if !missing.is_empty() {
                return Err(CipherError::NothingUsable { names: missing });
            }
            if tls13_named && !versions.contains(Version::Tls13) {
                return Err(CipherError::OnlyTls13);
            }
        }
        Ok((
            list,
            missing
                .into_iter()
                .map(|name| Unsupported { name })
                .collect(),
        ))
    }

    fn of(wanted: impl Fn(&'static Suite) -> bool) -> CipherList {
        let usable = |s: &&'static Suite| s.kind != Kind::Tls13 && s.library.is_some() && wanted(s);
        let mut suites: Vec<&'static Suite> = SUITES.iter().filter(usable).collect();
        if !crate::sys::has_aes_instructions() {
            // Stable: only ChaCha20 moves, to the front of everything else.
            suites.sort_by_key(|suite| !suite.name.contains("CHACHA20"));
        }
        CipherList { suites }
    }

    /// The suites, most preferred first. Empty: TLS 1.2 has none, only TLS 1.3 works.
    pub fn suites(&self) -> &[&'static Suite] {
        &self.suites
    }

    /// The list in the library's own notation.
    pub fn library_notation(&self) -> String {
        let mut text = String::new();
        for name in self.suites.iter().filter_map(|suite| suite.library) {
            let _ = write!(text, "{}{name}", if text.is_empty() { "" } else { ":" });
        }
        text
    }
}

/// The known name that shares most with `name`, if it shares much.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let words = |text: &str| {
        text.split(['_', '-'])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let given = words(&name);
    let score = |suite: &Suite| {
        let own = words(suite.name);
        let shared = given.iter().filter(|word| own.contains(word)).count();
        (shared * 2).saturating_sub(own.len().abs_diff(given.len()))
    };
    let best = SUITES.iter().max_by_key(|suite| score(suite))?;
    (score(best) >= 6).then_some(best.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Side;
    use openssl::ssl::{SslContext, SslMethod};

    fn range(max: u16) -> VersionRange {
        VersionRange::resolve(771, max, Side::Server).unwrap().0
    }

    fn names(list: &CipherList) -> Vec<&'static str> {
        list.suites().iter().map(|suite| suite.name).collect()
    }

    #[test]
    fn the_table_says_exactly_what_the_library_has() {
        for suite in &SUITES {
            let mut context = SslContext::builder(SslMethod::tls()).unwrap();
            let asked = suite.library.unwrap_or(suite.name);
            if suite.kind == Kind::Tls13 {
                continue; // Always there; the handshake tests see them in use.
            }
            let accepted = context.set_cipher_list(asked).is_ok();
            assert_eq!(accepted, suite.library.is_some(), "{}", suite.name);
        }
    }

    #[test]
    fn the_default_has_ephemeral_keys_only() {
        let (list, left_out) = CipherList::resolve::<&str>(&[], range(772)).unwrap();
        assert_eq!(list.suites().len(), 10);
        assert!(
            list.suites()
                .iter()
                .all(|s| s.name.starts_with("TLS_ECDHE_"))
        );
        assert!(left_out.is_empty());
    }

    /// IN-88, OUT-35.
    #[test]
    fn names_are_found_in_any_case_and_by_alias() {
        let (list, _) = CipherList::resolve(
            &[
                "tls_ecdhe_rsa_with_aes_128_cbc_sha",
                " TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305 ",
            ],
            range(771),
        )
        .unwrap();
        assert_eq!(
            names(&list),
            [
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
            ]
        );
    }

    #[test]
    fn a_name_nobody_knows_is_an_error_with_a_suggestion() {
        let error = CipherList::resolve(
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265", "ROT13"],
            range(771),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("unknown cipher suite \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265\" (did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?), \"ROT13\";"),
            "{error}"
        );
    }

    #[test]
    fn what_the_library_lacks_is_left_out_and_an_empty_rest_is_an_error() {
        let (list, left_out) = CipherList::resolve(
            &["TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"],
            range(771),
        )
        .unwrap();
        assert_eq!(names(&list), ["TLS_RSA_WITH_AES_128_CBC_SHA"]);
        assert_eq!(
            left_out,
            [Unsupported {
                name: "TLS_RSA_WITH_RC4_128_SHA"
            }]
        );
        assert!(matches!(
            CipherList::resolve(&["TLS_RSA_WITH_RC4_128_SHA"], range(772)),
            Err(CipherError::NothingUsable { .. })
        ));
    }

    #[test]
    fn tls13_names_alone_need_tls13() {
        let only = ["TLS_AES_256_GCM_SHA384"];
        assert_eq!(
            CipherList::resolve(&only, range(771)).unwrap_err(),
            CipherError::OnlyTls13
        );
        assert!(
            CipherList::resolve(&only, range(772))
                .unwrap()
                .0
                .suites()
                .is_empty()
        );
    }

    #[test]
    fn http2_prohibits_cbc_and_key_transport() {
        let prohibited = |name| by_name(name).unwrap().is_prohibited_in_http2();
        assert!(prohibited("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"));
        assert!(prohibited("TLS_RSA_WITH_AES_128_GCM_SHA256"));
        assert!(!prohibited("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"));
        assert!(!prohibited("TLS_AES_128_GCM_SHA256"));
    }
}
