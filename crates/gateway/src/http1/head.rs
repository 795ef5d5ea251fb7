//! Request and response heads: found, checked, and their framing decided.

use std::mem::MaybeUninit;

use httparse::Header;

use super::body::Framing;

/// Most header fields that can ever be asked for by configuration.
pub const MAX_FIELDS: usize = 256;

/// Room for the fields of one head, on the caller's stack.
pub type FieldSpace<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

/// An empty [`FieldSpace`].
pub const fn field_space<'b>() -> FieldSpace<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// A request head; every part points into the bytes it was parsed from.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// Method token as sent.
    pub method: &'b str,
    /// Request target as sent: origin form, absolute form, or `*`.
    pub target: &'b str,
    /// Host that the request is for: the authority of an absolute target, else the Host field.
    pub host: &'b str,
    /// Path of the target without query; `*` for the asterisk form.
    pub path: &'b str,
    /// Query of the target without `?`.
    pub query: Option<&'b str>,
    /// HTTP/1.0 client: no chunked answers, closes by default.
    pub http10: bool,
    /// The fields in order.
    pub fields: &'h [Header<'b>],
    /// How the body is framed.
    pub framing: Framing,
    /// The client may send another request on this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// `Upgrade` with `Connection: upgrade`: the protocol asked for.
    pub upgrade: Option<&'b str>,
    /// Length of the head in bytes.
    pub length: usize,
}

/// A response head of an upstream.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// Status code, 100–999.
    pub status: u16,
    /// Reason phrase as sent.
    pub reason: &'b str,
    /// The fields in order.
    pub fields: &'h [Header<'b>],
    /// How the body is framed.
    pub framing: Framing,
    /// The connection can carry another request after this response.
    pub keep_alive: bool,
    /// Length of the head in bytes.
    pub length: usize,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a head at all, or a token in it is malformed.
    #[error("malformed head")]
    Malformed,
    /// A line ends with LF alone.
    #[error("line ends with a bare LF")]
    BareLf,
    /// More fields than allowed.
    #[error("too many header fields")]
    TooManyFields,
    /// More bytes than allowed.
    #[error("head too large")]
    TooLarge,
    /// Transfer-Encoding and Content-Length, or one of them twice, or unreadable.
    #[error("ambiguous or malformed body framing")]
    Framing,
    /// A transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    Coding,
    /// No Host, several, or one that is no host.
    #[error("missing, repeated or malformed Host")]
    Host,
    /// A target this gateway does not serve, such as CONNECT's.
    #[error("unsupported request target")]
    Target,
    /// A version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    Version,
}

/// Bounds of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Most bytes, at most a chunk.
    pub bytes: usize,
    /// Most fields, at most [`MAX_FIELDS`].
    pub fields: usize,
}

impl HeadError {
    /// The status a client is answered with (RFC 9110, RFC 6585).
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyFields | Self::TooLarge => 431,
            Self::Coding => 501,
            Self::Version => 505,
            Self::Malformed | Self::BareLf | Self::Framing | Self::Host | Self::Target => 400,
        }
    }
}

/// Whether `bytes` can hold a whole head: `None` means more must arrive first. `seen` is how many of
/// them were looked at before, so that a client that dribbles does not make us start over.
pub fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let from = seen.saturating_sub(3);
    memchr::memmem::find(&bytes[from..], b"\r\n\r\n").is_some()
        // Ends by bare LF are complete for the parser, which then refuses them.
        || memchr::memmem::find(&bytes[from..], b"\n\n").is_some()
        || memchr::memmem::find(&bytes[from..], b"\n\r\n").is_some()
}

/// Reads a request head; `Ok(None)` when it is not complete yet.
///
/// # Errors
/// [`HeadError`]; the connection must not be used for another request.
pub fn request<'h, 'b>(
    bytes: &'b [u8],
    limits: HeadLimits,
    space: &'h mut FieldSpace<'b>,
) -> Result<Option<RequestHead<'h, 'b>>, HeadError> {
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed
        .parse_with_uninit_headers(bytes, &mut space[..limits.fields.min(MAX_FIELDS)])
    {
        Ok(httparse::Status::Complete(length)) if length <= limits.bytes => length,
        Ok(httparse::Status::Complete(_)) => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) if bytes.len() >= limits.bytes => {
            return Err(HeadError::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed),
    };
    refuse_bare_lf(&bytes[..length])?;
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadError::Malformed);
    };
    let http10 = version == 0;
    let fields: &'h [Header<'b>] = parsed.headers;

    let mut facts = Facts::default();
    let mut host = None;
    let mut expects_continue = false;
    let mut upgrade = None;
    for field in fields {
        facts.note(field)?;
        match field.name.len() {
            4 if field.name.eq_ignore_ascii_case("host") => {
                let value = std::str::from_utf8(field.value).map_err(|_| HeadError::Host)?;
                if host.replace(value).is_some() || !is_authority(value) {
                    return Err(HeadError::Host);
                }
            }
            6 if field.name.eq_ignore_ascii_case("expect") => {
                expects_continue = field.value.eq_ignore_ascii_case(b"100-continue") && !http10;
            }
            7 if field.name.eq_ignore_ascii_case("upgrade") => {
                upgrade = std::str::from_utf8(field.value).ok();
            }
            _ => {}
        }
    }
    if host.is_none() && !http10 {
        return Err(HeadError::Host);
    }
    let (authority, origin) = split_target(method, target)?;
    let (path, query) = match origin.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin, None),
    };
    let framing = match (facts.chunked, facts.length) {
        (true, Some(_)) => return Err(HeadError::Framing),
        // Chunked does not exist in HTTP/1.0; a sender that says so is confused or lying.
        (true, None) if http10 => return Err(HeadError::Framing),
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Length(0),
    };
    Ok(Some(RequestHead {
        method,
        target,
        host: authority.or(host).unwrap_or(""),
        path,
        query,
        http10,
        fields,
        framing,
        keep_alive: facts.keep_alive(http10),
        expects_continue,
        upgrade: upgrade.filter(|_| facts.connection_upgrade && !http10),
        length,
    }))
}

