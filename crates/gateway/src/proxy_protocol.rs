//! PROXY protocol, versions 1 and 2: who a load balancer says the client is.
//!
//! Expected only where configuration says so, and then required: a connection that does not
//! begin with a header is closed, because anybody could pretend to be anybody otherwise. The
//! format is haproxy's `proxy-protocol.txt`. This file does no I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 header, line end included.
const MAX_V1: usize = 107;

/// Longest version 2 header this gateway waits for: the fixed part, addresses and some extensions.
const MAX_V2: usize = 4096;

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What the bytes at the start of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A client speaks through the load balancer.
    Client {
        /// The client's address and port.
        source: SocketAddr,
        /// Length of the header.
        length: usize,
    },
    /// The load balancer speaks for itself (health checks), or of an address that is none.
    Local {
        /// Length of the header.
        length: usize,
    },
}

/// Why the start of a connection is no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version's signature.
    #[error("connection does not begin with a PROXY protocol header")]
    Missing,
    /// A version 1 line that does not follow the format.
    #[error("malformed PROXY protocol version 1 header")]
    MalformedV1,
    /// A version 2 header that does not follow the format.
    #[error("malformed PROXY protocol version 2 header")]
    MalformedV2,
}

/// Reads the header at the start of `bytes`; `Ok(None)` when it is not complete yet.
///
/// # Errors
/// [`HeaderError`]; the connection must be closed.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let common = bytes.len().min(V2_SIGNATURE.len());
    if bytes[..common] == V2_SIGNATURE[..common] {
        return if common == V2_SIGNATURE.len() {
            parse_v2(bytes)
        } else {
            Ok(None)
        };
    }
    let common = bytes.len().min(6);
    if bytes[..common] == b"PROXY "[..common] {
        return if common == 6 {
            parse_v1(bytes)
        } else {
            Ok(None)
        };
    }
    Err(HeaderError::Missing)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let window = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if bytes.len() >= MAX_V1 {
            Err(HeaderError::MalformedV1)
        } else {
            Ok(None)
        };
    };
    let length = end + 2;
    let line = std::str::from_utf8(&window[..end]).map_err(|_| HeaderError::MalformedV1)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(HeaderError::MalformedV1)?;
    if family == "UNKNOWN" {
        return Ok(Some(Header::Local { length }));
    }
    let mut word = || words.next().ok_or(HeaderError::MalformedV1);
    let (source, target, source_port, target_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(HeaderError::MalformedV1);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse().ok()).flatten()
    };
    match (
        address(source),
        address(target),
        port(source_port),
        port(target_port),
    ) {
        (Some(ip), Some(_), Some(port), Some(_)) => Ok(Some(Header::Client {
            source: SocketAddr::new(ip, port),
            length,
        })),
        _ => Err(HeaderError::MalformedV1),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(fixed) = bytes.get(12..16) else {
        return Ok(None);
    };
    let (version, command) = (fixed[0] >> 4, fixed[0] & 0x0f);
    let (family, transport) = (fixed[1] >> 4, fixed[1] & 0x0f);
    let payload = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let length = 16 + payload;
    if version != 2 || command > 1 || family > 3 || transport > 2 || length > MAX_V2 {
        return Err(HeaderError::MalformedV2);
    }
    let Some(payload) = bytes.get(16..length) else {
        return Ok(None);
    };
    if command == 0 {
        return Ok(Some(Header::Local { length }));
    }
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let source = match family {
        1 if payload.len() >= 12 => {
            let octets: [u8; 4] = payload[..4].try_into().expect("four bytes");
            SocketAddr::new(Ipv4Addr::from(octets).into(), port(8))
        }
        2 if payload.len() >= 36 => {
            let octets: [u8; 16] = payload[..16].try_into().expect("sixteen bytes");
            SocketAddr::new(Ipv6Addr::from(octets).into(), port(32))
        }
        1 | 2 => return Err(HeaderError::MalformedV2),
        // Unspecified, or a Unix socket: no address to show.
        _ => return Ok(Some(Header::Local { length })),
    };
    Ok(Some(Header::Client { source, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(source: &str, length: usize) -> Result<Option<Header>, HeaderError> {
        Ok(Some(Header::Client {
            source: source.parse().expect("address"),
            length,
        }))
    }

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family << 4 | 1]);
        bytes.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn version_1_names_the_client() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\r\nGET /";
        assert_eq!(parse(line), client("192.0.2.1:56324", 42));
        assert_eq!(
            parse(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
            client("[2001:db8::1]:1", 32)
        );
        assert_eq!(
            parse(b"PROXY UNKNOWN whatever\r\n"),
            Ok(Some(Header::Local { length: 24 }))
        );
        for cut in 0..42 {
            assert_eq!(parse(&line[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn version_2_names_the_client() {
        let mut payload = vec![192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 0x04, 1, 0xbb];
        assert_eq!(parse(&v2(1, 1, &payload)), client("192.0.2.1:56324", 28));
        payload.extend([0x04, 0, 1, 7]); // an extension
        assert_eq!(parse(&v2(1, 1, &payload)), client("192.0.2.1:56324", 32));
        assert_eq!(
            parse(&v2(0, 0, &[])),
            Ok(Some(Header::Local { length: 16 }))
        );
        let whole = v2(1, 1, &payload);
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(HeaderError::Missing));
        assert_eq!(parse(b"\x16\x03\x01"), Err(HeaderError::Missing));
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.9 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 99999 443\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.9 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.9 1 2 3\r\n",
        ] {
            assert_eq!(
                parse(line.as_bytes()),
                Err(HeaderError::MalformedV1),
                "{line}"
            );
        }
        assert_eq!(
            parse(&[b"PROXY ".as_slice(), &[b'x'; 120]].concat()),
            Err(HeaderError::MalformedV1)
        );
        assert_eq!(parse(&v2(1, 1, &[1, 2, 3])), Err(HeaderError::MalformedV2));
        assert_eq!(parse(&v2(7, 1, &[0; 12])), Err(HeaderError::MalformedV2));
    }
}
