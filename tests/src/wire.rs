//! HTTP/1 as bytes on a connection, for both ends of it.
//!
//! It sends exactly what it is told, right or wrong, and reads what comes without repairing it: a
//! body that ends early is a [`Message`] that is not complete. Every wait is bounded by
//! [`PATIENCE`].

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use openssl::ssl::{SslRef, SslStream};

use crate::wait::PATIENCE;

/// A connection in clear text or TLS.
pub trait Stream: Read + Write + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
    /// The TLS session, if there is one.
    fn session(&self) -> Option<&SslRef> {
        None
    }
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for SslStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }

    fn session(&self) -> Option<&SslRef> {
        Some(self.ssl())
    }
}

/// A connection, the bytes that came and were not looked at yet, and all that ever came.
pub struct Wire {
    stream: Box<dyn Stream>,
    held: Vec<u8>,
    came: Arc<Mutex<Vec<u8>>>,
}

/// A request or a response.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Field names as sent, and values.
    pub fields: Vec<(String, String)>,
    /// Content, without chunk framing.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// The body ended where its framing said.
    pub complete: bool,
}

impl Message {
    /// Status of a response.
    ///
    /// # Panics
    /// When this is no response.
    pub fn status(&self) -> u16 {
        let status = self
            .start
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// Target of a request.
    ///
    /// # Panics
    /// When this is no request.
    pub fn target(&self) -> &str {
        self.start
            .split(' ')
            .nth(1)
            .expect("a request line has a target")
    }

    /// The only field of this name. Case does not matter.
    ///
    /// # Panics
    /// When there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self
            .fields
            .iter()
            .filter(|field| field.0.eq_ignore_ascii_case(name));
        let found = named.next().map(|field| field.1.as_str());
        assert!(
            named.next().is_none(),
            "{name} stands twice: {:?}",
            self.fields
        );
        found
    }

    /// The trailer of this name.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers
            .iter()
            .find(|field| field.0.eq_ignore_ascii_case(name))
            .map(|field| field.1.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length")
            .and_then(|length| length.parse().ok())
    }

    fn is_response(&self) -> bool {
        self.start.starts_with("HTTP/")
    }
}

impl Wire {
    /// A connection that has been made.
    ///
    /// # Panics
    /// When the socket takes no deadline.
    pub fn new(stream: impl Stream + 'static) -> Self {
        let socket = stream.socket();
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        socket.set_nodelay(true).expect("a socket takes an option");
        Self {
            stream: Box::new(stream),
            held: Vec::new(),
            came: Arc::default(),
        }
    }

    /// Everything that came, shared with whoever wants to look.
    pub fn came(&self) -> Arc<Mutex<Vec<u8>>> {
        self.came.clone()
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// The TLS session.
    ///
    /// # Panics
    /// When it is in clear text.
    pub fn session(&self) -> &SslRef {
        self.stream.session().expect("a TLS session")
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the other side does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .expect("the other side takes what is sent");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side does not take them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Says that nothing more will be sent; reading goes on.
    pub fn finish(&self) {
        // A connection that is gone needs no goodbye.
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Reads a message with its body; `None` when the connection ends before a whole head.
    pub fn message(&mut self) -> Option<Message> {
        self.message_to("GET")
    }

    /// Reads the response to a request of this method: one to HEAD has no body.
    pub fn message_to(&mut self, method: &str) -> Option<Message> {
        let mut message = self.head()?;
        let bodiless = message.is_response()
            && (method == "HEAD" || matches!(message.status(), 100..=199 | 204 | 304));
        message.complete = true;
        if bodiless {
            return Some(message);
        }
        if message.is_chunked() {
            message.complete = self.chunks(&mut message).is_some();
        } else if let Some(length) = message.length() {
            message.complete = self.hold(length);
            let n = length.min(self.held.len());
            message.body = self.held.drain(..n).collect();
        } else if message.is_response() {
            message.body = self.rest();
        }
        Some(message)
    }

    /// Reads a head; the body stays.
    pub fn head(&mut self) -> Option<Message> {
        let text = self.until(b"\r\n\r\n")?;
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next()?.to_owned();
        let fields = lines.map(field).collect();
        Some(Message {
            start,
            fields,
            ..Message::default()
        })
    }

    /// Reads one chunk of a chunked body; empty for the last one, whose trailers stay.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n")?;
        let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
        if size == 0 {
            return Some(Vec::new());
        }
        let content = self.exactly(size)?;
        self.exactly(2).filter(|end| end == b"\r\n")?;
        Some(content)
    }

    /// Reads this many bytes; `None` when the connection ends before.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        self.hold(count).then(|| self.held.drain(..count).collect())
    }

    /// Reads until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_ok_and(|n| n > 0) {}
        std::mem::take(&mut self.held)
    }

    /// Waits for the end of the connection; true when nothing more came before it.
    ///
    /// # Panics
    /// When it stays open.
    pub fn is_closed(&mut self) -> bool {
        match self.fill() {
            Ok(0) => self.held.is_empty(),
            Ok(_) => false,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                panic!("the connection stays open")
            }
            Err(_) => self.held.is_empty(),
        }
    }

    /// Reads what is there, waiting for something; 0 at the end.
    ///
    /// # Errors
    /// When the connection fails or nothing comes.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let n = self.stream.read(&mut buffer)?;
        self.held.extend_from_slice(&buffer[..n]);
        self.came
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&buffer[..n]);
        Ok(n)
    }

    /// Bytes that came and were not looked at yet.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    fn hold(&mut self, count: usize) -> bool {
        while self.held.len() < count {
            match self.fill() {
                Ok(n) if n > 0 => {}
                _ => return false,
            }
        }
        true
    }

    fn until(&mut self, end: &[u8]) -> Option<String> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.held[seen..]
                .windows(end.len())
                .position(|window| window == end)
            {
                let text = self.held.drain(..seen + at + end.len()).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&text).into_owned());
            }
            seen = self.held.len().saturating_sub(end.len() - 1);
            self.fill().ok().filter(|n| *n > 0)?;
        }
    }

    fn chunks(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            message.body.extend_from_slice(&chunk);
        }
        loop {
            let line = self.until(b"\r\n")?;
            match line.trim_end() {
                "" => return Some(()),
                line => message.trailers.push(field(line)),
            }
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}
