//! Which way clients of services go: through proxies, past them, and what they say of them.

use portcullis_pki::make::{Algorithm, make_ca};
use serde_json::json;

use super::{
    Site, failure, get,
    peers::{Proxy, SecureProxy, Server},
    text,
};
use crate::services::{CallError, Service};

#[tokio::test]
async fn a_tunnel_is_asked_for_with_the_proxy_s_login_and_carries_tls_from_end_to_end() {
    let site = Site::new();
    let server = Server::mutual(&site.server, &site.ca);
    let address = format!("https://127.0.0.1:{}/", server.address.port());
    let proxied = |proxy: &Proxy| {
        let url = format!("http://us%40er:pa%3Ass@{}", proxy.address);
        site.client_of(&json!({"oauth": {"mtls": site.files(), "proxy": {"http_proxy": url}}}))
    };
    let proxy = Proxy::start("200 Connection established");
    let client = proxied(&proxy);
    assert_eq!(text(&client, &address).await, "gateway 0");
    let heads = proxy.heads();
    let expected = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", server.address);
    assert!(heads[0].starts_with(&expected), "{heads:?}");
    // `us@er:pa:ss`
    assert!(
        heads[0].contains("Proxy-Authorization: Basic dXNAZXI6cGE6c3M=\r\n"),
        "{heads:?}"
    );
    assert!(!server.requests()[0].to_ascii_lowercase().contains("proxy-"));

    let refusing = Proxy::start("407 Proxy Authentication Required");
    let error = proxied(&refusing).call(get(&address)).await.unwrap_err();
    assert!(matches!(error, CallError::Way(_)));
    let (said, place) = (error.to_string(), refusing.address);
    let expected = format!(
        "the proxy {place}: it refuses CONNECT {}: 407 Proxy",
        server.address
    );
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(server.requests().len(), 1);
}

/// OUT-107, of the client; OUT-119, of the client.
#[tokio::test]
async fn plain_requests_go_through_the_proxy_whole_and_bypassed_ones_directly() {
    let site = Site::new();
    let (server, proxy) = (Server::plain(), Proxy::start("200 Fine"));
    let url = format!("http://u:p@{}", proxy.address);
    let client = site.client_of(&json!({"oauth": {"proxy": {
        "http_proxy": url, "bypass_proxy": ".internal,127.0.0.2/31,localhost",
    }}}));
    let port = server.address.port();
    let address = format!("http://name:word@127.0.0.4:{port}/keys?a=b");
    assert_eq!(text(&client, &address).await, "by proxy.");
    let heads = proxy.heads();
    let first = format!("GET http://127.0.0.4:{port}/keys?a=b HTTP/1.1\r\n");
    assert!(heads[0].starts_with(&first), "{heads:?}");
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("proxy-authorization: basic dtpw"), "{head}");
    assert!(head.contains("authorization: basic bmftztp3b3jk"), "{head}");

    for host in ["127.0.0.3", "localhost"] {
        assert!(
            text(&client, &format!("http://{host}:{port}/"))
                .await
                .starts_with("nobody")
        );
    }
    assert!(!server.requests()[0].to_ascii_lowercase().contains("proxy-"));
    let said = failure(&client, &format!("http://idp.internal:{port}/")).await;
    assert!(
        said.starts_with(&format!("idp.internal:{port}: cannot connect")),
        "{said}"
    );
    assert_eq!(proxy.heads().len(), 1);
}

/// OUT-108, of the client.
#[tokio::test]
async fn an_upstream_is_tested_directly_where_its_proxy_is_no_address() {
    let (site, server) = (Site::new(), Server::plain());
    let broken = json!({"health": {"proxy": {"http_proxy": "://invalid-proxy"}}});
    let client = site.client_for(Service::Health, &broken);
    let address = format!("http://{}/", server.address);
    assert_eq!(text(&client, &address).await, "nobody 0");
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_is_verified_and_told_apart_from_the_server() {
    let site = Site::new();
    let server = Server::mutual(&site.server, &site.ca);
    let proxy = SecureProxy::start(&site.server).await;
    let through = |host: &str, ca_file: &str| {
        let mut mtls = site.files();
        mtls["ca_file"] = ca_file.into();
        let proxy = format!("https://{host}:{}", proxy.port);
        site.client_of(&json!({"oauth": {"mtls": mtls, "proxy": {"https_proxy": proxy}}}))
    };
    let address = format!("https://127.0.0.1:{}/", server.address.port());
    let client = through("localhost", &site.path("ca.pem"));
    assert_eq!(text(&client, &address).await, "gateway 0");
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with(&format!("CONNECT {} ", server.address)),
        "{heads:?}"
    );
    assert!(heads[0].ends_with("certificate shown: false"), "{heads:?}");

    let other = make_ca("Other CA", Algorithm::P256, 30).unwrap();
    let other = site.write("other.pem", &other.certificate_pem());
    let said = failure(&through("localhost", &other), &address).await;
    assert!(
        said.starts_with("the proxy localhost:")
            && said.contains("TLS failed: nobody who is trusted"),
        "{said}"
    );
    assert_eq!((proxy.heads().len(), server.requests().len()), (1, 1));
}
