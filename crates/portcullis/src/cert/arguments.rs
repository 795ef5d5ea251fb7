//! What can be typed after `portcullis cert`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use portcullis_pki::{make::Algorithm, names::AlternativeName, verify::Purpose};

/// The verbs of `cert`.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Makes a key and a certificate: self-signed, an authority, or signed by one
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArguments),
    /// Says what a file holds: certificates, keys, whether they belong together
    #[command(after_help = "Examples:\n  \
        portcullis cert inspect server.pem\n  \
        openssl s_client -connect example.com:443 -showcerts </dev/null | portcullis cert inspect -")]
    Inspect(InspectArguments),
    /// Prints the SHA-256 fingerprint of a certificate in both forms
    Fingerprint(FileArguments),
    /// Prints the id a certificate or public key gets in the store of an organisation
    #[command(after_help = "Example:\n  portcullis cert id --org default client.pem")]
    Id(IdArguments),
    /// Says whether a certificate would be accepted, and which check fails why
    #[command(after_help = "Example:\n  \
        portcullis cert verify --ca ca.pem --purpose server --host localhost server.pem")]
    Verify(VerifyArguments),
    /// Uploads a certificate, with or without its key, to a gateway
    #[command(after_help = "Example:\n  \
        portcullis cert add client.pem --org default --gateway https://localhost:8443 --cacert ca.pem \\\n      \
        --secret-file secret.txt")]
    Add(AddArguments),
    /// Lists the certificates in the store of a gateway
    List(ListArguments),
    /// Shows a certificate in the store of a gateway
    Show(ShowArguments),
    /// Removes a certificate from the store of a gateway
    Rm(RemoveArguments),
    /// Lists every certificate a gateway knows, wherever it comes from, and what uses it
    Inventory(InventoryArguments),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  portcullis cert create --name localhost --san 127.0.0.1          self-signed, for a server
  portcullis cert create --ca --name 'Example CA' --out ca         ca.pem and ca.key
  portcullis cert create --name api.example.com --signed-by ca.pem --ca-key ca.key
  portcullis cert create --client --name partner-1 --signed-by ca.pem --ca-key ca.key
  portcullis cert create --ca --name 'Issuing CA' --path-length 0 --signed-by ca.pem --ca-key ca.key";

/// Arguments of `create`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("identity").required(true).multiple(true).args(["name", "sans"]))]
pub struct CreateArguments {
    /// Common name [default: the first --san]; a server's host name becomes an alternative name too
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Alternative name: host name, IP address, URI or mail address; may be given several times
    #[arg(long = "san", value_name = "NAME")]
    pub sans: Vec<AlternativeName>,
    /// Make an authority, which signs certificates
    #[arg(long, conflicts_with_all = ["client", "server", "sans"])]
    pub ca: bool,
    /// For an authority: how many authorities may follow below it [default: any number]
    #[arg(long, value_name = "N", requires = "ca", value_parser = clap::value_parser!(u32).range(..=16))]
    pub path_length: Option<u32>,
    /// For a client; with --server for both
    #[arg(long)]
    pub client: bool,
    /// For a server, which is the default
    #[arg(long)]
    pub server: bool,
    /// Certificate of the authority that signs; without it the certificate signs itself
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    pub signed_by: Option<PathBuf>,
    /// Private key of that authority
    #[arg(long, value_name = "FILE", requires = "signed_by")]
    pub ca_key: Option<PathBuf>,
    /// Kind of the new key
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub key_type: KeyType,
    /// Days until it expires [default: 3650 for an authority, 397 for others]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: Option<u32>,
    /// Where to put NAME.pem and NAME.key: a directory, or a path without its ending
    /// [default: named after the certificate, here]
    #[arg(long, value_name = "PREFIX|DIR")]
    pub out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
    /// File with the passphrase of the authority's key
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Kinds of keys that can be made.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KeyType {
    /// ECDSA on P-256: fast and understood by everything
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA with 2048 bits
    Rsa2048,
    /// RSA with 3072 bits
    Rsa3072,
    /// RSA with 4096 bits, which is slow
    Rsa4096,
    /// Ed25519; few TLS clients verify it
    Ed25519,
}

impl From<KeyType> for Algorithm {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::P256 => Self::P256,
            KeyType::P384 => Self::P384,
            KeyType::Rsa2048 => Self::Rsa2048,
            KeyType::Rsa3072 => Self::Rsa3072,
            KeyType::Rsa4096 => Self::Rsa4096,
            KeyType::Ed25519 => Self::Ed25519,
        }
    }
}

