//! What the tests have in common: settings, certificates, waiting, a proxy.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    hash::MessageDigest,
    x509::X509Builder,
};
use portcullis_config::{Redis as Config, Secret};
use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client, make_server};
use portcullis_store::{Engine, Health, Redis, StoreError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::servers::{PATIENCE, TlsFiles};

/// Settings for a server without password and TLS.
pub fn settings(address: &str) -> Config {
    Config {
        kind: "redis".into(),
        addresses: vec![address.into()],
        enable_cluster: false,
        master_name: None,
        sentinel_password: Secret::default(),
        username: String::new(),
        password: Secret::default(),
        database: 0,
        timeout: Duration::from_secs(5),
        max_active: 500,
        max_idle: 100,
        use_ssl: false,
        ssl_insecure_skip_verify: false,
        ca_file: None,
        cert_file: None,
        key_file: None,
        tls_min_version: "1.2".into(),
        tls_max_version: "1.3".into(),
    }
}

/// The engine with these settings.
pub async fn open(config: Config) -> Engine {
    Engine::Redis(Redis::open(config, "storage").await.unwrap())
}

/// The engine with these settings, once it serves.
pub async fn open_up(config: Config) -> Engine {
    let engine = open(config).await;
    up(&engine).await;
    engine
}

/// Waits until the store serves.
pub async fn up(engine: &Engine) {
    health(engine, |health| *health == Health::Up).await;
}

/// Waits until the store is away; why.
pub async fn down(engine: &Engine) -> String {
    let known = |health: &Health| matches!(health, Health::Down { reason } if !reason.ends_with("not connected yet"));
    match health(engine, known).await {
        Health::Down { reason } => reason,
        Health::Up => unreachable!("waited for the other"),
    }
}

/// Waits until the store is away for a reason that has this in it.
pub async fn down_because(engine: &Engine, part: &str) {
    health(
        engine,
        |health| matches!(health, Health::Down { reason } if reason.contains(part)),
    )
    .await;
}

async fn health(engine: &Engine, wanted: impl FnMut(&Health) -> bool) -> Health {
    let mut health = engine.health();
    let reached = tokio::time::timeout(PATIENCE, health.wait_for(wanted)).await;
    match reached {
        Ok(health) => health.unwrap().clone(),
        Err(_) => panic!("it stays {:?}", *engine.health().borrow()),
    }
}

/// Waits until `attempt` works; the last failure is told when it never does.
pub async fn at_last<T>(mut attempt: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An authority with files of what it issued.
pub struct Authority {
    directory: tempfile::TempDir,
    ca: Pair,
}

impl Authority {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = make_ca("Store CA", Algorithm::P256, 30).unwrap();
        std::fs::write(directory.path().join("ca.pem"), ca.certificate_pem()).unwrap();
        Self { directory, ca }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// What a server for these names needs.
    pub fn server(&self, names: &[&str]) -> TlsFiles {
        let pair = make_server(&self.ca, names, Algorithm::P256, 30).unwrap();
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        self.write(&pair, "server");
        TlsFiles {
            certificate,
            key,
            ca: self.ca_file(),
        }
    }

    /// A client's pair in `<name>.pem` and `<name>.key`.
    pub fn client(&self, name: &str, algorithm: Algorithm) -> Pair {
        let pair = make_client(&self.ca, name, algorithm, 30).unwrap();
        self.write(&pair, name);
        pair
    }

    /// The same, good until yesterday.
    pub fn expired_client(&self, name: &str) {
        let Pair { certificate, key } = make_client(&self.ca, name, Algorithm::P256, 30).unwrap();
        let mut builder = X509Builder::new().unwrap();
        let day = 24 * 60 * 60;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let at = |days: i64| {
            Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + days * day).unwrap()
        };
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_version(2).unwrap();
        builder
            .set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        builder
            .set_subject_name(certificate.subject_name())
            .unwrap();
        builder.set_issuer_name(certificate.issuer_name()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&at(-9)).unwrap();
        builder.set_not_after(&at(-1)).unwrap();
        builder.sign(&self.ca.key, MessageDigest::sha256()).unwrap();
        self.write(
            &Pair {
                certificate: builder.build(),
                key,
            },
            name,
        );
    }

    fn write(&self, pair: &Pair, name: &str) {
        std::fs::write(self.path(&format!("{name}.pem")), pair.certificate_pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), pair.key_pem()).unwrap();
    }

    /// Settings for a TLS server that this authority vouches for.
    pub fn settings(&self, address: &str) -> Config {
        Config {
            use_ssl: true,
            ca_file: Some(self.ca_file()),
            ..settings(address)
        }
    }

    /// The same with the client pair `name`.
    pub fn settings_of(&self, address: &str, name: &str) -> Config {
        Config {
            cert_file: Some(self.path(&format!("{name}.pem"))),
            key_file: Some(self.path(&format!("{name}.key"))),
            ..self.settings(address)
        }
    }
}

/// A way to a server that can be slow or break off in the middle of an answer.
pub struct Proxy {
    pub address: String,
    /// Milliseconds that an answer is held up.
    delay: Arc<AtomicU64>,
    /// Bytes of answers still let through; then connections are cut.
    let_through: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap().to_string(),
            delay: Arc::default(),
            let_through: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (delay, let_through) = (proxy.delay.clone(), proxy.let_through.clone());
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (delay, let_through, server) =
                    (delay.clone(), let_through.clone(), server.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    pass(client, server, &delay, &let_through).await;
                });
            }
        });
        proxy
    }

    pub fn hold_up(&self, time: Duration) {
        self.delay
            .store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Lets so many bytes of answers through and cuts every connection then, until told otherwise.
    pub fn cut_after(&self, bytes: u64) {
        self.let_through.store(bytes, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.let_through.store(u64::MAX, Ordering::Relaxed);
    }
}

async fn pass(client: TcpStream, server: TcpStream, delay: &AtomicU64, let_through: &AtomicU64) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = match from_server.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            let delay = delay.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let left = let_through.load(Ordering::Relaxed);
            let passed = left.min(length as u64);
            if left != u64::MAX {
                let_through.store(left - passed, Ordering::Relaxed);
            }
            let part = &buffer[..usize::try_from(passed).unwrap()];
            if to_client.write_all(part).await.is_err() || passed < length as u64 {
                return;
            }
        }
    };
    tokio::select! { _ = up => {}, () = down => {} }
}
