//! The address of a proxy, as somebody writes it: `http://user:password@proxy.example:3128`.
//!
//! Invariants: neither an error nor a `Debug` shows what may be a password; an address that leads nowhere is
//! not one.

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::secret::Secret;

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    /// TLS is spoken to the proxy itself.
    pub secure: bool,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `user:password`, percent-decoded.
    pub login: Option<Secret>,
}

/// Why a text is no address of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyAddressError {
    /// It cannot be read as one.
    #[error("it is no URL with a host")]
    Unreadable,
    /// It has another scheme than the two, or none.
    #[error("it does not begin with http:// or https://")]
    Scheme,
}

impl ProxyAddress {
    /// What a proxy has to be written as.
    pub const ACCEPTED: &str = "`http://HOST:PORT` or `https://HOST:PORT`, with `USER:PASSWORD@` before the host where the proxy asks for them";

    /// Reads an address.
    ///
    /// # Errors
    /// [`ProxyAddressError`].
    pub fn parse(text: &str) -> Result<Self, ProxyAddressError> {
        let url = Url::parse(text.trim()).map_err(|_| ProxyAddressError::Unreadable)?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(ProxyAddressError::Scheme),
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(ProxyAddressError::Unreadable)?;
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let login = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let (user, password) = (url.username(), url.password().unwrap_or_default());
            Secret::new(format!("{}:{}", decoded(user), decoded(password)))
        });
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url
                .port_or_known_default()
                .ok_or(ProxyAddressError::Unreadable)?,
            login,
        })
    }

    /// Reads an address as environment variables have it: `http://` may be left out.
    ///
    /// # Errors
    /// [`ProxyAddressError`].
    pub fn parse_variable(text: &str) -> Result<Self, ProxyAddressError> {
        match text.contains("://") {
            true => Self::parse(text),
            false => Self::parse(&format!("http://{}", text.trim())),
        }
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_what_the_proxy_asks_for() {
        let proxy = ProxyAddress::parse("http://us%40er:pa%3Ass@Proxy.Test:3128").unwrap();
        assert_eq!(
            (proxy.place().as_str(), proxy.secure),
            ("proxy.test:3128", false)
        );
        assert_eq!(proxy.login.as_ref().unwrap().reveal(), "us@er:pa:ss");
        assert!(!format!("{proxy:?}").contains("pa:ss"));
        let proxy = ProxyAddress::parse("https://[::1]").unwrap();
        assert_eq!((proxy.place().as_str(), proxy.secure), ("[::1]:443", true));
        assert_eq!(proxy.login, None);
    }

    #[test]
    fn what_leads_nowhere_is_refused_without_being_shown() {
        for (text, error) in [
            ("://invalid-proxy", ProxyAddressError::Unreadable),
            ("10.0.0.1:3128", ProxyAddressError::Unreadable),
            ("http://", ProxyAddressError::Unreadable),
            ("my-proxy:8080", ProxyAddressError::Scheme),
            ("socks5://proxy:1080", ProxyAddressError::Scheme),
        ] {
            assert_eq!(ProxyAddress::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            ProxyAddress::parse_variable("10.0.0.1:3128").unwrap().port,
            3128
        );
        assert!(ProxyAddress::parse_variable("http://").is_err());
    }
}
