//! An HTTP/1.1 connection that asks for one page after another and checks each answer.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Dial, Failure, SERVER_NAME, Wire};
use crate::upstream::Page;

/// The bytes of a request, prepared once and sent many times.
pub(crate) fn request(path: &str, extra_headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nUser-Agent: bench\r\nAccept: */*\r\n{extra_headers}\r\n")
        .into_bytes()
}

/// One open connection.
pub(crate) struct Http1 {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
}

impl Http1 {
    /// Opens a connection whose responses are read through a buffer of `buffer` bytes.
    pub(crate) async fn open(dial: &Dial, buffer: usize) -> Result<Self, Failure> {
        Ok(Self {
            wire: dial.connect().await?,
            buffer: vec![0; buffer],
        })
    }

    /// Sends `request` and reads exactly `page`, telling `received` about body bytes as they come.
    pub(crate) async fn fetch(
        &mut self,
        request: &[u8],
        page: Page,
        mut received: impl FnMut(u64),
    ) -> Result<(), Failure> {
        self.send(request).await?;
        let (head, filled) = self.read_head().await?;
        if head.length != page.length() {
            return Err(Failure::Length {
                got: head.length,
                expected: page.length(),
            });
        }

        let mut got = (filled - head.end) as u64;
        received(got);
        let body_end = head.end as u64 + head.length;
        if let Ok(end) = usize::try_from(body_end)
            && end <= self.buffer.len()
        {
            // It fits behind the head: keep it and compare it.
            while got < head.length {
                let at = head.end + usize::try_from(got).expect("within the buffer");
                let read = self.read_at(at).await?;
                got += read;
                received(read);
            }
            if got == head.length && !page.matches(&self.buffer[head.end..end]) {
                return Err(Failure::Body);
            }
        } else {
            while got < head.length {
                let read = self.read_at(0).await?;
                got += read;
                received(read);
            }
        }
        if got > head.length {
            return Err(Failure::Length {
                got,
                expected: head.length,
            });
        }
        Ok(())
    }

    /// Sends `request` and returns when a response with status 200 has been read, whatever its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.send(request).await?;
        let (head, filled) = self.read_head().await?;
        let mut got = (filled - head.end) as u64;
        while got < head.length {
            got += self.read_at(0).await?;
        }
        Ok(())
    }

    /// Waits until the server closes. A missing close_notify is accepted: the response was complete.
    pub(crate) async fn closed(mut self) -> Result<(), Failure> {
        match self.wire.read(&mut self.buffer).await {
            Ok(0) => Ok(()),
            Ok(_) => Err(Failure::NotClosed),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(Failure::broken(&error)),
        }
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.wire
            .write_all(request)
            .await
            .map_err(|error| Failure::broken(&error))
    }

    async fn read_head(&mut self) -> Result<(Head, usize), Failure> {
        let mut filled: usize = 0;
        loop {
            let searched = filled.saturating_sub(3);
            let read = self.read_at(filled).await?;
            filled += usize::try_from(read).expect("within the buffer");
            if let Some(at) = memmem::find(&self.buffer[searched..filled], b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..searched + at + 4])?;
                return Ok((head, filled));
            }
            if filled == self.buffer.len() {
                return Err(Failure::Head(format!("longer than {filled} bytes")));
            }
        }
    }

    async fn read_at(&mut self, at: usize) -> Result<u64, Failure> {
        match self.wire.read(&mut self.buffer[at..]).await {
            Ok(0) => Err(Failure::Closed),
            Ok(read) => Ok(read as u64),
            Err(error) => Err(Failure::broken(&error)),
        }
    }
}

/// What a response says before its body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Where the body starts.
    end: usize,
    /// The body's length in bytes.
    length: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let end = match response.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Err(Failure::Head("incomplete".into())),
            Err(error) => return Err(Failure::Head(error.to_string())),
        };
        match response.code {
            Some(200) => {}
            code => return Err(Failure::Status(code.unwrap_or(0))),
        }
        let length = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
            .ok_or_else(|| Failure::Head("no usable Content-Length".into()))?;
        Ok(Self { end, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_names_its_end_and_the_length_of_the_body() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\n\r\n").unwrap();
        assert_eq!(
            head,
            Head {
                end: 39,
                length: 12
            }
        );
    }

    #[test]
    fn any_status_but_200_is_a_failure() {
        let answer = Head::parse(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(answer, Err(Failure::Status(503))));
    }

    #[test]
    fn a_response_without_a_length_is_a_failure() {
        let answer = Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(matches!(answer, Err(Failure::Head(_))));
    }
}
