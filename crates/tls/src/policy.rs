//! What a handshake demands of a client, by host.
//!
//! The decision is made per ClientHello, before the TLS version is chosen and before a ticket
//! is looked at.
//!
//! Invariant: a session belongs to the policy it was made under. [`Policy::context`] goes into
//! every session and ticket, and the library resumes only where it is the same: after any change
//! of mode, trust or lists a full handshake follows.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use openssl::sha::Sha256;

use crate::client_trust::ClientTrust;

/// What is asked of a client in the handshake (inbound sheet 4).
#[derive(Clone, Debug)]
pub enum ClientCertificate {
    /// No certificate is asked for.
    NotAsked,
    /// A certificate is asked for and may be left out. Whatever comes has its key proven and
    /// nothing else; it is judged with every request.
    Asked {
        /// Authorities named to the client.
        announced: Announced,
    },
    /// No handshake without a trusted certificate.
    Required {
        /// Who is trusted.
        trust: Arc<ClientTrust>,
        /// Authorities named to the client.
        announced: Announced,
        /// How a client is refused.
        manner: Manner,
    },
}

/// How a handshake refuses a client without a trusted certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With the alert that says why: 116 (40 in TLS 1.2) without a certificate, 45 for one out of
    /// its validity, 48 for one that is not trusted, 44 for one that was revoked, 46 where that cannot be
    /// told, 42 otherwise.
    Telling,
    /// With `bad_certificate` (42) whatever is wrong, as where authorities are not announced; a client
    /// without a certificate is told once the handshake is over.
    Uniform,
}

/// Subjects of authorities (DER) that a certificate request names. Cheap to clone.
pub type Announced = Arc<[Box<[u8]>]>;

/// One way to treat clients.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What is asked of the client.
    pub client_certificate: ClientCertificate,
    /// Sets policies apart whose sessions must not mix although they ask the same.
    pub partition: String,
}

impl Policy {
    /// Nothing is asked of the client.
    #[must_use]
    pub fn open() -> Policy {
        Policy {
            client_certificate: ClientCertificate::NotAsked,
            partition: String::new(),
        }
    }

    /// How much is demanded: the higher, the stricter.
    #[must_use]
    pub fn strictness(&self) -> u8 {
        match self.client_certificate {
            ClientCertificate::NotAsked => 0,
            ClientCertificate::Asked { .. } => 1,
            ClientCertificate::Required { .. } => 2,
        }
    }

    /// The session-id context: a digest of everything the policy says.
    #[must_use]
    pub fn context(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(b"portcullis policy 2\0");
        match &self.client_certificate {
            ClientCertificate::NotAsked => digest.update(&[0]),
            ClientCertificate::Asked { announced } => {
                digest.update(&[1]);
                names(&mut digest, announced);
            }
            ClientCertificate::Required {
                trust,
                announced,
                manner,
            } => {
                digest.update(&[2, u8::from(*manner == Manner::Uniform)]);
                digest.update(&trust.digest());
                names(&mut digest, announced);
            }
        }
        digest.update(self.partition.as_bytes());
        digest.finish()
    }
}

fn names(digest: &mut Sha256, announced: &Announced) {
    for name in announced.iter() {
        digest.update(&name.len().to_be_bytes());
        digest.update(name);
    }
    digest.update(&usize::MAX.to_be_bytes());
}

/// Finds the policy of a host that has no entry of its own: its index.
pub type Otherwise = Arc<dyn Fn(&str) -> Option<usize> + Send + Sync>;

/// Policies by host. Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    list: Vec<Policy>,
    /// By their contexts.
    indices: HashMap<[u8; 32], usize>,
    hosts: Arc<BTreeMap<Box<str>, usize>>,
    otherwise: Option<(Arc<str>, Otherwise)>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("list", &self.list)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Policies {
    /// `default` for every host that has none of its own.
    #[must_use]
    pub fn new(default: Policy) -> Policies {
        Policies {
            indices: HashMap::from([(default.context(), 0)]),
            list: vec![default],
            hosts: Arc::default(),
            otherwise: None,
        }
    }

    /// No client is asked for anything.
    #[must_use]
    pub fn open() -> Policies {
        Policies::new(Policy::open())
    }

    /// Takes in a policy; the index it has.
    pub fn add(&mut self, policy: Policy) -> usize {
        let next = self.list.len();
        let index = *self.indices.entry(policy.context()).or_insert(next);
        if index == next {
            self.list.push(policy);
        }
        index
    }

    /// `policy` for `host`; the empty host is a client that names none.
    pub fn host(&mut self, host: &str, policy: Policy) -> &mut Self {
        let index = self.add(policy);
        let host = host.to_ascii_lowercase();
        Arc::make_mut(&mut self.hosts)
            .insert(host.strip_suffix('.').unwrap_or(&host).into(), index);
        self
    }

    /// Asks `find` for the policy of each host that has none of its own. Two that are described alike
    /// find alike.
    pub fn otherwise(&mut self, described: &str, find: Otherwise) -> &mut Self {
        self.otherwise = Some((described.into(), find));
        self
    }

    /// Whether every host is treated as by `other`.
    #[must_use]
    pub fn same_as(&self, other: &Policies) -> bool {
        let described =
            |policies: &Policies| policies.otherwise.as_ref().map(|(text, _)| text.clone());
        self.indices == other.indices
            && self.hosts == other.hosts
            && described(self) == described(other)
    }

    /// The different policies.
    #[must_use]
    pub fn list(&self) -> &[Policy] {
        &self.list
    }

    /// The index of the policy for `host` (lower-cased, without trailing dot).
    #[must_use]
    pub fn select(&self, host: &str) -> usize {
        if let Some(index) = self.hosts.get(host) {
            return *index;
        }
        self.otherwise
            .as_ref()
            .and_then(|(_, find)| find(host))
            .filter(|index| *index < self.list.len())
            .unwrap_or(0)
    }
}
