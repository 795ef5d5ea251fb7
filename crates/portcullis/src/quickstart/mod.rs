//! `portcullis quickstart`: a working gateway in a directory, with an upstream to try it on.
//!
//! Invariants:
//! - What exists is kept. Only certificates of ours that have expired are made anew, and that is
//!   said.
//! - The directory is all there is: running again, or `portcullis gateway --conf DIR/tyk.conf`
//!   beside it, serves the same APIs.
//! - The definitions name the demo upstream's ports, so they are chosen once, when the directory
//!   is made, and recorded in it. When something else has one of them later, we say so and stop.

mod announce;
mod certificates;
mod demo;
mod place;
mod samples;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use portcullis_gateway::{Ready, RunOptions};

use crate::{
    cli::QuickstartArguments,
    configuration,
    exit::{Exit, Failure},
    gateway,
};
use certificates::CertificateError;
use place::{Made, PlaceError};

/// Why the directory cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// A file or directory in it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The port of the demo upstream.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    /// The TLS library has no server with the demo upstream's pair.
    #[error("the demo upstream cannot speak TLS: {0}")]
    Door(#[from] openssl::error::ErrorStack),
}

impl QuickstartError {
    /// The status that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Place(_) => Exit::System,
            Self::Certificates(error) if error.is_about_content() => Exit::Configuration,
            Self::Certificates(_) | Self::Door(_) => Exit::System,
            Self::Demo(_) => Exit::Listen,
        }
    }
}

/// Sets the directory up and runs it.
///
/// # Errors
/// When it cannot be set up, or the gateway does not start.
pub fn run(arguments: QuickstartArguments) -> Result<Exit, Failure> {
    let QuickstartArguments {
        dir,
        port,
        once_ready,
    } = arguments;
    let once_ready = once_ready.map(absolute).transpose()?;
    if let Some(file) = &once_ready {
        // Of an earlier run; whoever waits for it must not see it.
        place::forget(file).map_err(QuickstartError::from)?;
    }
    let (dir, made, demo) = set_up(&dir, port)?;

    // Paths in tyk.conf are looked up in the working directory first, and an `apps` there must
    // not be taken for ours.
    std::env::set_current_dir(&dir)
        .map_err(|source| PlaceError::Unusable {
            path: dir.clone(),
            source,
        })
        .map_err(QuickstartError::from)?;
    let loaded = configuration::load(Some(&dir.join("tyk.conf")), port)?;
    let certs = dir.join("certs");
    let client_id = certificates::client_id(&certs, "default").map_err(QuickstartError::from)?;
    let (pair, authority) = certificates::of_upstream(&certs).map_err(QuickstartError::from)?;
    let door = demo::Door::new(&pair, &authority).map_err(QuickstartError::from)?;
    let upstream = demo.serve(door).map_err(QuickstartError::from)?;
    let ready = move |ready: Ready| {
        let base = base_url(&ready);
        let text = announce::text(&dir, &made, &base, upstream, &client_id);
        // Without a standard output there is nobody to read it, and the gateway runs.
        let _ = io::stdout().lock().write_all(text.as_bytes());
        if let Some(file) = &once_ready
            && let Err(error) = place::write_whole(file, &base)
        {
            tracing::error!(%error, "nobody is told that the gateway is ready");
        }
    };
    gateway::serve(
        loaded,
        RunOptions {
            ready: Some(Box::new(ready)),
        },
    )
}

/// Makes what is missing; says what was made, and where the demo upstream is to listen.
fn set_up(dir: &Path, port: Option<u16>) -> Result<(PathBuf, Made, demo::Demo), QuickstartError> {
    place::directory(dir)?;
    let dir = place::resolve(dir)?;
    let mut made = Made::default();
    certificates::ensure(&dir.join("certs"), &mut made)?;
    let demo = demo::Demo::reserve(&dir, &mut made)?;
    samples::ensure(&dir, port, demo.addresses(), &mut made)?;
    Ok((dir, made, demo))
}

