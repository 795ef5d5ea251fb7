//! Any first bytes of a client go through the decision of a server with several policies: no panic, and
//! no handshake that ends well without the client's half.
#![no_main]

use std::{
    collections::HashSet,
    io::{self, Cursor, Read, Write},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use openssl::ssl::SslStream;
use portcullis_pki::{
    CertifiedKey,
    make::{Algorithm, make_ca, make_server},
};
use portcullis_tls::{
    CipherList, ClientCertificate, ClientTrust, Manner, Policies, Policy, ServerConfig,
    ServerSettings, ServingSet, Side, TicketKeys, VersionRange,
};

/// What a client sends, and nothing more.
struct Once(Cursor<Vec<u8>>);

impl Read for Once {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Once {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn server() -> &'static ServerConfig {
    static SERVER: OnceLock<ServerConfig> = OnceLock::new();
    SERVER.get_or_init(|| {
        let ca = make_ca("Fuzz CA", Algorithm::P256, 30).expect("a CA");
        let pair = make_server(&ca, &["closed.test", "*.pattern.test"], Algorithm::P256, 30)
            .expect("a pair");
        let text = pair.certificate_pem() + &pair.key_pem();
        let loaded = portcullis_pki::load(&text, None).expect("a pair");
        let key: Arc<CertifiedKey> = Arc::new(loaded.pair);
        let mut serving = ServingSet::builder();
        serving.listed(Some(key.clone()));
        serving.listed(Some(key));
        let trust = ClientTrust::new(
            HashSet::new(),
            HashSet::new(),
            vec![ca.certificate.clone()],
            Vec::new(),
        );
        let trust = Arc::new(trust.expect("trust"));
        let name = ca.certificate.subject_name().to_der().expect("a name");
        let required = |manner| Policy {
            client_certificate: ClientCertificate::Required {
                trust: trust.clone(),
                announced: vec![name.clone().into_boxed_slice()].into(),
                manner,
            },
            partition: String::new(),
        };
        let mut policies = Policies::open();
        policies.host("closed.test", required(Manner::Telling));
        let pattern = policies.add(required(Manner::Uniform));
        policies.otherwise(
            "*.pattern.test",
            Arc::new(move |host| host.ends_with(".pattern.test").then_some(pattern)),
        );
        let versions = VersionRange::resolve(771, 772, Side::Server)
            .expect("versions")
            .0;
        ServerConfig::new(ServerSettings {
            versions,
            ciphers: CipherList::default(),
            http2: true,
            serving: serving.build(),
            policies,
            tickets: Arc::new(TicketKeys::new(SystemTime::UNIX_EPOCH).expect("keys")),
        })
        .expect("a server")
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let session = server().session().expect("a session");
    let mut stream = SslStream::new(session, Once(Cursor::new(bytes.to_vec()))).expect("a stream");
    assert!(stream.do_handshake().is_err());
});
