//! `GET /tyk/certs/inventory` on files, inline PEM and an embedded store.

use portcullis_pki::make::{Algorithm, Pair, make_ca, make_server};

use super::*;

/// A pair for these names that ends in so many days.
fn pair(names: &[&str], days: u32) -> Pair {
    let ca = make_ca("Inventory CA", Algorithm::P256, 400).unwrap();
    make_server(&ca, names, Algorithm::P256, days).unwrap()
}

fn text(pair: &Pair) -> String {
    pair.certificate_pem() + &pair.key_pem()
}

/// A TLS gateway that serves these references; its file `server.pem` is the first pair.
fn node(file: &Pair, references: &[&str]) -> Node {
    let node = Node::with(|config| {
        config.server.use_ssl = true;
        config.server.ssl_certificates = references.iter().map(|text| (*text).to_owned()).collect();
    });
    fs::write(node.dir.path().join("server.pem"), text(file)).unwrap();
    node
}

impl Node {
    async fn inventory(&self, query: &str) -> Vec<Value> {
        let reply = self.get(&format!("/tyk/certs/inventory{query}")).await;
        let page = reply.json();
        page["certificates"].as_array().expect("a list").clone()
    }

    async fn add(&self, org: &str, pair: &Pair) -> String {
        let target = format!("/tyk/certs?org_id={org}");
        let reply = self.ask(Method::POST, &target, text(pair)).await;
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn add_api(&self, id: &str, domain: &str, certificates: &[&str]) {
        let definition = json!({
            "name": id, "api_id": id, "org_id": "1", "active": true, "use_keyless": true,
            "domain": domain, "certificates": certificates,
            "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
            "proxy": {"listen_path": format!("/{id}/"), "target_url": "http://127.0.0.1:9/"},
        });
        self.ask(Method::POST, "/tyk/apis", definition).await;
        self.get("/tyk/reload?block=true").await;
    }
}

/// The row that names this subject.
fn row<'r>(rows: &'r [Value], subject: &str) -> &'r Value {
    let found = rows.iter().find(|row| row["subject"] == subject);
    found.unwrap_or_else(|| panic!("no {subject} in {rows:#?}"))
}