fn base_url(ready: &Ready) -> String {
    let scheme = if ready.tls { "https" } else { "http" };
    let host = match ready.address {
        // The certificate of the quickstart is for localhost.
        Some(address) if !address.is_loopback() => match address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        },
        _ => "localhost".to_owned(),
    };
    format!("{scheme}://{host}:{}", ready.port)
}

fn absolute(path: PathBuf) -> Result<PathBuf, QuickstartError> {
    std::path::absolute(&path).map_err(|source| PlaceError::Unusable { path, source }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

    fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn a_new_directory_holds_what_tyk_conf_and_the_definitions_refer_to() {
        let root = tempfile::tempdir().unwrap();
        let (dir, made, demo) = set_up(&root.path().join("new"), Some(0)).unwrap();
        let loaded = configuration::load(Some(&dir.join("tyk.conf")), None).unwrap();
        assert_eq!(loaded.warnings, []);
        assert!(!loaded.config.secret_is_default());
        assert_eq!(loaded.config.listen.port, 8443);
        assert_eq!(made.renewed().count(), 0);
        for name in [
            "ca.key",
            "server.key",
            "client.key",
            "stranger.key",
            "upstream.key",
            "gateway.pem",
        ] {
            let key = dir.join("certs").join(name);
            assert_eq!(
                fs::metadata(key).unwrap().permissions().mode() & 0o777,
                0o600,
                "{name}"
            );
        }
        let apps = loaded.config.definitions.app_path;
        let sources: Vec<_> = fs::read_dir(apps)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| portcullis_apidef::SourceFile {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                text: fs::read_to_string(&path).unwrap().into(),
            })
            .collect();
        let parsed = portcullis_apidef::parse_files(&sources);
        assert_eq!(parsed.len(), 6);
        for file in &parsed {
            let definition = file.result.as_ref().unwrap();
            assert_eq!(definition.warnings, [], "{}", file.name);
            let target = &definition.api.upstream.targets[0];
            let listener = match definition.api.upstream.tls.certificates.is_empty() {
                true => demo.addresses().plain,
                false => demo.addresses().secure,
            };
            assert_eq!(target.port, listener.port(), "{}", file.name);
        }
    }

    #[test]
    fn a_second_run_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        drop(set_up(root.path(), None).unwrap());
        fs::write(root.path().join("apps/echo.json"), "mine").unwrap();
        let before = contents(root.path());
        let (_, made, _demo) = set_up(root.path(), Some(1)).unwrap();
        assert_eq!(contents(root.path()), before);
        assert_eq!(made.fresh().count() + made.renewed().count(), 0);
        // Mine does not lead to the demo upstream, and that is said.
        assert_eq!(made.notes().count(), 1);
    }

    #[test]
    fn a_demo_port_that_is_taken_later_is_named_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        let (_, _, held) = set_up(root.path(), None).unwrap();
        let error = set_up(root.path(), None).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&held.addresses().plain.to_string()) && said.contains("demo-port"),
            "{said}"
        );
        assert_eq!(error.exit(), Exit::Listen);
    }

    #[test]
    fn the_base_url_names_a_host_the_certificate_is_for() {
        let ready = |address: Option<&str>, tls| Ready {
            address: address.map(|address| address.parse().unwrap()),
            port: 8443,
            tls,
            ports: [8443].into(),
        };
        assert_eq!(base_url(&ready(None, true)), "https://localhost:8443");
        assert_eq!(
            base_url(&ready(Some("127.0.0.1"), true)),
            "https://localhost:8443"
        );
        assert_eq!(
            base_url(&ready(Some("192.0.2.1"), false)),
            "http://192.0.2.1:8443"
        );
        assert_eq!(
            base_url(&ready(Some("2001:db8::1"), true)),
            "https://[2001:db8::1]:8443"
        );
    }
}
