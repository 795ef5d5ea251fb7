//! Real curl.

use std::process::Command;

use serde_json::Value;

/// A call of curl.
#[derive(Default)]
pub struct Curl {
    arguments: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Response {
    /// curl's own exit status; 0 when a whole response came.
    pub exit: i32,
    /// What curl said about its failure.
    pub error: String,
    /// Status of the response, 0 when none came.
    pub status: u16,
    /// `1.1` or `2`; empty when none came.
    pub http_version: String,
    /// Header fields as they came; those of the last response when there were several.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Curl {
    /// A call that tells errors, gives up after half a minute and reads no file of the user.
    pub fn new() -> Self {
        Self::default().arguments(&[
            "-q",
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, more: &[&str]) -> Self {
        self.arguments
            .extend(more.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.arguments(&["-H", &format!("{name}: {value}")])
    }

    /// Sends `name` as SNI and `Host` to a gateway's address.
    #[must_use]
    pub fn at(self, name: &str, address: std::net::SocketAddr) -> Self {
        self.arguments(&[
            "--connect-to",
            &format!("{name}:{}:{address}", address.port()),
        ])
    }

    /// Makes the request.
    ///
    /// # Panics
    /// When curl is not installed or says something that cannot be understood.
    pub fn send(self, url: &str) -> Response {
        let dir = tempfile::tempdir().expect("a directory for the answer");
        let (head, body) = (dir.path().join("head"), dir.path().join("body"));
        let output = Command::new("curl")
            .args(&self.arguments)
            .args([
                "--write-out",
                "%{http_code} %{http_version}",
                "--dump-header",
            ])
            .arg(&head)
            .arg("--output")
            .arg(&body)
            .arg(url)
            .output()
            .expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (status, version) = said.split_once(' ').expect("status and version");
        // Files of a request without an answer do not exist.
        let head = std::fs::read(&head).unwrap_or_default();
        Response {
            exit: output.status.code().unwrap_or(-1),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: status.parse().expect("a status is a number"),
            http_version: if version == "0" {
                String::new()
            } else {
                version.to_owned()
            },
            headers: fields(&String::from_utf8_lossy(&head)),
            body: std::fs::read(&body).unwrap_or_default(),
        }
    }
}

impl Response {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Asserts that the response has this status and gives it back.
    ///
    /// # Panics
    /// When it has another, with all of it.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}, body {:?}", self.text());
        self
    }
}

/// The fields of the last head in a dump.
fn fields(dump: &str) -> Vec<(String, String)> {
    let heads = dump.trim_end().replace("\r\n", "\n");
    let last = heads.rsplit("\n\n").next().unwrap_or_default();
    last.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
