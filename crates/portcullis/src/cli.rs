//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cert::arguments::{CertCommand, GatewayAccess};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version = crate::version::LINE,
    about = "API gateway whose heart is TLS and mutual TLS",
    long_about = "API gateway whose heart is TLS and mutual TLS.\n\n\
        It reads the configuration and the API definitions of a Tyk gateway as they are: tyk.conf, \
        TYK_GW_* variables, Classic and OAS definitions. New here? Run `portcullis quickstart`.",
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do; without a verb, `--conf FILE` means `gateway`, as a Tyk gateway is started.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of the gateway.
    #[command(flatten)]
    pub gateway: GatewayArguments,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a working gateway in a directory and runs it, with an upstream to try it on
    #[command(
        long_about = "Makes a working gateway in a directory and runs it until Ctrl-C.\n\n\
        What is missing is made: a development CA, a server pair for localhost and a client pair \
        (DIR/certs), DIR/tyk.conf, and sample APIs in DIR/apps that lead to a small demo upstream \
        inside this program. What is there is kept, so edit the files and run it again; only \
        certificates that have expired are made anew. Then it prints curl lines to paste."
    )]
    Quickstart(QuickstartArguments),
    /// Runs the gateway
    #[command(long_about = "Runs the gateway until it is told to stop.\n\n\
        SIGHUP reloads the API definitions. SIGTERM and SIGINT drain: /ready turns 503, requests in \
        flight finish (at most graceful_shutdown_timeout_duration seconds); a second signal ends at \
        once. docs/configuration.md lists every key.")]
    Gateway(GatewayArguments),
    /// Says everything that is wrong with a configuration, and what each host and path would do
    #[command(
        long_about = "Reads the configuration and the API definitions as a start would, prints \
        every problem at once, then what each host and listen path would do. Opens no port and \
        changes nothing.\n\n\
        Exits 0 when the gateway would start and serve every API, 1 otherwise."
    )]
    Check(CheckArguments),
    /// Says what would become of a client with a certificate, or what a live server does
    #[command(
        long_about = "Says in plain words what would become of a client with a certificate, and the \
        one thing to change where it would not pass.\n\n\
        With --host it asks the configuration, offline: which domain decides, what the handshake asks for, \
        whether the chain passes it and by which alert it would not, which API the path reaches and \
        whether its list lets the client pass. It decides by the code of a running gateway, and \
        looks into the store for certificates and keys; where it cannot, what is in there counts as unknown.\n\n\
        With --api or --upstream it connects to an upstream as the gateway would, hop by hop: proxy, \
        certificate shown, versions, suite, the upstream's certificate and why it is trusted or not. No \
        request is sent.\n\n\
        With --connect it looks at a live server: versions, suite, group, certificates and their \
        verification, ALPN, resumption, and whether it asks for a client certificate.\n\n\
        Exits 0 when the client passes, or server and upstream are good; 1 when not, or when it cannot be said."
    )]
    Doctor(DoctorArguments),
    /// Says with whom a running gateway is connected: upstreams, proxies, the store, services
    #[command(
        long_about = "Says with whom a running gateway is connected: upstreams and the proxies before them, \
        the store, and the services it calls, each with how it is verified, the certificates on both sides, what \
        was agreed on, and why the last connection that failed did. It asks the gateway's Control API. \
        Certificates that have expired or end soon, and links that are not verified, are marked.",
        after_help = "Example:\n  portcullis links --conf /etc/tyk/tyk.conf --cacert ca.pem"
    )]
    Links(LinksArguments),
    /// Makes, reads and checks certificates, and manages those in the store of a gateway
    #[command(
        subcommand,
        long_about = "Makes, reads and checks certificates, and manages those in the store of a \
        gateway.\n\n\
        create, inspect, fingerprint, id and verify work on files; add, list, show, rm and inventory \
        ask a gateway's Control API. docs/certificates.md has each beside its openssl or curl \
        equivalent."
    )]
    Cert(CertCommand),
    /// Prints the version and the TLS library
    Version,
}

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
pub struct QuickstartArguments {
    /// Where to make it; what is there already is kept
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    pub dir: PathBuf,
    /// Port of the gateway, 0 for any free one [default: what DIR/tyk.conf says, 8443 in a new one]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Created once the gateway answers; holds its base URL. For scripts
    #[arg(long, value_name = "FILE")]
    pub once_ready: Option<PathBuf>,
}

