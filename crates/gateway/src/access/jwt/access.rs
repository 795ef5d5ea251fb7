//! Access tokens of OAuth providers (`external_oauth`): good by a signature of the provider, or because the
//! provider says so when it is asked. Such a token opens the API whose provider vouches for it.
//!
//! Invariant: times in an answer, and the certificate it names, count as those of a signed token do.

use std::{sync::Arc, time::Duration};

use portcullis_apidef::{ClockRules, ExternalOauth, SignedTokens, TokenJudge, policies::PolicySet};

use super::{
    Verifier,
    claims::{Claims, Validity},
    grant::{self, Grant, Opens},
    judge::Unfit,
    memory::Verified,
    ties::Tie,
};
use crate::access::{Access, window::Millis};

/// What an issuer says of times is exact, and when it issued a token does not matter to us.
const EXACT: ClockRules = ClockRules {
    expires: Some(Duration::ZERO),
    issued: None,
    not_before: Some(Duration::ZERO),
};

/// What is known of a token that is good.
struct Good {
    claims: Arc<Claims>,
    validity: Validity,
    /// The key set or certificate that vouched for it.
    tie: Option<Tie>,
    /// When its issuer has to be asked again.
    ask_at: Option<Millis>,
}

impl Access {
    /// An access token that is good, and the session it stands for.
    pub(super) async fn granted(
        &self,
        verifier: &Verifier,
        oauth: &ExternalOauth,
        token: &str,
        policies: &Arc<PolicySet>,
    ) -> Result<Verified, Unfit> {
        let at = self.clock.now();
        let good = match &oauth.judged {
            TokenJudge::Signature(signed) => self.signed(verifier, signed, token).await?,
            TokenJudge::Issuer(issuer) => {
                let answer = self
                    .tokens
                    .issuers
                    .ask(verifier, issuer, token, &self.clock)
                    .await?;
                Good {
                    validity: answer.claims.validity(&EXACT)?,
                    claims: answer.claims,
                    tie: None,
                    ask_at: Some(answer.until),
                }
            }
        };
        let Good {
            claims,
            validity,
            tie,
            ask_at,
        } = good;
        validity.at(crate::clients::unix_now())?;
        let certificate = claims.certificate()?;
        let identity = grant::named(oauth.identity.iter(), &claims)?.to_owned();
        let grant = Grant {
            org: verifier.org.clone(),
            identity,
            opens: Opens::Api(verifier.api.clone()),
            until: validity.until,
            client: String::new(),
        };
        let session = self.session_of(Arc::new(grant), policies).await?;
        self.tokens.ties.tie(&session, tie);
        Ok(Verified {
            session,
            at,
            validity,
            certificate,
            ask_at,
        })
    }

    async fn signed(
        &self,
        verifier: &Verifier,
        signed: &SignedTokens,
        token: &str,
    ) -> Result<Good, Unfit> {
        let jws = verifier.parsed(token, signed.method)?;
        let (claims, tie) = self.by_shared_key(verifier, &jws).await?;
        Ok(Good {
            validity: claims.validity(&signed.clock)?,
            claims: Arc::new(claims),
            tie,
            ask_at: None,
        })
    }
}
