//! Why a request is refused, and what its sender is told: the words of Tyk, byte for byte.
//!
//! Texts and statuses that have an id can be replaced by `override_messages`.

use std::{borrow::Cow, sync::Arc};

use portcullis_config::MessageOverride;
use portcullis_pki::Fingerprint;
use portcullis_policy::Denial;
use portcullis_store::token::masked;

use super::{jwt::BearerProblem, live::LiveSession};
use crate::proxy::answer::{Answer, ErrorStyle};

/// What is told where nothing more is to be said.
const DISALLOWED: &str = "Access to this API has been disallowed";

/// A refusal, and of whom.
pub struct Denied {
    /// Why.
    pub refused: Refused,
    /// Whose key it is, as far as that is known.
    pub session: Option<Arc<LiveSession>>,
    /// What was presented instead of a key that is known, as logs may show it.
    pub presented: Option<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No token came along.
    TokenMissing,
    /// Nobody has this token.
    TokenUnknown,
    /// No certificate came along where the session is a certificate's.
    CertificateMissing,
    /// The certificate is past its validity.
    CertificateExpired,
    /// The certificate is before its validity.
    CertificateEarly,
    /// No key belongs to this certificate.
    CertificateUnknown,
    /// The certificate that the key belongs to is not in the store.
    CertificateRemoved,
    /// The key is bound to other certificates.
    CertificateMismatch,
    /// No user name came along.
    UserMissing,
    /// User name and password cannot be read.
    UserMalformed(&'static str),
    /// User name or password is wrong.
    UserUnknown,
    /// The JSON Web Token is not good.
    Bearer(BearerProblem),
    /// No access token came along.
    AccessTokenMissing,
    /// The access token is not good.
    AccessToken(BearerProblem),
    /// The method that was to say who it is did not run.
    NoSession,
    /// The key is switched off.
    Inactive,
    /// The key's time is over.
    Expired,
    /// The key does not open this API.
    Api,
    /// The key does not open this path or method.
    Url,
    /// The key's rate is exceeded.
    Rate,
    /// The API's rate is exceeded.
    ApiRate,
    /// The key's quota is used up.
    Quota,
    /// Who it is or what is left cannot be known: the store is away.
    StoreAway,
}

impl Refused {
    /// The flag by which rules for error answers name it, where it has one.
    pub fn flag(self) -> Option<&'static str> {
        Some(match self {
            Self::TokenMissing | Self::AccessTokenMissing | Self::UserMissing => "AMF",
            Self::TokenUnknown | Self::UserUnknown | Self::CertificateRemoved | Self::Inactive => {
                "AKI"
            }
            Self::CertificateMissing => "CRQ",
            Self::CertificateUnknown | Self::CertificateMismatch => "CMM",
            Self::CertificateExpired | Self::CertificateEarly | Self::Expired => "TKE",
            Self::UserMalformed(_) => "IHD",
            Self::Bearer(problem) | Self::AccessToken(problem) => problem.flag(),
            Self::Rate | Self::ApiRate => "RLT",
            Self::Quota => "QEX",
            Self::NoSession | Self::Api | Self::Url | Self::StoreAway => return None,
        })
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TokenMissing | Self::AccessTokenMissing => "no token came along",
            Self::TokenUnknown => "authentication failed, nobody has this token",
            Self::CertificateMissing => "no client certificate came along",
            Self::CertificateExpired => "the client certificate has expired",
            Self::CertificateEarly => "the client certificate is not yet valid",
            Self::CertificateUnknown => "authentication failed, no key belongs to this certificate",
            Self::CertificateRemoved => {
                "the certificate that the key belongs to is not in the certificate store"
            }
            Self::CertificateMismatch => "the key is bound to other certificates",
            Self::UserMissing => "no user name came along",
            Self::UserMalformed(_) => "user name and password cannot be read",
            Self::UserUnknown => "authentication failed, user name or password is wrong",
            Self::Bearer(problem) | Self::AccessToken(problem) => return problem.fmt(f),
            Self::NoSession => "the method that gives the session is not switched on",
            Self::Inactive => "the key is switched off",
            Self::Expired => "the key has expired",
            Self::Api => "the key does not open this API",
            Self::Url => "the key does not open this path or method",
            Self::Rate => "the key's rate is exceeded",
            Self::ApiRate => "the API's rate is exceeded",
            Self::Quota => "the key's quota is used up",
            Self::StoreAway => "the store does not answer",
        })
    }
}