/// Arguments of `gateway`.
#[derive(Debug, Args)]
pub struct GatewayArguments {
    /// Configuration file [default: the first of tyk.conf, ~/.config/tyk/tyk.conf, /etc/tyk/tyk.conf]
    #[arg(long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// Main port instead of `listen_port`, 0 for any free one
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Configuration file [default: the first of tyk.conf, ~/.config/tyk/tyk.conf, /etc/tyk/tyk.conf]
    #[arg(long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// Take warnings, such as unknown keys, for errors
    #[arg(long)]
    pub strict: bool,
    /// Look into the certificate store too: a copy of the embedded one, or Redis, which must be there
    #[arg(long)]
    pub store: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Configuration file [default: the first of tyk.conf, ~/.config/tyk/tyk.conf, /etc/tyk/tyk.conf]
    #[arg(long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// The name the client asks for
    #[arg(long, value_name = "NAME", required_unless_present_any = ["connect", "api", "upstream"])]
    pub host: Option<String>,
    /// The path it asks for
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,
    /// The port it connects to [default: the main port]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The client's certificate, with what it sends along; without it the client has none
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its private key, unless it is in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Connects to the upstreams of this API instead, as the gateway would
    #[arg(long, value_name = "ID", conflicts_with_all = ["host", "path", "port", "cert", "connect", "upstream"])]
    pub api: Option<String>,
    /// Connects to this URL instead, as the gateway would for an API that says nothing more
    #[arg(long, value_name = "URL", conflicts_with_all = ["host", "path", "port", "cert", "connect"])]
    pub upstream: Option<String>,
    /// Looks at a live server instead
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["conf", "host", "path", "port"])]
    pub connect: Option<String>,
    /// The name to ask the live server for [default: HOST of --connect]
    #[arg(long, value_name = "NAME", requires = "connect")]
    pub servername: Option<String>,
    /// Whom to trust [default: the system's authorities]
    #[arg(long, value_name = "FILE", requires = "connect")]
    pub ca: Option<PathBuf>,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `links`.
#[derive(Debug, Args)]
pub struct LinksArguments {
    /// Only those of a kind: upstream, proxy, redis, oauth, webhooks, health, discovery, dashboard or mdcb
    #[arg(
        long,
        value_name = "KIND",
        default_value = "",
        hide_default_value = true
    )]
    pub kind: String,
    /// Only those of an API
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub api: String,
    /// Print the gateway's JSON
    #[arg(long)]
    pub json: bool,
    /// The gateway
    #[command(flatten)]
    pub access: GatewayAccess,
}

const AFTER_HELP: &str = "\
Exit status:
  0  done: the gateway was told to stop, or what was checked is good
  1  the configuration, a definition or a certificate is wrong; what and where is on standard error
  2  the command line is wrong
  3  an address or port cannot be listened on
  4  the system refused something else: a file, a directory, a thread
  5  a gateway that was asked refused or could not be reached

Environment:
  TYK_GW_*, PORTCULLIS_*  configuration; wins over the file (docs/configuration.md)
  TYK_LOGLEVEL            debug, info, warn or error; wins over log_level
  PORTCULLIS_GATEWAY, PORTCULLIS_SECRET  which gateway `cert` and `links` speak to, and its secret
  PORTCULLIS_LOG          log filter such as `info,portcullis_gateway=debug`; wins over both

Logs go to standard error, access logs to standard output.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_configuration_without_a_verb_means_the_gateway() {
        let cli = parse("portcullis --conf /etc/tyk/tyk.conf --port 0");
        assert!(cli.command.is_none());
        assert_eq!(cli.gateway.conf, Some(PathBuf::from("/etc/tyk/tyk.conf")));
        assert_eq!(cli.gateway.port, Some(0));
    }

    #[test]
    fn arguments_before_a_verb_are_refused_instead_of_ignored() {
        let refused = Cli::try_parse_from(["portcullis", "--conf", "tyk.conf", "check"]);
        assert!(refused.is_err());
    }

    #[test]
    fn every_verb_and_argument_says_what_it_is_for() {
        let command = Cli::command();
        let verbs = command.get_subcommands();
        for verb in verbs.flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands())) {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for argument in verb.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    verb.get_name(),
                    argument.get_id()
                );
            }
        }
    }
}
