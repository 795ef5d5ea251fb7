//! An upstream that tells its name and what it was asked, as JSON, over HTTP/1.1.
//!
//! For tests that care which upstream a request reached and what it looked like there.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Map, Value, json};

/// An upstream that runs as long as the value lives.
pub struct Echo {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    over: AtomicBool,
    held: AtomicBool,
    waiting: AtomicUsize,
    served: AtomicUsize,
}

impl Echo {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let (shared, name) = (state.clone(), Arc::<str>::from(name));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), shared, name) = (stream, shared.clone(), name.clone()) else {
                    continue;
                };
                // A connection that breaks is the gateway's business.
                std::thread::spawn(move || drop(serve(&stream, &name, &shared)));
            }
        });
        Self { address, state }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, ending with a slash.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Requests it has answered.
    pub fn served(&self) -> usize {
        self.state.served.load(Ordering::Acquire)
    }

    /// Lets requests to `/held` wait until [`Echo::release`].
    pub fn hold(&self) {
        self.state.held.store(true, Ordering::Release);
    }

    /// Requests to `/held` that wait now.
    pub fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Acquire)
    }

    /// Answers every request that waits.
    pub fn release(&self) {
        self.state.held.store(false, Ordering::Release);
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.release();
        self.state.over.store(true, Ordering::Release);
        // Wakes the thread that accepts; when nobody listens there is nothing to wake.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, name: &str, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default().to_owned(),
        );
        let mut headers = Map::new();
        loop {
            let mut field = String::new();
            reader.read_line(&mut field)?;
            let Some((field, value)) = field.trim_end().split_once(':') else {
                break;
            };
            headers.insert(
                field.to_ascii_lowercase(),
                Value::String(value.trim().to_owned()),
            );
        }
        let length = headers
            .get("content-length")
            .and_then(|length| length.as_str()?.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if target.contains("/held") {
            state.waiting.fetch_add(1, Ordering::AcqRel);
            while state.held.load(Ordering::Acquire) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            state.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        let answer = json!({
            "upstream": name, "method": method, "path": target, "headers": headers,
            "body": String::from_utf8_lossy(&body),
        })
        .to_string();
        state.served.fetch_add(1, Ordering::AcqRel);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut stream = stream;
        stream.write_all((head + &answer).as_bytes())?;
    }
}
