//! Why a token is refused, and what its sender is told: the words of Tyk where it has some. It has others for
//! access tokens of OAuth providers.

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerProblem {
    /// It is no token, or no key that counts has signed it.
    Invalid,
    /// It is signed in a way the API does not accept.
    Method,
    /// The keys that could tell cannot be had.
    KeysAway,
    /// Its time is over.
    Expired,
    /// It says it was issued in times to come.
    Issued,
    /// Its time has not come.
    Early,
    /// Its issuer is none that is accepted.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// It is of nobody who is accepted.
    Subject,
    /// It has no id.
    Id,
    /// A claim is not what a rule demands.
    Claim,
    /// It does not say whose it is.
    NoIdentity,
    /// The claim that says whose it is, is empty.
    EmptyIdentity,
    /// It brings no policy with it.
    NoPolicy,
    /// It brings a policy that does not exist here.
    UnknownPolicy,
    /// None of its scopes stands for a policy.
    NoScope,
    /// Its policies cannot be applied.
    Unappliable,
    /// Whoever issued it says that it is not good, or not any more.
    Inactive,
    /// Whoever issued it cannot be asked.
    IssuerAway,
    /// It is bound to something that cannot be verified here.
    Binding,
    /// It is bound to a certificate that its sender did not present.
    Certificate,
}

impl BearerProblem {
    /// The flag by which rules for error answers name it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Expired => "TKE",
            Self::Issued
            | Self::Early
            | Self::Issuer
            | Self::Audience
            | Self::Subject
            | Self::Id
            | Self::Claim
            | Self::NoIdentity
            | Self::EmptyIdentity
            | Self::NoPolicy
            | Self::UnknownPolicy
            | Self::NoScope
            | Self::Unappliable => "TCV",
            Self::Invalid
            | Self::Method
            | Self::KeysAway
            | Self::Inactive
            | Self::IssuerAway
            | Self::Binding => "TKI",
            Self::Certificate => "CMM",
        }
    }

    /// Status and text of the answer.
    pub fn told(self) -> (u16, &'static str) {
        match self {
            Self::Invalid | Self::KeysAway | Self::Inactive | Self::IssuerAway => {
                (403, "Key not authorized")
            }
            Self::Method => (403, "Key not authorized: Unexpected signing method"),
            Self::Expired => (401, "Key not authorized: token has expired"),
            Self::Issued => (401, "Key not authorized: token used before issued"),
            Self::Early => (401, "Key not authorized: token is not valid yet"),
            Self::Issuer => (401, "Key not authorized: invalid issuer claim"),
            Self::Audience => (
                401,
                "Key not authorized: no matching audience found in token",
            ),
            Self::Subject => (401, "Key not authorized: invalid subject value"),
            Self::Id => (
                401,
                "Key not authorized: JWT ID (jti) claim is required but not present in token",
            ),
            Self::Claim => (
                401,
                "Key not authorized: a claim does not match any expected values",
            ),
            Self::NoIdentity => (403, "no suitable claims for user ID were found"),
            Self::EmptyIdentity => (403, "found an empty user ID in sub claim"),
            Self::NoPolicy => (403, "key not authorized: no matching policy found"),
            Self::UnknownPolicy => (403, "key not authorized: no matching policy"),
            Self::NoScope => (
                403,
                "key not authorized: no matching policy found in scope claim",
            ),
            Self::Unappliable => (403, "key not authorized: could not apply several policies"),
            Self::Binding => (
                401,
                "Key not authorized: token is bound to a key that cannot be verified here",
            ),
            Self::Certificate => (
                401,
                "Key not authorized: token is bound to another client certificate",
            ),
        }
    }

    /// Status and text of the answer about an access token of an OAuth provider.
    pub fn told_of_access(self) -> (u16, &'static str) {
        match self {
            Self::Invalid | Self::Method | Self::Inactive => (401, "access token is not valid"),
            problem => match problem.told() {
                // What is wrong with the token itself is said as of any token.
                told @ (401, _) => told,
                _ => (500, "error happened during the access token validation"),
            },
        }
    }
}

impl std::fmt::Display for BearerProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Invalid => "authentication failed, the token is not signed by a key of the API",
            Self::Method => "the token is signed by a method the API does not accept",
            Self::KeysAway => "the keys that tokens are verified with cannot be had",
            Self::Expired => "the token has expired",
            Self::Issued => "the token was issued in the future",
            Self::Early => "the token is not valid yet",
            Self::Issuer => "the token's issuer is not accepted",
            Self::Audience => "the token is meant for another audience",
            Self::Subject => "the token's subject is not accepted",
            Self::Id => "the token has no jti",
            Self::Claim => "a claim of the token is not what a rule demands",
            Self::NoIdentity => "the token does not say whose it is",
            Self::EmptyIdentity => "the claim that says whose token it is, is empty",
            Self::NoPolicy => "the token brings no policy with it",
            Self::UnknownPolicy => "the token brings a policy that does not exist here",
            Self::NoScope => "no scope of the token stands for a policy",
            Self::Unappliable => "the token's policies cannot be applied",
            Self::Inactive => "whoever issued the token says that it is not good, or not any more",
            Self::IssuerAway => "whoever issued the token cannot be asked whether it is good",
            Self::Binding => "the token is bound to a key by a method that is not known here (cnf)",
            Self::Certificate => {
                "the token is bound to a client certificate that was not presented (cnf.x5t#S256)"
            }
        })
    }
}
