//! A link as it is configured, with what is known of its connections.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_store::Outward;
use portcullis_tls::{ClientConfig, Identity, Pins, Verification, contact::Seen};
use serde::Serialize;

use super::Kind;

/// A link, before it is taken apart for a reader.
pub(super) struct Link {
    /// What it leads to.
    pub(super) kind: Kind,
    /// `host:port`, or several.
    pub(super) address: String,
    /// What became of its connections.
    pub(super) seen: Seen,
    /// Whose it is.
    pub(super) apis: BTreeSet<String>,
    /// The object of the configuration that says how it is called, where definitions do not.
    pub(super) settings: Option<&'static str>,
    /// The proxy it leads through.
    pub(super) through: Option<String>,
    /// TLS is spoken.
    pub(super) tls: bool,
    /// How the other side is verified, as far as that is known.
    pub(super) verified: Option<Verified>,
    /// The certificate that is shown where it is asked for, in DER.
    pub(super) own: Option<Arc<[u8]>>,
    /// Why no connection can be made.
    pub(super) problem: Option<String>,
}

impl Link {
    /// A link in clear text of which nothing else is known.
    pub(super) fn new(kind: Kind, address: String, seen: Seen) -> Self {
        Self {
            kind,
            address,
            seen,
            apis: BTreeSet::new(),
            settings: None,
            through: None,
            tls: false,
            verified: None,
            own: None,
            problem: None,
        }
    }

    /// The link to a store.
    pub(super) fn of_store(store: Outward) -> Self {
        let verified = Verified::plainly(store.verified, store.authorities);
        Self {
            settings: Some(store.settings),
            tls: store.tls,
            verified: store.tls.then_some(verified),
            own: store.own,
            ..Self::new(Kind::Redis, store.address, store.seen)
        }
    }

    /// What its place among others follows from.
    pub(super) fn order(&self) -> (Kind, &str, Option<&str>, Option<&String>) {
        (
            self.kind,
            &self.address,
            self.through.as_deref(),
            self.apis.first(),
        )
    }
}

/// How the other side of a link is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its chain leads to an authority, and is valid.
    chain: bool,
    /// An alternative name of its certificate is the host.
    name: bool,
    /// How many authorities are trusted; unknown for those of the system that have not been read yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorities: Option<usize>,
    /// It must have one of so many keys; 0 where none is pinned.
    #[serde(skip_serializing_if = "is_zero")]
    pins: usize,
    /// The common name of its certificate must be the host.
    #[serde(skip_serializing_if = "is_false")]
    common_name: bool,
}

impl Verified {
    /// By a client with these settings.
    pub fn by(client: &ClientConfig) -> Self {
        let settings = client.settings();
        let (chain, name, roots) = match &settings.verification {
            Verification::Full(roots) => (true, true, Some(roots)),
            Verification::Chain(roots) => (true, false, Some(roots)),
            Verification::DangerousNone => (false, false, None),
        };
        Self {
            chain,
            name,
            authorities: roots.map(|roots| roots.certificates().len()),
            pins: settings
                .pins
                .as_ref()
                .map(Pins::digests)
                .map_or(0, Iterator::count),
            common_name: settings.common_name,
        }
    }

    /// Chain and name, with so many authorities; or nothing.
    pub fn plainly(verified: bool, authorities: Option<usize>) -> Self {
        Self {
            chain: verified,
            name: verified,
            authorities: authorities.filter(|_| verified),
            pins: 0,
            common_name: false,
        }
    }

    /// What is to be said about it.
    pub(super) fn remark(self) -> Option<&'static str> {
        match (self.chain, self.pins > 0, self.common_name) {
            (false, false, false) => {
                Some("nobody is verified: whoever is in between reads and changes everything")
            }
            (false, false, true) => {
                Some("nothing but the common name is verified, which anybody can have")
            }
            _ => None,
        }
    }
}

/// The certificate that a client shows to any server that asks, in DER.
pub fn own(client: &ClientConfig) -> Option<Arc<[u8]>> {
    match client.identity() {
        Identity::One(pair) => pair.chain().first().cloned(),
        // Which of several depends on the server.
        Identity::None | Identity::FirstFitting(_) => None,
    }
}

/// For what is left out where it is nothing.
pub(super) fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}
