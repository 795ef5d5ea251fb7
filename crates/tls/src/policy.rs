//! What a handshake demands of a client, by host.
//!
//! The decision is made per ClientHello, before the TLS version is chosen and before a ticket
//! is looked at. Today there is one demand, none; client certificates add more modes.
//!
//! Invariant: a session belongs to the policy it was made under. [`Policy::context`] goes into
//! every session and ticket, and the library resumes only where it is the same.

use std::{collections::HashMap, sync::Arc};

use openssl::sha::sha256;

/// What is asked of a client in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificate {
    /// No certificate is asked for.
    NotAsked,
}

/// One way to treat clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What is asked of the client.
    pub client_certificate: ClientCertificate,
    /// Sets policies apart whose sessions must not mix although they ask the same.
    pub partition: String,
}

impl Policy {
    /// Nothing is asked of the client.
    pub fn open() -> Policy {
        Policy {
            client_certificate: ClientCertificate::NotAsked,
            partition: String::new(),
        }
    }

    /// The session-id context: a digest of everything the policy says.
    pub fn context(&self) -> [u8; 32] {
        let mode: &[u8] = match self.client_certificate {
            ClientCertificate::NotAsked => b"portcullis policy 1: no client certificate\0",
        };
        sha256(&[mode, self.partition.as_bytes()].concat())
    }
}

/// Policies by host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policies {
    list: Vec<Policy>,
    hosts: Arc<HashMap<Box<str>, usize>>,
}

impl Policies {
    /// `default` for every host that has none of its own.
    pub fn new(default: Policy) -> Policies {
        Policies {
            list: vec![default],
            hosts: Arc::default(),
        }
    }

    /// No client is asked for anything.
    pub fn open() -> Policies {
        Policies::new(Policy::open())
    }

    /// `policy` for `host`; the empty host is a client that names none.
    pub fn host(&mut self, host: &str, policy: Policy) -> &mut Self {
        let known = self.list.iter().position(|other| *other == policy);
        let index = known.unwrap_or_else(|| {
            self.list.push(policy);
            self.list.len() - 1
        });
        let host = host.to_ascii_lowercase();
        Arc::make_mut(&mut self.hosts)
            .insert(host.strip_suffix('.').unwrap_or(&host).into(), index);
        self
    }

    /// The different policies.
    pub(crate) fn list(&self) -> &[Policy] {
        &self.list
    }

    /// The index of the policy for `host` (lower-cased, without trailing dot).
    pub(crate) fn select(&self, host: &str) -> usize {
        self.hosts.get(host).copied().unwrap_or(0)
    }
}