#[tokio::test]
async fn files_inline_pem_and_entries_of_the_store_are_listed_with_their_uses() {
    let (file, inline) = (pair(&["file.test"], 90), pair(&["inline.test"], 90));
    let node = node(&file, &["server.pem", &text(&inline)]);
    let id = node.add("1", &pair(&["api.test"], 90)).await;
    node.add("2", &pair(&["idle.test"], 90)).await;
    node.add_api("orders", "api.test", &[&id]).await;

    let rows = node.inventory("").await;
    assert_eq!(rows.len(), 4, "{rows:#?}");
    let file_row = row(&rows, "file.test");
    assert_eq!(file_row["source"], "file");
    assert!(file_row["file"].as_str().unwrap().ends_with("server.pem"));
    assert_eq!(
        file_row["used_by"],
        json!([{"role": "server", "key": "http_server_options.ssl_certificates"}])
    );
    assert_eq!(row(&rows, "inline.test")["source"], "inline");
    let api = row(&rows, "api.test");
    assert_eq!((&api["source"], &api["id"]), (&json!("store"), &json!(id)));
    assert_eq!(
        api["used_by"],
        json!([{"role": "server", "key": "certificates", "api_id": "orders", "host": "api.test"}])
    );
    let days = api["days_left"].as_i64().unwrap();
    assert!(
        (89..=90).contains(&days) && api["has_private"] == true,
        "{api}"
    );
    assert_eq!(api["issuer"], "Inventory CA");
    assert!(
        api["when_it_expires"]
            .as_str()
            .unwrap()
            .contains("API orders")
    );
    let idle = row(&rows, "idle.test");
    assert_eq!(
        (&idle["used_by"], &idle["without_it"]),
        (&json!([]), &json!([]))
    );
    assert!(!format!("{rows:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn what_a_certificate_is_needed_for_is_said_in_words_and_as_data() {
    let node = node(&pair(&["file.test"], 90), &["server.pem"]);
    let id = node.add("1", &pair(&["api.test"], 90)).await;
    for api in ["orders", "stock"] {
        node.add_api(api, "api.test", &[&id]).await;
    }
    let rows = node.inventory("").await;
    let losses = &row(&rows, "api.test")["without_it"];
    assert_eq!(losses[0]["effect"], "other_certificate");
    assert_eq!(losses[0]["name"], "api.test");
    assert_eq!(losses[0]["api_ids"], json!(["orders", "stock"]));
    let words = losses[0]["text"].as_str().unwrap();
    assert!(
        words.starts_with("2 APIs lose their only certificate for api.test")
            && words.contains("the certificate of file.test"),
        "{words}"
    );
}

#[tokio::test]
async fn the_last_certificate_of_a_port_takes_every_handshake_with_it() {
    let node = node(&pair(&["file.test"], 90), &["server.pem"]);
    let rows = node.inventory("").await;
    let loss = &row(&rows, "file.test")["without_it"][0];
    assert_eq!(loss["effect"], "handshakes_refused");
    assert!(loss["text"].as_str().unwrap().contains("alert 112"));
}

#[tokio::test]
async fn a_name_that_another_certificate_has_is_not_lost() {
    let node = node(&pair(&["*.shop.test"], 90), &["server.pem"]);
    let exact = node.add("1", &pair(&["a.shop.test"], 90)).await;
    node.add_api("orders", "a.shop.test", &[&exact]).await;
    let rows = node.inventory("").await;
    assert_eq!(row(&rows, "a.shop.test")["without_it"], json!([]));
    assert_eq!(
        row(&rows, "*.shop.test")["without_it"][0]["name"],
        "*.shop.test"
    );
}

#[tokio::test]
async fn the_list_is_narrowed_by_days_and_by_organisation() {
    let node = node(&pair(&["file.test"], 90), &["server.pem"]);
    node.add("1", &pair(&["soon.test"], 10)).await;
    node.add("12", &pair(&["late.test"], 60)).await;
    let subjects = |rows: Vec<Value>| -> Vec<String> {
        let mut names: Vec<_> = rows.iter().map(|row| row["subject"].to_string()).collect();
        names.sort();
        names
    };
    let expiring = subjects(node.inventory("?expiring=30").await);
    assert_eq!(expiring, ["\"soon.test\""]);
    let of_one = subjects(node.inventory("?org_id=1").await);
    assert_eq!(of_one, ["\"soon.test\""]);
    let refused = node.get("/tyk/certs/inventory?expiring=soon").await;
    assert_eq!(refused.json()["status"], "error");
}

#[tokio::test]
async fn what_cannot_be_read_is_listed_with_the_reason() {
    let missing = format!("1{}", "0".repeat(64));
    let node = node(&pair(&["file.test"], 90), &["gone.pem", &missing]);
    let rows = node.inventory("").await;
    let problems: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["problem"].as_str())
        .collect();
    assert_eq!(problems.len(), 2, "{rows:#?}");
    assert!(problems.iter().any(|text| text.contains("gone.pem")));
    assert!(problems.iter().any(|text| text.contains(&missing)));
}

#[tokio::test]
async fn what_definitions_name_for_clients_and_upstreams_is_listed_too() {
    let node = node(&pair(&["file.test"], 90), &["server.pem"]);
    let id = node.add("1", &pair(&["client.test"], 90)).await;
    let definition = json!({
        "name": "guarded", "api_id": "guarded", "org_id": "1", "active": true, "use_keyless": true,
        "use_mutual_tls_auth": true, "client_certificates": [id],
        "upstream_certificates": {"up.test": id},
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
        "proxy": {"listen_path": "/guarded/", "target_url": "http://127.0.0.1:9/"},
    });
    node.ask(Method::POST, "/tyk/apis", definition).await;
    node.get("/tyk/reload?block=true").await;
    let rows = node.inventory("").await;
    let client = row(&rows, "client.test");
    assert_eq!(
        client["used_by"],
        json!([
            {"role": "allow_list", "key": "client_certificates", "api_id": "guarded"},
            {"role": "upstream_client", "key": "upstream_certificates", "api_id": "guarded",
             "host": "up.test"},
        ])
    );
    let effects: Vec<&Value> = client["without_it"]
        .as_array()
        .unwrap()
        .iter()
        .map(|loss| &loss["effect"])
        .collect();
    assert_eq!(effects, ["client_refused", "requests_fail"]);
}

#[tokio::test]
async fn one_entry_of_the_store_is_shown_with_the_key_that_belongs_to_it() {
    for hashed in [false, true] {
        let node = Node::with(|config| {
            config.identity.hash_keys = hashed;
            config.identity.hash_key_function = Some("sha256".to_owned());
        });
        let id = node.add("1", &pair(&["client.test"], 90)).await;
        let idle = node.add("1", &pair(&["idle.test"], 90)).await;
        let right = json!({"api_id": "a", "api_name": "A", "versions": ["Default"]});
        let session = json!({"org_id": "1", "certificate": id, "access_rights": {"a": right}});
        let made = node.ask(Method::POST, "/tyk/keys/create", session).await;
        let made = made.json();
        let token = made["key"].as_str().expect("a token");
        let listed = if hashed { "key_hash" } else { "key" };

        let rows = node.inventory(&format!("?id={id}")).await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!(rows[0]["id"], json!(id));
        assert_eq!(
            rows[0]["used_by"],
            json!([{"role": "key", "key": "certificate", "name": made[listed]}])
        );
        let loss = &rows[0]["without_it"][0];
        assert_eq!(loss["effect"], "client_refused");
        let texts = format!("{}{}", loss["text"], rows[0]["when_it_expires"]);
        assert!(
            texts.contains("the key ****") && !texts.contains(token),
            "{texts}"
        );

        let rows = node.inventory(&format!("?id={idle}")).await;
        assert_eq!(row(&rows, "idle.test")["used_by"], json!([]));
        // Among all of them no key is looked for.
        let rows = node.inventory("").await;
        assert_eq!(row(&rows, "client.test")["used_by"], json!([]));
    }
}

#[tokio::test]
async fn one_entry_alone_is_judged_beside_the_others() {
    let node = node(&pair(&["file.test"], 90), &["server.pem"]);
    let id = node.add("1", &pair(&["api.test"], 90)).await;
    node.add_api("orders", "api.test", &[&id]).await;
    let all = node.inventory("").await;
    let one = node.inventory(&format!("?id={id}")).await;
    assert_eq!(one.len(), 1, "{one:#?}");
    for member in ["id", "used_by", "without_it"] {
        assert_eq!(one[0][member], row(&all, "api.test")[member], "{member}");
    }
    for query in [
        format!("?id={id}&org_id=2"),
        format!("?id={id}&expiring=30"),
        format!("?id=2{}", &id[1..]),
        "?id=server.pem".to_owned(),
    ] {
        assert!(node.inventory(&query).await.is_empty(), "{query}");
    }
}
