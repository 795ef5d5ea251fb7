//! An HTTP/2 connection whose streams ask for one page after another.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Uri};

use super::{Dial, Failure, SERVER_NAME};
use crate::upstream::Page;

/// One open connection; a clone is another stream's handle on it.
#[derive(Clone)]
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
    uri: Uri,
}

impl Http2 {
    /// Opens a connection that will ask for `page`. Its frames are moved by a task of its own,
    /// which ends when the last handle is dropped.
    pub(crate) async fn open(dial: &Dial, page: Page) -> Result<Self, Failure> {
        let wire = dial.connect().await?;
        let (send, connection) = h2::client::handshake(wire)
            .await
            .map_err(|error| failure(&error))?;
        tokio::spawn(async move {
            // A broken connection shows in every stream that waits for it.
            drop(connection.await);
        });
        let uri = format!("https://{SERVER_NAME}{}", page.path())
            .parse()
            .expect("a valid URI");
        Ok(Self { send, uri })
    }

    /// Asks for `page` on a new stream and reads all of it.
    pub(crate) async fn fetch(&mut self, page: Page) -> Result<(), Failure> {
        let mut request = Request::new(());
        *request.uri_mut() = self.uri.clone();
        let mut ready = self
            .send
            .clone()
            .ready()
            .await
            .map_err(|error| failure(&error))?;
        let (response, _) = ready
            .send_request(request, true)
            .map_err(|error| failure(&error))?;
        let response = response.await.map_err(|error| failure(&error))?;
        if response.status() != http::StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let mut body = response.into_body();
        let mut got = 0;
        while let Some(data) = body.data().await {
            let data = data.map_err(|error| failure(&error))?;
            if data.len() as u64 == page.length() && !page.matches(&data) {
                return Err(Failure::Body);
            }
            got += data.len() as u64;
            body.flow_control()
                .release_capacity(data.len())
                .map_err(|error| failure(&error))?;
        }
        if got == page.length() {
            Ok(())
        } else {
            Err(Failure::Length {
                got,
                expected: page.length(),
            })
        }
    }
}

fn failure(error: &h2::Error) -> Failure {
    Failure::Http2(error.to_string())
}
