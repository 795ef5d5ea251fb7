//! The certificate a client shows when it is asked for one.
//!
//! Invariants:
//! - Nothing is shown to a server that does not ask.
//! - Of several, one that no authority which the server announced has issued is never shown, nor one that
//!   is out of its validity.

#![expect(
    unsafe_code,
    reason = "which authorities a server accepts is told by a callback"
)]

use std::{
    ffi::{c_int, c_void},
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    ssl::{Ssl, SslContextBuilder, SslRef},
    stack::StackRef,
    x509::{X509, X509Name},
};
use openssl_sys as ffi;
use portcullis_pki::CertifiedKey;

use crate::sys;

/// Who a client is towards servers that ask.
#[derive(Clone, Debug, Default)]
pub enum Identity {
    /// Nobody: an empty certificate.
    #[default]
    None,
    /// This one, whatever authorities the server announces.
    One(Arc<CertifiedKey>),
    /// The first that is valid at the time and fits the server: one of its chain's issuers is among the
    /// authorities the server announced, or it announced none. When none fits, an empty certificate.
    FirstFitting(Arc<[Arc<CertifiedKey>]>),
}

impl Identity {
    /// Whether there is nobody to be.
    pub fn is_none(&self) -> bool {
        match self {
            Identity::None => true,
            Identity::One(_) => false,
            Identity::FirstFitting(pairs) => pairs.is_empty(),
        }
    }

    /// Prepares what does not depend on the server.
    pub(crate) fn prepare(&self, context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let Identity::One(pair) = self else {
            return Ok(());
        };
        let key = pair.key()?;
        sys::set_chain_and_key(context, pair.chain(), &key)
    }

    /// Prepares a connection to answer once the server has asked.
    pub(crate) fn choose_on(&self, ssl: &mut SslRef) -> Result<(), ErrorStack> {
        if self.is_none() {
            return Ok(());
        }
        let wallet = Wallet {
            identity: self.clone(),
            shown: OnceLock::new(),
        };
        ssl.set_ex_data(slot()?, wallet);
        // SAFETY: a valid connection, borrowed mutably, and a static function without argument.
        unsafe { ffi::SSL_set_cert_cb(ssl.as_ptr(), Some(asked), std::ptr::null_mut()) };
        Ok(())
    }
}

/// What a connection may show, and what it has shown.
struct Wallet {
    identity: Identity,
    /// In DER.
    shown: OnceLock<Arc<[u8]>>,
}

/// The certificate that was shown on a connection, in DER: there was one, and the server has asked.
pub(crate) fn shown(ssl: &SslRef) -> Option<&Arc<[u8]>> {
    ssl.ex_data(slot().ok()?)?.shown.get()
}

/// Where a connection keeps its wallet.
fn slot() -> Result<Index<Ssl, Wallet>, ErrorStack> {
    static SLOT: OnceLock<Index<Ssl, Wallet>> = OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = Ssl::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

/// The server asks for a certificate. Zero ends the handshake.
unsafe extern "C" fn asked(ssl: *mut ffi::SSL, _arg: *mut c_void) -> c_int {
    // SAFETY: the library calls with a connection in its handshake that nobody else uses.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl) };
    let Ok(slot) = slot() else { return 1 };
    let Some(identity) = ssl.ex_data(slot).map(|wallet| wallet.identity.clone()) else {
        return 1;
    };
    let pair = match &identity {
        Identity::None => return 1,
        // The context has it.
        Identity::One(pair) => pair,
        Identity::FirstFitting(candidates) => {
            let announced = announced(ssl);
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs().cast_signed());
            let Some(pair) = first_fitting(candidates, &announced, now) else {
                return 1;
            };
            let ready = pair
                .key()
                .and_then(|key| sys::show_chain_and_key(ssl, pair.chain(), &key));
            if ready.is_err() {
                return 0;
            }
            pair
        }
    };
    if let (Some(wallet), Some(leaf)) = (ssl.ex_data(slot), pair.chain().first()) {
        // Set already where the server asks again.
        let _ = wallet.shown.set(leaf.clone());
    }
    1
}

/// The names of the authorities that the server announced, in DER.
fn announced(ssl: &SslRef) -> Vec<Vec<u8>> {
    // SAFETY: a valid connection; the list, if any, lives as long as the handshake.
    let list = unsafe { ffi::SSL_get_client_CA_list(ssl.as_ptr()) };
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, and a stack of names.
    let list = unsafe { StackRef::<X509Name>::from_ptr(list.cast()) };
    list.iter().filter_map(|name| name.to_der().ok()).collect()
}

fn first_fitting<'c>(
    candidates: &'c [Arc<CertifiedKey>],
    announced: &[Vec<u8>],
    now: i64,
) -> Option<&'c Arc<CertifiedKey>> {
    candidates.iter().find(|pair| {
        let facts = pair.facts();
        let valid = facts.not_before <= now && now <= facts.not_after;
        valid && (announced.is_empty() || pair.chain().iter().any(|der| issued_by(der, announced)))
    })
}

fn issued_by(der: &[u8], announced: &[Vec<u8>]) -> bool {
    let issuer = X509::from_der(der).and_then(|certificate| certificate.issuer_name().to_der());
    issuer.is_ok_and(|issuer| announced.contains(&issuer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_pki::{
        load,
        make::{Algorithm, Pair, make_ca, make_client},
    };

    fn pair(ca: &Pair, name: &str, days: u32) -> Arc<CertifiedKey> {
        let made = make_client(ca, name, Algorithm::P256, days).unwrap();
        let text = made.certificate_pem() + &made.key_pem();
        Arc::new(load(&text, None).unwrap().pair)
    }

    #[test]
    fn the_first_pair_is_chosen_that_is_valid_and_issued_by_one_of_the_announced() {
        let ca = |name| make_ca(name, Algorithm::P256, 60).unwrap();
        let (a, b) = (ca("A"), ca("B"));
        let pairs = [
            pair(&a, "short of a", 1),
            pair(&a, "of a", 30),
            pair(&b, "of b", 30),
        ];
        let name = |ca: &Pair| ca.certificate.subject_name().to_der().unwrap();
        let now = pairs[0].facts().not_after;
        let chosen = |announced: &[Vec<u8>], now| {
            let found = first_fitting(&pairs, announced, now);
            found.map(|pair| pair.facts().subject_cn.clone())
        };
        let all = [name(&a), name(&b)];
        assert_eq!(chosen(&[], now).unwrap(), "short of a");
        assert_eq!(chosen(&all, now + 1).unwrap(), "of a");
        assert_eq!(chosen(&all[1..], now).unwrap(), "of b");
        assert_eq!(chosen(&[name(&ca("C"))], now), None);
        assert_eq!(chosen(&[], now + 60 * 86_400), None);
    }
}