/// Reads a response head to a request of `method`; `Ok(None)` when it is not complete yet.
///
/// # Errors
/// [`HeadError`]; the connection must be closed.
pub fn response<'h, 'b>(
    bytes: &'b [u8],
    limits: HeadLimits,
    to_head_request: bool,
    space: &'h mut FieldSpace<'b>,
) -> Result<Option<ResponseHead<'h, 'b>>, HeadError> {
    let mut parsed = httparse::Response::new(&mut []);
    let fields = &mut space[..limits.fields.min(MAX_FIELDS)];
    let length = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        bytes,
        fields,
    ) {
        Ok(httparse::Status::Complete(length)) if length <= limits.bytes => length,
        Ok(httparse::Status::Complete(_)) => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) if bytes.len() >= limits.bytes => {
            return Err(HeadError::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed),
    };
    refuse_bare_lf(&bytes[..length])?;
    // The tokenizer takes any three digits.
    let status = parsed.code.filter(|code| *code >= 100);
    let (Some(status), Some(version)) = (status, parsed.version) else {
        return Err(HeadError::Malformed);
    };
    let http10 = version == 0;
    let fields: &'h [Header<'b>] = parsed.headers;
    let mut facts = Facts::default();
    for field in fields {
        facts.note(field)?;
    }
    // RFC 9112, section 6.3, in its order.
    let bodiless = to_head_request || status < 200 || status == 204 || status == 304;
    let framing = match (facts.chunked, facts.length) {
        (true, Some(_)) => return Err(HeadError::Framing),
        (true, None) if http10 => return Err(HeadError::Framing),
        _ if bodiless => Framing::Length(0),
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilEnd,
    };
    Ok(Some(ResponseHead {
        status,
        reason: parsed.reason.unwrap_or(""),
        fields,
        framing,
        keep_alive: facts.keep_alive(http10) && framing != Framing::UntilEnd,
        length,
    }))
}

/// What the framing fields of a head say.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    connection_close: bool,
    connection_keep_alive: bool,
    connection_upgrade: bool,
}

impl Facts {
    fn note(&mut self, field: &Header<'_>) -> Result<(), HeadError> {
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let length = digits(field.value)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadError::Framing);
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(HeadError::Framing);
                }
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::Coding);
                }
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                for option in list(field.value) {
                    self.connection_close |= option.eq_ignore_ascii_case(b"close");
                    self.connection_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keep_alive(&self, http10: bool) -> bool {
        !self.connection_close && (!http10 || self.connection_keep_alive)
    }
}

/// The members of a comma-separated field value, trimmed, empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(|member| member.trim_ascii())
        .filter(|member| !member.is_empty())
}

fn digits(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Framing);
    }
    Ok(value
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn refuse_bare_lf(head: &[u8]) -> Result<(), HeadError> {
    // The parser skips empty lines before a request line; they must be whole lines too.
    match memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r') {
        true => Ok(()),
        false => Err(HeadError::BareLf),
    }
}

/// Splits a target into the authority of the absolute form and the origin form.
fn split_target<'b>(
    method: &str,
    target: &'b str,
) -> Result<(Option<&'b str>, &'b str), HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::Target);
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok((None, target))
        } else {
            Err(HeadError::Target)
        };
    }
    let scheme_end = target.find("://").ok_or(HeadError::Target)?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(HeadError::Target);
    }
    let rest = &target[scheme_end + 3..];
    let path_start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(path_start);
    if authority.is_empty() || !is_authority(authority) {
        return Err(HeadError::Host);
    }
    match origin.as_bytes().first() {
        Some(b'/') => Ok((Some(authority), origin)),
        None => Ok((Some(authority), "/")),
        Some(_) => Err(HeadError::Target),
    }
}