/// Messages in force.
#[derive(Debug, Clone)]
pub struct Messages {
    field_missing: Message,
    key_not_found: Message,
    cert_required: Message,
    cert_expired: Message,
    cert_not_found: Message,
    cert_mismatch: Message,
}

#[derive(Debug, Clone)]
struct Message {
    status: u16,
    text: Cow<'static, str>,
}

impl Message {
    fn told(&self) -> (u16, &str) {
        (self.status, &self.text)
    }
}

impl Denied {
    /// Somebody who is not known.
    pub fn stranger(refused: Refused) -> Self {
        Self {
            refused,
            session: None,
            presented: None,
        }
    }

    /// Somebody who presented this and is not known by it.
    pub fn presenting(refused: Refused, presented: &str) -> Self {
        Self {
            presented: Some(masked(presented)),
            ..Self::stranger(refused)
        }
    }

    /// Somebody with a certificate no key belongs to. Fingerprints are no secrets.
    pub fn with_certificate(refused: Refused, certificate: Fingerprint) -> Self {
        Self {
            presented: Some(format!("certificate {certificate}")),
            ..Self::stranger(refused)
        }
    }

    /// Somebody whose session is known.
    pub fn known(refused: Refused, session: Arc<LiveSession>) -> Self {
        Self {
            session: Some(session),
            ..Self::stranger(refused)
        }
    }

    /// Whose key it is, for logs.
    pub fn key(&self) -> &str {
        match (&self.session, &self.presented) {
            (Some(session), _) => &session.masked,
            (None, Some(presented)) => presented,
            (None, None) => "",
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Inactive => Self::Inactive,
            Denial::Expired => Self::Expired,
            Denial::Api => Self::Api,
        }
    }
}

impl Messages {
    /// The built-in ones, some of them replaced.
    pub fn of(overrides: &[(String, MessageOverride)]) -> Self {
        let message = |id: &str, status, text| {
            let mut message = Message {
                status,
                text: Cow::Borrowed(text),
            };
            for (_, own) in overrides.iter().filter(|(name, _)| name == id) {
                if !own.message.is_empty() {
                    message.text = Cow::Owned(own.message.clone());
                }
                message.status = own.code.unwrap_or(message.status);
            }
            message
        };
        Self {
            field_missing: message(
                "auth.auth_field_missing",
                401,
                "Authorization field missing",
            ),
            key_not_found: message("auth.key_not_found", 403, DISALLOWED),
            cert_required: message("auth.cert_required", 401, "Client certificate required"),
            cert_expired: message("auth.cert_expired", 403, "Certificate has expired"),
            cert_not_found: message("auth.cert_not_found", 403, DISALLOWED),
            cert_mismatch: message("auth.cert_mismatch", 401, DISALLOWED),
        }
    }

