//! What a Redis or the way to it says, in words that tell what to do.
//!
//! Invariant: neither passwords nor values are in these texts; names of entries are masked by
//! whoever made them.

use fred::error::{Error, ErrorKind};

/// What to do about an error that a Redis answers with; empty where its own words say all.
fn advice(words: &str) -> &'static str {
    match words.split(' ').next().unwrap_or_default() {
        "NOAUTH" => "set storage.password (and storage.username)",
        "WRONGPASS" => "storage.username or storage.password is wrong",
        "NOPERM" => "the user needs more rights: ACL SETUSER on the server",
        "READONLY" => {
            "this server is a replica; name the primary, or use Sentinel (storage.master_name)"
        }
        "OOM" => "the server is full: raise maxmemory, or set a maxmemory-policy that evicts",
        "LOADING" => "the server reads its data and will answer when it is done",
        "MISCONF" => "the server cannot save to its disk; its own log says why",
        "CLUSTERDOWN" => {
            "the cluster lacks a primary for some slots: CLUSTER INFO on a node says which"
        }
        "MASTERDOWN" => "the replica has lost its primary",
        "MOVED" | "ASK" | "CROSSSLOT" => "this is a cluster: set storage.enable_cluster",
        "BUSY" => "a script keeps the server busy: SCRIPT KILL ends it",
        "DENIED" => "the server is in protected mode: give it a password, or bind it to an address",
        _ if words.contains("without any password configured") => {
            "the server has no password: unset storage.password"
        }
        _ if words.contains("cluster support disabled") => {
            "this server is no cluster: unset storage.enable_cluster"
        }
        _ if words.contains("DB index is out of range") => {
            "storage.database is too high for this server"
        }
        _ => "",
    }
}

/// The words of a Redis with what to do about them.
pub(super) fn of_answer(words: &str) -> String {
    // The commands it complains about may carry what must not be told.
    let words = words
        .split(", with args beginning with")
        .next()
        .unwrap_or(words);
    match advice(words) {
        "" => words.to_owned(),
        advice => format!("{words} ({advice})"),
    }
}

/// Whether it is an answer of a Redis: its code in capitals comes first.
pub(super) fn is_answer(error: &Error) -> bool {
    let code = error.details().split(' ').next().unwrap_or_default();
    !matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Tls | ErrorKind::Timeout
    ) && code.len() >= 3
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Why a TLS connection failed, from the library's words.
pub(super) fn of_tls(words: &str) -> String {
    let flat: String = words
        .to_lowercase()
        .chars()
        .map(|letter| if letter == '_' { ' ' } else { letter })
        .collect();
    let has = |part: &str| flat.contains(part);
    let meaning = if has("hostname mismatch") || has("ip address mismatch") {
        "its certificate is for another name than the address that was dialled"
    } else if has("certificate has expired") {
        "its certificate has expired"
    } else if has("certificate is not yet valid") {
        "its certificate is not valid yet; is the clock right?"
    } else if has("certificate verify failed") {
        "its certificate was issued by nobody who is trusted; storage.ca_file names the authorities"
    } else if has("alert certificate expired") {
        "it refuses the client certificate, which has expired; renew storage.cert_file"
    } else if has("alert unknown ca") || has("alert bad certificate") {
        "it refuses the client certificate, which none of its authorities issued; see storage.cert_file \
         and the server's tls-ca-cert-file"
    } else if has("alert certificate required") || has("alert handshake failure") {
        "it asks for a client certificate (or has no cipher in common); set storage.cert_file and \
         storage.key_file"
    } else if has("alert protocol version")
        || has("unsupported protocol")
        || has("no protocols available")
    {
        "there is no TLS version that both sides allow; see storage.tls_min_version, \
         storage.tls_max_version and the server's tls-protocols"
    } else if has("wrong version number") || has("unexpected eof") || has("connection reset") {
        "the port does not speak TLS; unset storage.use_ssl, or name the server's tls-port"
    } else {
        ""
    };
    match meaning {
        "" => format!("TLS failed: {words}"),
        meaning => format!("TLS failed: {meaning} ({})", short(words)),
    }
}

/// The part of the library's words that names the failure.
fn short(words: &str) -> &str {
    let end = words
        .find(".c:")
        .map_or(words.len(), |end| words[..end].rfind(':').unwrap_or(end));
    &words[..end]
}

/// What `fred` met on the way.
pub(super) fn of_way(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Tls => of_tls(error.details()),
        _ if is_answer(error) => of_answer(error.details()),
        ErrorKind::Canceled => "the connection was lost".to_owned(),
        _ => error.details().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_with_what_to_do() {
        let said = of_answer("WRONGPASS invalid username-password pair or user is disabled.");
        assert!(said.starts_with("WRONGPASS invalid"), "{said}");
        assert!(
            said.ends_with("(storage.username or storage.password is wrong)"),
            "{said}"
        );
        assert_eq!(of_answer("ERR something new"), "ERR something new");
    }

    #[test]
    fn arguments_of_a_command_are_not_repeated() {
        let said = of_answer("ERR unknown command 'FOO', with args beginning with: 'secret'");
        assert_eq!(said, "ERR unknown command 'FOO'");
    }

    #[test]
    fn failures_of_tls_are_told_apart() {
        for (words, meaning) in [
            (
                "error:1416F086:SSL routines:x:CERTIFICATE_VERIFY_FAILED:a.c:1: (unable to get local issuer certificate)",
                "nobody who is trusted",
            ),
            (
                "error:x:SSL routines:x:CERTIFICATE_VERIFY_FAILED:a.c:1: (hostname mismatch)",
                "another name",
            ),
            (
                "error:x:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:a.c:1:",
                "no TLS version",
            ),
            (
                "error:x:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:a.c:1:",
                "has expired; renew",
            ),
            (
                "error:x:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:a.c:1:",
                "none of its authorities",
            ),
            (
                "error:x:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:a.c:1:",
                "does not speak TLS",
            ),
        ] {
            let said = of_tls(words);
            assert!(said.contains(meaning), "{said}");
        }
    }

    #[test]
    fn an_answer_is_told_from_a_failure_of_the_way() {
        assert!(is_answer(&Error::new(
            ErrorKind::Unknown,
            "OOM command not allowed"
        )));
        assert!(is_answer(&Error::new(
            ErrorKind::Auth,
            "NOAUTH Authentication required."
        )));
        assert!(!is_answer(&Error::new(
            ErrorKind::Canceled,
            "Connection closed unexpectedly."
        )));
        assert!(!is_answer(&Error::new(ErrorKind::IO, "EOF")));
    }
}