/// True for `host`, `host:port`, `[v6]`, `[v6]:port`; an empty value is allowed by RFC 9110 7.2.
pub fn is_authority(value: &str) -> bool {
    value.bytes().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'~' | b'%')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        fields: 8,
    };

    fn refused(text: &str) -> HeadError {
        let mut space = field_space();
        request(text.as_bytes(), LIMITS, &mut space).expect_err(text)
    }

    fn with_head(text: &str, check: impl FnOnce(RequestHead<'_, '_>)) {
        let mut space = field_space();
        check(
            request(text.as_bytes(), LIMITS, &mut space)
                .expect(text)
                .expect("complete"),
        );
    }

    #[test]
    fn a_plain_request_is_read_whole() {
        with_head(
            "GET /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nAccept: */*\r\n\r\nrest",
            |head| {
                assert_eq!(
                    (head.method, head.host, head.path, head.query),
                    ("GET", "x:1", "/a/b", Some("c=d"))
                );
                assert_eq!(head.framing, Framing::Length(0));
                assert!(head.keep_alive && !head.expects_continue && head.upgrade.is_none());
                assert_eq!(head.length, 49);
            },
        );
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let cases = [
            (
                "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                HeadError::Framing,
            ),
            (
                "Content-Length: 1\r\nContent-Length: 1\r\n",
                HeadError::Framing,
            ),
            ("Content-Length: 1, 1\r\n", HeadError::Framing),
            ("Content-Length: +1\r\n", HeadError::Framing),
            ("Content-Length: \r\n", HeadError::Framing),
            (
                "Content-Length: 99999999999999999999\r\n",
                HeadError::Framing,
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                HeadError::Framing,
            ),
            ("Transfer-Encoding: chunked, chunked\r\n", HeadError::Coding),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadError::Coding),
            ("Transfer-Encoding: xchunked\r\n", HeadError::Coding),
            ("Transfer-Encoding : chunked\r\n", HeadError::Malformed),
            ("A: b\r\n folded\r\n", HeadError::Malformed),
            ("A: b\n", HeadError::BareLf),
            ("Host: y\r\n", HeadError::Host),
        ];
        for (fields, expected) in cases {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            assert_eq!(refused(&text), expected, "{fields:?}");
        }
        assert_eq!(
            refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HeadError::Framing
        );
        assert_eq!(refused("GET / HTTP/1.1\n\n"), HeadError::BareLf);
        assert_eq!(
            refused("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            HeadError::BareLf
        );
    }

    #[test]
    fn hosts_and_targets_are_checked() {
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), HeadError::Host);
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            HeadError::Host
        );
        assert_eq!(
            refused("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
            HeadError::Host
        );
        assert_eq!(
            refused("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
            HeadError::Target
        );
        assert_eq!(
            refused("GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
            HeadError::Target
        );
        assert_eq!(
            refused("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
            HeadError::Target
        );
        assert_eq!(
            refused("GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
            HeadError::Version
        );
        with_head(
            "GET http://real/p?q HTTP/1.1\r\nHost: other\r\n\r\n",
            |head| {
                assert_eq!(
                    (head.host, head.path, head.query),
                    ("real", "/p", Some("q"))
                );
            },
        );
    }

    #[test]
    fn limits_hold() {
        let many: String = (0..9).map(|n| format!("A{n}: b\r\n")).collect();
        assert_eq!(
            refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")),
            HeadError::TooManyFields
        );
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1024));
        assert_eq!(refused(&long), HeadError::TooLarge);
        assert_eq!(
            refused(&format!("GET /{}", "a".repeat(1024))),
            HeadError::TooLarge
        );
    }

    #[test]
    fn a_head_in_pieces_is_waited_for() {
        let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 1..text.len() {
            let mut space = field_space();
            assert!(
                matches!(request(&text[..cut], LIMITS, &mut space), Ok(None)),
                "{cut}"
            );
            assert!(!may_be_complete(&text[..cut], 0), "{cut}");
            assert!(may_be_complete(text, cut), "{cut}");
        }
    }

    #[test]
    fn a_response_without_length_ends_with_its_connection() {
        let mut space = field_space();
        let head = response(b"HTTP/1.1 200 OK\r\n\r\n", LIMITS, false, &mut space)
            .expect("valid")
            .expect("complete");
        assert_eq!((head.framing, head.keep_alive), (Framing::UntilEnd, false));
        for (status, framing) in [
            (204, Framing::Length(0)),
            (304, Framing::Length(0)),
            (200, Framing::Length(5)),
        ] {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
            let mut space = field_space();
            let head = response(text.as_bytes(), LIMITS, false, &mut space)
                .expect("valid")
                .expect("complete");
            assert_eq!(head.framing, framing, "{status}");
        }
    }

    #[test]
    fn a_status_below_100_is_no_status() {
        for text in ["HTTP/1.1 099 Odd\r\n\r\n", "HTTP/1.1 000 Odd\r\n\r\n"] {
            let mut space = field_space();
            let refused = response(text.as_bytes(), LIMITS, false, &mut space).expect_err(text);
            assert_eq!(refused, HeadError::Malformed);
        }
    }
}
