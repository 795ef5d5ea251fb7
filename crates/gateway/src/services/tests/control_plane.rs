//! The ways to a Dashboard and to a bridge, against real servers.

use portcullis_pki::make::{Algorithm, Pair, make_ca, make_client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Site, get, peers::SServer};
use crate::{
    links::Contacts,
    services::{Bridge, CallError, Dashboard},
};

impl Site {
    fn dashboard(&self, more: &Value) -> Dashboard {
        let (config, stores) = self.configured(more);
        Dashboard::new(&config, stores.certificates(), Contacts::default())
    }

    fn bridge(&self, server: &SServer, pairs: &[String], options: &Value) -> Bridge {
        let mut text = json!({
            "security": {"certificates": {"mdcb_api": pairs}},
            "slave_options": {"use_ssl": true, "connection_string": server.place("localhost")},
            "http_server_options": {"max_version": 772},
        });
        for (key, value) in options.as_object().unwrap() {
            text["slave_options"][key] = value.clone();
        }
        let (config, stores) = self.configured(&text);
        Bridge::new(&config, stores.certificates(), Contacts::default())
    }

    /// A file with a pair in it.
    fn pair(&self, file: &str, pair: &Pair) -> String {
        self.write(file, &(pair.certificate_pem() + &pair.key_pem()))
    }
}

#[tokio::test]
async fn a_dashboard_is_verified_by_the_listed_authorities_and_no_others() {
    let site = Site::new();
    let server = SServer::start(site.dir.path(), &[]);
    let address = server.at("localhost");
    let listed = |entries: &[String]| {
        let list = json!({"security": {"certificates": {"dashboard_api": entries}}});
        site.dashboard(&list)
    };
    let (ca, none) = (site.path("ca.pem"), site.path("none.pem"));
    // An entry that cannot be read is left out.
    let dashboard = listed(&[none.clone(), ca]);
    assert_eq!(dashboard.call(get(&address)).await.unwrap().status, 200);
    let stored = site.store(&site.ca.certificate_pem()).await;
    let dashboard = listed(&[stored]);
    assert_eq!(dashboard.call(get(&address)).await.unwrap().status, 200);

    let said = listed(&[none]).call(get(&address)).await.unwrap_err();
    assert!(matches!(said, CallError::Settings(_)), "{said}");
    assert!(
        said.to_string().contains(
            "nothing is trusted until an entry of security.certificates.dashboard_api leads to an authority"
        ),
        "{said}"
    );
    let unlisted = site
        .dashboard(&json!({}))
        .call(get(&address))
        .await
        .unwrap_err();
    assert!(matches!(unlisted, CallError::Way(_)), "{unlisted}");
    let skipping = json!({"http_server_options": {"ssl_insecure_skip_verify": true}});
    let skipping = site.dashboard(&skipping);
    assert_eq!(skipping.call(get(&address)).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_versions_spoken_with_a_dashboard_are_those_of_the_server_side() {
    let site = Site::new();
    let new = SServer::start(site.dir.path(), &["-tls1_3"]);
    let with = |versions: Value| {
        let list = json!({"dashboard_api": [site.path("ca.pem")]});
        site.dashboard(&json!({
            "security": {"certificates": list}, "http_server_options": versions,
        }))
    };
    let address = new.at("localhost");
    let said = with(json!({})).call(get(&address)).await.unwrap_err();
    assert!(
        said.to_string()
            .contains("`max_version` in http_server_options"),
        "{said}"
    );
    let dashboard = with(json!({"max_version": 772}));
    assert_eq!(dashboard.call(get(&address)).await.unwrap().status, 200);
}

/// What the bridge's end says of the connection.
async fn page(bridge: &Bridge) -> String {
    let mut stream = bridge.connect().await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut page = Vec::new();
    // It closes without the goodbye of TLS.
    let _ = stream.read_to_end(&mut page).await;
    String::from_utf8_lossy(&page).replace("CN = ", "CN=")
}

/// OUT-134
#[tokio::test]
async fn a_bridge_sees_the_first_pair_that_an_authority_it_announces_has_issued() {
    let site = Site::new();
    let other_ca = make_ca("Other CA", Algorithm::P256, 30).unwrap();
    let other = make_client(&other_ca, "of another", Algorithm::P256, 30).unwrap();
    let fitting = make_client(&site.ca, "fitting", Algorithm::P256, 30).unwrap();
    let later = make_client(&site.ca, "later", Algorithm::P256, 30).unwrap();
    let stored = site
        .store(&(later.certificate_pem() + &later.key_pem()))
        .await;
    let pairs = [
        site.path("none.pem"),
        site.pair("other.pem", &other),
        site.pair("fitting.pem", &fitting),
        stored,
    ];
    let skip = json!({"ssl_insecure_skip_verify": true});
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-verify", "1", "-CAfile", "ca.pem", version];
        let server = SServer::start(site.dir.path(), &arguments);
        let told = page(&site.bridge(&server, &pairs, &skip)).await;
        assert!(told.contains("CN=fitting"), "{told}");
        let told = page(&site.bridge(&server, &pairs[3..], &skip)).await;
        assert!(told.contains("CN=later"), "{told}");
        // None fits: an empty certificate, which this server lets pass.
        let told = page(&site.bridge(&server, &pairs[1..2], &skip)).await;
        assert!(told.contains("no client certificate available"), "{told}");
        // No authority is announced: the first valid one.
        let open = SServer::start(site.dir.path(), &["-verify", "1", version]);
        let told = page(&site.bridge(&open, &pairs[1..], &skip)).await;
        assert!(told.contains("CN=of another"), "{told}");
    }
}

#[tokio::test]
async fn a_bridge_that_is_not_verified_hears_nothing() {
    let site = Site::new();
    let server = SServer::start(site.dir.path(), &[]);
    let bridge = site.bridge(&server, &[], &json!({}));
    let said = bridge.connect().await.map(|_| ()).unwrap_err();
    assert!(matches!(said, CallError::Way(_)), "{said}");
    assert!(said.to_string().contains("TLS failed"), "{said}");
    let nowhere = site.bridge(&server, &[], &json!({"connection_string": "bridge"}));
    let said = nowhere.connect().await.map(|_| ()).unwrap_err();
    assert!(
        said.to_string().contains("slave_options.connection_string"),
        "{said}"
    );
}
