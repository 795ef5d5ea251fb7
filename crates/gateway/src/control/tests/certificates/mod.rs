//! `/tyk/certs` on an embedded store.

mod shown;
mod uploads;

use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509, X509Name, extension::BasicConstraints, extension::SubjectAlternativeName},
};
use portcullis_config::Secret;
use portcullis_pki::{
    Fingerprint,
    make::{Algorithm, Pair, make_ca, make_server},
};
use portcullis_store::{Condition, Lifetime};

use super::*;

fn pair_of(algorithm: Algorithm) -> Pair {
    let ca = make_ca("Certs CA", Algorithm::P256, 30).unwrap();
    make_server(&ca, &["localhost", "Upper.test"], algorithm, 30).unwrap()
}

fn pair() -> Pair {
    pair_of(Algorithm::P256)
}

fn print(certificate: &X509) -> String {
    Fingerprint::of(certificate).unwrap().to_string()
}

fn public_key(pair: &Pair) -> String {
    String::from_utf8(pair.key.public_key_to_pem().unwrap()).unwrap()
}

/// A certificate that signs itself: attributes of its name, DNS names, days from today it ends.
fn certificate(name: &[(Nid, &str)], dns: &[&str], ends: i64) -> (X509, PKey<Private>) {
    let key = Algorithm::P256.generate().unwrap();
    let mut subject = X509Name::builder().unwrap();
    for (nid, value) in name {
        subject.append_entry_by_nid(*nid, value).unwrap();
    }
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(7).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    let begins = Asn1Time::from_unix(1_500_000_000).unwrap();
    builder.set_not_before(&begins).unwrap();
    let today = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let ends = Asn1Time::from_unix(today + ends * 86_400).unwrap();
    builder.set_not_after(&ends).unwrap();
    if !dns.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for name in dns {
            names.dns(name);
        }
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    let leaf = BasicConstraints::new().build().unwrap();
    builder.append_extension(leaf).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

fn pem(certificate: &X509) -> String {
    String::from_utf8(certificate.to_pem().unwrap()).unwrap()
}

impl Node {
    async fn upload(&self, org: &str, text: impl ToString) -> Reply {
        self.ask(Method::POST, &format!("/tyk/certs?org_id={org}"), text)
            .await
    }

    /// Uploads what must be taken; the id.
    async fn certificate(&self, org: &str, text: impl ToString) -> String {
        let reply = self.upload(org, text).await;
        let id = reply.json()["id"].as_str().unwrap_or_default().to_owned();
        let added = json!({"id": id, "status": "ok", "message": "Certificate added"});
        reply.is(200, &format!("{added}\n"));
        id
    }

    async fn stored_text(&self, id: &str) -> String {
        let value = self.stores.engine().get(&format!("cert-raw-{id}")).await;
        String::from_utf8(value.unwrap().expect("an entry").to_vec()).unwrap()
    }

    async fn index(&self, org: &str) -> Option<Vec<String>> {
        let name = format!("cert-{org}-index");
        self.stores.engine().list(&name).await.unwrap()
    }

    async fn put(&self, name: &str, value: &str) {
        let value = Bytes::copy_from_slice(value.as_bytes());
        let engine = self.stores.engine();
        engine
            .set(name, value, Lifetime::Forever, Condition::Always)
            .await
            .unwrap();
    }

    /// What the same gateway says after a restart with another secret for keys.
    async fn get_under_another_secret(&self, target: &str) -> Reply {
        let mut config = (*self.api.config).clone();
        config.security.private_certificate_encoding_secret = Secret::new("another");
        let stores = Stores::on(self.stores.engine().clone(), &config);
        let links = Links::of_nothing(&config, &stores);
        let api = ControlApi::new(
            self.api.config.clone(),
            self.runtime.clone(),
            self.registry.clone(),
            stores,
            FlightRecorder::start(&tokio::runtime::Handle::current()).1,
            links,
        );
        let mut request = request(Method::GET, target, "");
        request
            .headers
            .insert("X-Tyk-Authorization", HeaderValue::from_static(SECRET));
        Reply(api.handle(request).await)
    }
}