    /// Status and text for the sender of a refused request.
    pub fn told(&self, refused: Refused) -> (u16, &str) {
        match refused {
            Refused::TokenMissing => self.field_missing.told(),
            Refused::TokenUnknown => self.key_not_found.told(),
            Refused::CertificateMissing => self.cert_required.told(),
            Refused::CertificateExpired => self.cert_expired.told(),
            Refused::CertificateEarly => (403, "Certificate is not yet valid"),
            Refused::CertificateUnknown | Refused::CertificateMismatch => self.cert_mismatch.told(),
            Refused::CertificateRemoved => self.cert_not_found.told(),
            Refused::UserMissing => (401, "Authorization field missing"),
            Refused::UserMalformed(text) => (400, text),
            Refused::UserUnknown => (401, "User not authorised"),
            Refused::Bearer(problem) => problem.told(),
            Refused::AccessTokenMissing => (400, "authorization field missing"),
            Refused::AccessToken(problem) => problem.told_of_access(),
            Refused::NoSession => (
                400,
                "Session state is missing or unset! Please make sure that auth headers are \
                 properly applied",
            ),
            Refused::Inactive => (403, "Key is inactive, please renew"),
            Refused::Expired => (401, "Key has expired, please renew"),
            Refused::Api => (403, DISALLOWED),
            Refused::Url => (403, "Access to this resource has been disallowed"),
            Refused::Rate => (429, "Rate Limit Exceeded"),
            Refused::ApiRate => (429, "API Rate Limit Exceeded"),
            Refused::Quota => (403, "Quota exceeded"),
            Refused::StoreAway => (503, "Key store is not available"),
        }
    }

    /// What the sender of a refused request to the API of this name is told.
    pub fn answer(&self, refused: Refused, style: ErrorStyle, api_name: &str) -> Answer {
        let (status, text) = self.told(refused);
        let mut answer = style.error(status, text);
        if matches!(refused, Refused::UserMissing | Refused::UserUnknown) {
            answer.authenticate = Some(realm(api_name));
        }
        if status == 401 && matches!(refused, Refused::Bearer(_) | Refused::AccessToken(_)) {
            // RFC 6750, section 3.1.
            answer.authenticate = Some("Bearer error=\"invalid_token\"".into());
        }
        answer
    }
}

/// `WWW-Authenticate` for an API; what could end the quoted text or the line is left out.
fn realm(api_name: &str) -> Box<str> {
    let name: String = api_name
        .chars()
        .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\'))
        .collect();
    format!("Basic realm=\"{name}\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: ErrorStyle = ErrorStyle {
        xml_type: None,
        hide_generator: false,
    };

    #[test]
    fn messages_with_an_id_can_be_replaced_in_text_and_status() {
        let own = MessageOverride {
            message: "Who are you?".into(),
            code: None,
        };
        let other = MessageOverride {
            message: String::new(),
            code: Some(404),
        };
        let messages = Messages::of(&[
            ("auth.auth_field_missing".into(), own),
            ("auth.key_not_found".into(), other),
        ]);
        let answer = messages.answer(Refused::TokenMissing, STYLE, "");
        assert_eq!(
            (answer.status, &*answer.body),
            (401, "{\n    \"error\": \"Who are you?\"\n}")
        );
        let answer = messages.answer(Refused::TokenUnknown, STYLE, "");
        assert_eq!(answer.status, 404);
        assert!(
            answer
                .body
                .contains("Access to this API has been disallowed")
        );
        // Those about certificates have ids of their own.
        let status = |id: &str, refused| {
            let own = MessageOverride {
                message: String::new(),
                code: Some(418),
            };
            let messages = Messages::of(&[(id.into(), own)]);
            messages.answer(refused, STYLE, "").status
        };
        for (id, refused) in [
            ("auth.cert_required", Refused::CertificateMissing),
            ("auth.cert_expired", Refused::CertificateExpired),
            ("auth.cert_not_found", Refused::CertificateRemoved),
            ("auth.cert_mismatch", Refused::CertificateMismatch),
        ] {
            assert_eq!(status(id, refused), 418, "{id}");
            assert_ne!(status("auth.key_not_found", refused), 418, "{id}");
        }
        // The same text for a key without the right is another message.
        assert_eq!(messages.answer(Refused::Api, STYLE, "").status, 403);
    }

    #[test]
    fn only_a_missing_or_wrong_user_is_asked_for_a_password_and_a_name_cannot_break_the_header() {
        let messages = Messages::of(&[]);
        let answer = messages.answer(Refused::UserUnknown, STYLE, "a \"b\"\r\nX: y");
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.authenticate.as_deref(),
            Some("Basic realm=\"a bX: y\"")
        );
        let answer = messages.answer(Refused::TokenMissing, STYLE, "a");
        assert_eq!(answer.authenticate, None);
    }
}
