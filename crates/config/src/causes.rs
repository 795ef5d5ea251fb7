//! Why a request over HTTP failed, in a line.
//!
//! Invariants: the URL is left out, whose query may say more than it should; so is where in its sources a
//! library noticed a failure.

use std::error::Error;

/// What led to an error, outermost first, each once; the error itself left out.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = plain(&error.to_string());
        // Causes are often quoted by what they cause.
        said.retain(|said| !text.contains(said.as_str()));
        if !said.iter().any(|said| said.contains(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    match said.is_empty() {
        true => "no reason is given".to_owned(),
        false => said.join(": "),
    }
}

/// A text with the TLS library's `error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:MORE` reduced to the
/// reason and what is more.
fn plain(text: &str) -> String {
    let words = || {
        let (before, entry) = text.split_once("error:")?;
        let mut parts = entry.splitn(7, ':');
        let code = parts.next()?;
        let (_library, _function) = (parts.next()?, parts.next()?);
        let reason = parts.next()?.to_ascii_lowercase().replace('_', " ");
        let (_file, line) = (parts.next()?, parts.next()?);
        let more = parts.next().unwrap_or_default().trim();
        let is_entry = code.bytes().all(|byte| byte.is_ascii_hexdigit())
            && line.bytes().all(|byte| byte.is_ascii_digit());
        let gap = if more.is_empty() { "" } else { " " };
        is_entry.then(|| format!("{before}{reason}{gap}{more}"))
    };
    words().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Failure>>,
    }

    /// An error with these causes.
    fn failure(texts: &[&'static str]) -> Failure {
        let (first, rest) = texts.split_first().expect("a text");
        Failure {
            text: first,
            source: (!rest.is_empty()).then(|| Box::new(failure(rest))),
        }
    }

    #[test]
    fn each_cause_is_said_once_and_the_error_itself_is_not() {
        assert_eq!(causes(&failure(&["the url"])), "no reason is given");
        assert_eq!(causes(&failure(&["the url", "a: b", "b", "c"])), "a: b: c");
        assert_eq!(causes(&failure(&["the url", "b", "a: b"])), "a: b");
    }

    #[test]
    fn of_a_library_s_entry_the_reason_stays() {
        for (entry, said) in [
            (
                "error:1000007D:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:/x/y.cc:290: (hostname mismatch)",
                "certificate verify failed (hostname mismatch)",
            ),
            (
                "error:1000042E:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:y.cc:1:",
                "tlsv1 alert protocol version",
            ),
            ("tcp connect error: refused", "tcp connect error: refused"),
            ("error:nothing", "error:nothing"),
        ] {
            assert_eq!(plain(entry), said);
        }
    }
}
