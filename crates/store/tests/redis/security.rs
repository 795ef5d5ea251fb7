//! Who gets in, and what is said about who does not.

use bytes::Bytes;
use portcullis_config::{Redis as Config, Secret};
use portcullis_pki::make::Algorithm;
use portcullis_store::{Redis, StoreError};

use crate::{
    kit::{Authority, down, open, open_up, settings},
    servers::Server,
};

/// Why a store with these settings does not serve.
async fn refusal(config: Config) -> String {
    let engine = open(config).await;
    let reason = down(&engine).await;
    // Whoever asks is told the same, at once.
    let error = engine.get("k").await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    assert_eq!(
        engine.get("k").await.unwrap_err().to_string(),
        error.to_string()
    );
    reason
}

/// What is wrong with settings that cannot be right.
async fn mistake(config: Config) -> String {
    match Redis::open(config, "storage").await {
        Err(error @ StoreError::Settings { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is accepted"),
    }
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for_and_judged() {
    let server = Server::start(&["--requirepass", "open-sesame"]);
    let address = server.address();
    let none = refusal(settings(&address)).await;
    says(&none, &[&address, "NOAUTH", "set storage.password"]);
    let wrong = refusal(Config {
        password: Secret::new("hunter2"),
        ..settings(&address)
    })
    .await;
    says(
        &wrong,
        &[
            &address,
            "WRONGPASS",
            "storage.username or storage.password is wrong",
        ],
    );
    assert!(!wrong.contains("hunter2"), "{wrong}");
    open_up(Config {
        password: Secret::new("open-sesame"),
        ..settings(&address)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_is_told_which_are_missing() {
    let server = Server::start(&[
        "--user",
        "reader",
        "on",
        ">r",
        "~*",
        "&*",
        "+@read",
        "+@connection",
        "+info",
    ]);
    let engine = open_up(Config {
        username: "reader".into(),
        password: Secret::new("r"),
        ..settings(&server.address())
    })
    .await;
    let error = engine.remove(&["k".into()]).await.unwrap_err().to_string();
    says(&error, &["NOPERM", "'del'", "ACL SETUSER"]);
}

/// OUT-123
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_unknown_authority_is_not_spoken_to_unless_verification_is_off() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), false, &[]);
    let without = Config {
        ca_file: None,
        ..authority.settings(&server.address())
    };
    says(
        &refusal(without.clone()).await,
        &["issued by nobody who is trusted", "storage.ca_file"],
    );
    let other = Config {
        ca_file: Some(Authority::new().ca_file()),
        ..without.clone()
    };
    // The other authority's files are gone by the time it is read.
    says(&mistake(other).await, &["storage.ca_file", "No such file"]);
    let stranger = Authority::new();
    let wrong = Config {
        ca_file: Some(stranger.ca_file()),
        ..without.clone()
    };
    says(
        &refusal(wrong).await,
        &["issued by nobody who is trusted", "storage.ca_file"],
    );
    open_up(Config {
        ssl_insecure_skip_verify: true,
        ..without
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_not_accepted() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["store.example.com"]), false, &[]);
    says(
        &refusal(authority.settings(&server.address())).await,
        &["another name"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_are_judged_and_the_verdict_is_told() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), true, &[]);
    let address = server.address();
    says(
        &refusal(authority.settings(&address)).await,
        &["asks for a client certificate", "storage.cert_file"],
    );

    authority.expired_client("expired");
    says(
        &refusal(authority.settings_of(&address, "expired")).await,
        &["has expired", "renew storage.cert_file"],
    );

    let stranger = Authority::new();
    stranger.client("stranger", Algorithm::P256);
    let config = Config {
        ca_file: Some(authority.ca_file()),
        ..stranger.settings_of(&address, "stranger")
    };
    says(&refusal(config).await, &["none of its authorities issued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_and_form_are_taken() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.server(&["127.0.0.1"]), true, &[]);
    for (name, algorithm) in [
        ("p256", Algorithm::P256),
        ("rsa", Algorithm::Rsa2048),
        ("ed25519", Algorithm::Ed25519),
    ] {
        let pair = authority.client(name, algorithm);
        open_up(authority.settings_of(&server.address(), name)).await;
        // The form of the key's own kind: PKCS#1 and SEC1.
        let own_form = match (pair.key.rsa(), pair.key.ec_key()) {
            (Ok(key), _) => key.private_key_to_pem(),
            (_, Ok(key)) => key.private_key_to_pem(),
            _ => continue,
        };
        std::fs::write(authority.path(&format!("{name}.key")), own_form.unwrap()).unwrap();
        open_up(authority.settings_of(&server.address(), name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_do_not_meet_are_told() {
    let authority = Authority::new();
    let old = Server::start_with_tls(
        &authority.server(&["127.0.0.1"]),
        false,
        &["--tls-protocols", "TLSv1.2"],
    );
    let new_only = Config {
        tls_min_version: "1.3".into(),
        ..authority.settings(&old.address())
    };
    says(
        &refusal(new_only).await,
        &[
            "no TLS version that both sides allow",
            "storage.tls_min_version",
        ],
    );
    open_up(authority.settings(&old.address())).await;
    // What is older than 1.2 becomes 1.2.
    open_up(Config {
        tls_min_version: "1.0".into(),
        tls_max_version: "1.1".into(),
        ..authority.settings(&old.address())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_and_tls_are_told_apart() {
    let authority = Authority::new();
    let plain = Server::start(&[]);
    let impatient = Config {
        timeout: std::time::Duration::from_millis(300),
        ..authority.settings(&plain.address())
    };
    says(
        &refusal(impatient).await,
        &["does the port speak TLS (storage.use_ssl)?"],
    );
    let with_tls = Server::start_with_tls(&authority.server(&["127.0.0.1"]), false, &[]);
    says(
        &refusal(settings(&with_tls.address())).await,
        &["does it expect TLS (storage.use_ssl)?"],
    );
}

/// OUT-124, OUT-125
#[tokio::test(flavor = "multi_thread")]
async fn versions_that_cannot_be_are_errors_of_the_configuration() {
    let tls = Config {
        use_ssl: true,
        ..settings("127.0.0.1:1")
    };
    let unknown = Config {
        tls_max_version: "1.4".into(),
        ..tls.clone()
    };
    assert_eq!(
        mistake(unknown).await,
        "storage.tls_max_version: invalid MaxVersion specified. Please specify a valid TLS version: 1.0, 1.1, 1.2, or 1.3"
    );
    let unknown = Config {
        tls_min_version: "tls".into(),
        ..tls.clone()
    };
    says(&mistake(unknown).await, &["invalid MinVersion specified."]);
    let crossed = Config {
        tls_min_version: "1.3".into(),
        tls_max_version: "1.2".into(),
        ..tls
    };
    assert_eq!(
        mistake(crossed).await,
        "storage.tls_min_version: MinVersion is higher than MaxVersion. Please specify a valid MinVersion that is lower or equal to MaxVersion"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_errors_of_the_configuration() {
    let authority = Authority::new();
    authority.client("gateway", Algorithm::P256);
    authority.client("other", Algorithm::P256);
    let whole = authority.settings_of("127.0.0.1:1", "gateway");
    let half = Config {
        key_file: None,
        ..whole.clone()
    };
    says(
        &mistake(half).await,
        &["storage.key_file: is not set, but storage.cert_file is"],
    );
    let half = Config {
        cert_file: None,
        ..whole.clone()
    };
    says(
        &mistake(half).await,
        &["storage.cert_file: is not set, but storage.key_file is"],
    );
    let mixed = Config {
        key_file: Some(authority.path("other.key")),
        ..whole.clone()
    };
    says(&mistake(mixed).await, &["storage.cert_file", "other.key"]);
    let gone = Config {
        cert_file: Some(authority.path("gone.pem")),
        ..whole.clone()
    };
    says(&mistake(gone).await, &["storage.cert_file", "gone.pem"]);
    let key_for_ca = Config {
        ca_file: Some(authority.path("gateway.key")),
        ..whole.clone()
    };
    says(
        &mistake(key_for_ca).await,
        &["storage.ca_file", "failed to add CA certificate"],
    );
    let high = Config {
        database: 256,
        ..settings("127.0.0.1:1")
    };
    says(&mistake(high).await, &["storage.database: is 256"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_with_its_address() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let reason = refusal(settings(&nowhere.to_string())).await;
    says(&reason, &[&nowhere.to_string(), "Connection refused"]);
    let sentinel = Server::start(&["--sentinel", "--port", "{port}"]);
    let unknown = Config {
        master_name: Some("other".into()),
        ..settings(&sentinel.address())
    };
    says(
        &refusal(unknown).await,
        &["no primary named \"other\"", "storage.master_name"],
    );
    let no_cluster = Server::start(&[]);
    let engine = open(Config {
        enable_cluster: true,
        ..settings(&no_cluster.address())
    })
    .await;
    says(
        &down(&engine).await,
        &["cluster support disabled", "storage.enable_cluster"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_show_neither_tokens_nor_values() {
    let server = Server::start(&[]);
    let engine = open_up(settings(&server.address())).await;
    engine
        .list_append("apikey-0123456789abcdef", &["x".into()])
        .await
        .unwrap();
    let error = engine
        .get("apikey-0123456789abcdef")
        .await
        .unwrap_err()
        .to_string();
    says(&error, &["apikey-****cdef"]);
    assert!(!error.contains("0123"), "{error}");
    let value = Bytes::from_static(b"v");
    let lasting = portcullis_store::Lifetime::Forever;
    engine
        .set("k", value, lasting, portcullis_store::Condition::Always)
        .await
        .unwrap();
}
