//! Whether the key of a client's certificate opens an API: Certificate Auth (inbound sheet 6).
//!
//! Invariant: what the store does not say is never told as a pass.

use std::sync::Arc;

use portcullis_apidef::policies::apply;
use portcullis_pki::PresentedChain;
use portcullis_policy::Access;
use portcullis_store::StoreError;

use super::{Case, Outcome};
use crate::{
    access::{
        certificate::Leaf,
        refusal::{Messages, Refused},
    },
    snapshot::{Port, RunningApi},
};

/// Why a client with a certificate is not known to pass.
enum Stopped {
    /// It is refused.
    Refused(Refused),
    /// Its key wants policies that cannot be applied.
    Unusable(String),
    /// The store did not say.
    Unknown(StoreError),
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Unknown(error)
    }
}

impl Case<'_> {
    /// The key of the client's certificate, for an API that has no list.
    pub(super) fn key(&mut self, port: &Port, api: &RunningApi) {
        let decided = match (port.tls.is_some(), &self.question.chain) {
            (true, Some(chain)) => self.opens(api, chain),
            _ => Err(Refused::CertificateMissing.into()),
        };
        let refused = match decided {
            Ok(key) => {
                let says = format!("its key ({key}) opens API {}", api.api.id);
                return self.diagnosis.step("session", Outcome::Passes, says);
            }
            Err(Stopped::Unknown(error)) => {
                let says = format!("the key of the certificate decides; {error}");
                return self.diagnosis.step("session", Outcome::Unknown, says);
            }
            Err(Stopped::Unusable(why)) => {
                let says = format!("its key cannot be used: {why}");
                self.diagnosis.step("session", Outcome::Refused, says);
                let change = "Put the policy back, or take it out of the key.".to_owned();
                return self.diagnosis.advise(change);
            }
            Err(Stopped::Refused(refused)) => refused,
        };
        let messages = Messages::of(&self.config.control.override_messages);
        let (status, text) = messages.told(refused);
        let says = format!("refused with {status} `{text}`: {refused}");
        self.diagnosis.step("session", Outcome::Refused, says);
        self.diagnosis.advise(self.change(refused, api));
    }

    /// The masked name of the key that lets it pass.
    fn opens(&self, api: &RunningApi, chain: &Arc<PresentedChain>) -> Result<String, Stopped> {
        let leaf = Leaf::of(chain);
        leaf.in_time(self.question.at)?;
        let stores = self.aside.stores().map_err(Clone::clone)?;
        let org = &api.api.org_id;
        let id = format!("{org}{}", leaf.fingerprint);
        let found = self
            .aside
            .wait(stores.sessions().find_certificate(org, &id))?
            .ok_or(Refused::CertificateUnknown)?;
        let session = apply(&found.session, &self.snapshot.policies)
            .map_err(|error| Stopped::Unusable(error.to_string()))?;
        if !self.aside.wait(stores.certificates().contains(&id))? {
            return Err(Refused::CertificateRemoved.into());
        }
        Access::of(&session, self.config.identity.allow_master_keys)
            .right(&api.api.id, org, self.question.at)
            .map_err(Refused::from)?;
        Ok(portcullis_store::token::masked(&found.token))
    }

    fn change(&self, refused: Refused, api: &RunningApi) -> String {
        let id = &api.api.id;
        match refused {
            Refused::CertificateMissing => {
                "Present a client certificate (--cert), by TLS.".to_owned()
            }
            Refused::CertificateExpired | Refused::CertificateEarly => {
                "Give the client a certificate that is valid now, and make a key with it."
                    .to_owned()
            }
            Refused::CertificateUnknown => format!(
                "Upload the certificate and make a key with it: POST /tyk/keys with `certificate` set to its \
                 id and `access_rights` for API {id}."
            ),
            Refused::CertificateRemoved => {
                "Upload the certificate again (`portcullis cert add`): its key is still there."
                    .to_owned()
            }
            Refused::Inactive => "Switch the key on (`is_inactive`).".to_owned(),
            Refused::Expired => "Renew the key (`expires`).".to_owned(),
            _ => format!("Give the key `access_rights` for API {id}, or a policy that has them."),
        }
    }
}
