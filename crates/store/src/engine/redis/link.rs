//! The connections to a Redis, made together with one set of TLS files and replaced together.
//!
//! Invariant: a link that was replaced finishes what it was asked and hears messages until its
//! successor does; nothing is cut.

use std::{sync::OnceLock, time::Duration};

use fred::{
    clients::{Client, Pool, WithOptions},
    error::Error,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{
        Builder,
        config::{
            ClusterDiscoveryPolicy, Config as ClientConfig, ConnectionConfig, Options,
            PerformanceConfig, ReconnectPolicy, Server, ServerConfig, TcpConfig, TlsConfig,
            UnresponsiveConfig,
        },
    },
};
use native_tls::TlsConnector;
use portcullis_config::Redis as Config;
use tokio::sync::{broadcast, watch};

use crate::engine::messages::{self, Inbox};

/// Most connections per server. One carries any number of commands at a time; a few more keep a large
/// answer from holding up small ones.
const MOST: usize = 4;

/// Pauses before a lost connection is made again: the first, and the longest.
const PAUSES: (u32, u32) = (100, 10_000);

/// Connections to a Redis.
pub(super) struct Link {
    pool: Pool,
    subscriber: Client,
    options: Options,
    listening: OnceLock<()>,
    ended: watch::Sender<bool>,
}

impl Link {
    /// Connects. Must be called on a runtime.
    ///
    /// # Errors
    /// When no connection comes about within the time for one.
    pub(super) async fn open(config: &Config, tls: Option<&TlsConnector>) -> Result<Self, Error> {
        let size = config.max_active.min(config.max_idle).clamp(1, MOST);
        let builder = builder(config, tls);
        let pool = builder.build_pool(size)?;
        let link = Self {
            pool,
            subscriber: builder.build()?,
            options: Options {
                // A command whose connection is lost fails at once instead of being sent twice; further
                // attempts are for redirections within a cluster.
                fail_fast: true,
                max_attempts: Some(4),
                timeout: Some(config.timeout),
                ..Options::default()
            },
            listening: OnceLock::new(),
            ended: watch::Sender::new(false),
        };
        let connected = async {
            for client in link.pool.clients() {
                client.init().await?;
            }
            Ok::<(), Error>(())
        };
        match tokio::time::timeout(config.timeout * 2, connected).await {
            Ok(Ok(())) => Ok(link),
            Ok(Err(error)) => {
                link.close().await;
                Err(error)
            }
            Err(_) => {
                link.close().await;
                Err(Error::new(
                    fred::error::ErrorKind::Timeout,
                    "no connection in time",
                ))
            }
        }
    }

    /// A client for one command.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.pool.next_connected().with_options(&self.options)
    }

    /// The same without options, for scans.
    pub(super) fn plain(&self) -> &Client {
        self.pool.next_connected()
    }

    /// Asks every connection for a sign of life.
    pub(super) async fn ping(&self) -> Result<(), Error> {
        for client in self.pool.clients() {
            client.with_options(&self.options).ping::<()>(None).await?;
        }
        Ok(())
    }

    /// Hears messages of nodes and hands them to `inbox`. `regained` is called whenever the connection
    /// was lost and is there again: messages may have been missed.
    pub(super) fn listen(&self, inbox: &Inbox, regained: impl Fn() + Send + 'static) {
        if self.listening.set(()).is_err() {
            return;
        }
        let client = self.subscriber.clone();
        let (mut heard, mut connected) = (client.message_rx(), client.reconnect_rx());
        let mut ended = self.ended.subscribe();
        let inbox = inbox.clone();
        let connection = client.connect();
        tokio::spawn(async move {
            let mut first = true;
            loop {
                tokio::select! {
                    message = heard.recv() => match message {
                        Ok(message) => {
                            if let Some(text) = message.value.as_str() {
                                inbox.deliver(&message.channel, &text);
                            }
                        }
                        Err(broadcast::error::RecvError::Lagged(missed)) => {
                            tracing::warn!(missed, "messages of other nodes were missed");
                            regained();
                        }
                        Err(broadcast::error::RecvError::Closed) => break,
                    },
                    Ok(_) = connected.recv() => {
                        let channels = vec![messages::FLEET, messages::OURS];
                        if let Err(error) = client.subscribe(channels).await {
                            tracing::warn!(%error, "messages of other nodes cannot be heard");
                        } else if !std::mem::take(&mut first) {
                            regained();
                        }
                    }
                    // Told, or dropped: either way nobody wants it any more.
                    _ = ended.changed() => break,
                }
            }
            let _ = client.quit().await;
            connection.abort();
        });
    }

    /// Ends after `grace`, which is time for commands under way.
    pub(super) async fn retire(&self, grace: Duration) {
        tokio::time::sleep(grace).await;
        self.close().await;
    }

    /// Ends at once.
    pub(super) async fn close(&self) {
        self.ended.send_replace(true);
        let _ = self.pool.quit().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.send_replace(true);
    }
}

fn builder(config: &Config, tls: Option<&TlsConnector>) -> Builder {
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let servers: Vec<Server> = config
        .addresses
        .iter()
        .map(|address| server(address))
        .collect();
    let config_of_servers = match &config.master_name {
        Some(name) => ServerConfig::Sentinel {
            hosts: servers,
            service_name: name.clone(),
            username: None,
            password: optional(config.sentinel_password.reveal()),
        },
        None if config.enable_cluster => ServerConfig::Clustered {
            hosts: servers,
            policy: ClusterDiscoveryPolicy::ConfigEndpoint,
        },
        None => ServerConfig::Centralized {
            server: servers
                .into_iter()
                .next()
                .unwrap_or_else(|| server("localhost:6379")),
        },
    };
    let mut builder = Builder::from_config(ClientConfig {
        fail_fast: true,
        server: config_of_servers,
        username: optional(&config.username),
        password: optional(config.password.reveal()),
        // Checked when the settings were: see `Redis::open`.
        database: u8::try_from(config.database).ok(),
        tls: tls.map(|connector| TlsConfig::from(connector.clone())),
        ..ClientConfig::default()
    });
    builder
        .set_policy(ReconnectPolicy::new_exponential(0, PAUSES.0, PAUSES.1, 2))
        .set_connection_config(ConnectionConfig {
            connection_timeout: config.timeout,
            internal_command_timeout: config.timeout,
            max_command_attempts: 4,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(config.timeout),
                interval: (config.timeout / 4).max(Duration::from_millis(50)),
            },
            tcp: TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        })
        .set_performance_config(PerformanceConfig {
            default_command_timeout: config.timeout,
            broadcast_channel_capacity: 1024,
            ..PerformanceConfig::default()
        });
    builder
}

fn server(address: &str) -> Server {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Server::new(host, port.parse().unwrap_or(6379))
}