/// A file to read.
#[derive(Debug, Args)]
pub struct FileArguments {
    /// PEM or DER file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// What to look at
    #[command(flatten)]
    pub input: FileArguments,
    /// File with the passphrase of an encrypted private key
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `id`.
#[derive(Debug, Args)]
pub struct IdArguments {
    /// Organisation; empty for none
    #[arg(long, value_name = "ORG")]
    pub org: String,
    /// What to name
    #[command(flatten)]
    pub input: FileArguments,
}

/// What `verify` may ask about the use.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Use {
    /// Shown by a TLS client
    Client,
    /// Shown by a TLS server
    Server,
}

impl From<Use> for Purpose {
    fn from(purpose: Use) -> Self {
        match purpose {
            Use::Client => Self::Client,
            Use::Server => Self::Server,
        }
    }
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The certificate, then any intermediates
    #[command(flatten)]
    pub input: FileArguments,
    /// What is trusted; every certificate in it, root or not. May be given several times
    #[arg(long = "ca", value_name = "FILE", required = true)]
    pub anchors: Vec<PathBuf>,
    /// What it is to be used for
    #[arg(long, value_name = "USE")]
    pub purpose: Option<Use>,
    /// Host name or address it has to be good for
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// When: RFC 3339, a date, or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::when::parse)]
    pub at: Option<i64>,
}

/// How to reach a gateway and what to say to it.
#[derive(Debug, Args)]
pub struct GatewayAccess {
    /// Base URL of the gateway's Control API [env: PORTCULLIS_GATEWAY]
    #[arg(long, value_name = "URL")]
    pub gateway: Option<String>,
    /// Configuration of a gateway on this machine; says its address, port and secret
    #[arg(long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// File that holds the gateway's secret
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub secret_file: Option<PathBuf>,
    /// The gateway's secret; every user of this machine can read an argument [env: PORTCULLIS_SECRET]
    #[arg(long, value_name = "TEXT", hide_default_value = true)]
    pub secret: Option<String>,
    /// Authorities that verify the gateway, besides the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate to show to the gateway
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Do not verify the gateway; its secret may go to anybody
    #[arg(long)]
    pub insecure: bool,
    /// Seconds an answer may take
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// Certificate chain or public key, PEM or DER, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its private key, when FILE does not hold it and the gateway has to show the certificate
    #[arg(value_name = "KEY")]
    pub private_key: Option<PathBuf>,
    /// Organisation the certificate belongs to
    #[arg(long, value_name = "ORG", default_value = "")]
    pub org: String,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Organisation; empty for all certificates
    #[arg(long, value_name = "ORG", default_value = "")]
    pub org: String,
    /// Names, validity and whether the key is there, not only ids
    #[arg(long)]
    pub detailed: bool,
    /// Print the gateway's JSON
    #[arg(long)]
    pub json: bool,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The id, as `add` and `list` print it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print the gateway's JSON
    #[arg(long)]
    pub json: bool,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// The id, as `add` and `list` print it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Organisation [default: what stands before the last 64 characters of the id]
    #[arg(long, value_name = "ORG")]
    pub org: Option<String>,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}

/// Arguments of `inventory`.
#[derive(Debug, Args)]
pub struct InventoryArguments {
    /// Only those that expire within so many days, or have expired
    #[arg(long, value_name = "DAYS")]
    pub expiring: Option<u32>,
    /// Print the gateway's JSON
    #[arg(long)]
    pub json: bool,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}
