//! Keys that seal session tickets.
//!
//! A ticket carries a session to the client and back, sealed so that only we can read it. All
//! listeners, certificates and policies share one set of keys; that a ticket is used only
//! under its own policy is the business of the session-id context inside it.
//!
//! Form of a ticket: 16 bytes name of the key, 12 bytes random nonce, AES-256-GCM with the name as
//! associated data of: 8 bytes time (Unix seconds, network order) after which the client's certificates
//! no longer vouch for it, and the session.
//!
//! Invariants:
//! - Whoever has a key can read what its tickets protect, so keys are replaced every [`ROTATION`]; the
//!   library wipes a key when it is freed. Secrets that gateways share are kept by whoever calls
//!   [`TicketKeys::install`].
//! - A ticket whose client's certificates have run out does not open; a full handshake follows.
//! - Reading the keys never waits: a handshake sees the old set or the new one.

#![expect(
    unsafe_code,
    reason = "AES-GCM of the TLS library and its ticket callbacks are C functions"
)]

use std::{
    ffi::c_int,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use foreign_types::ForeignTypeRef;
use openssl::{
    error::ErrorStack,
    ex_data::Index,
    rand::rand_bytes,
    sha::Sha256,
    ssl::{SslContext, SslContextBuilder, SslRef},
};
use openssl_sys as ffi;

use crate::server::clients;

/// How long a key seals new tickets, unless said otherwise.
pub const ROTATION: Duration = Duration::from_secs(12 * 3600);

/// How many keys open tickets: the current one and its predecessors.
const KEPT: usize = 3;

/// The longest a ticket may be used (RFC 8446, section 4.6.1).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

const NAME: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
/// The time in front of a session.
const UNTIL: usize = 8;

/// The keys of one gateway. Shared by every [`ServerConfig`](crate::server::ServerConfig), so
/// that tickets outlive a reload.
pub struct TicketKeys {
    /// Newest first, never empty.
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
    /// How long a key seals new tickets; `None` when there are to be no tickets at all.
    rotation: Option<Duration>,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys")
            .field("keys", &self.keys.load().len())
            .finish()
    }
}

impl TicketKeys {
    /// A first key, made at `now`, good for [`ROTATION`].
    pub fn new(now: SystemTime) -> Result<TicketKeys, ErrorStack> {
        Self::rotated(now, Some(ROTATION))
    }

    /// A first key, made at `now`, good for `rotation`. `None` switches resumption off.
    pub fn rotated(now: SystemTime, rotation: Option<Duration>) -> Result<TicketKeys, ErrorStack> {
        let first = Arc::new(TicketKey::generate(now)?);
        Ok(TicketKeys {
            keys: ArcSwap::from_pointee(vec![first]),
            rotation,
        })
    }

    /// How long a ticket may be used, in seconds: as long as its key is certainly kept. `None` when
    /// there are no tickets.
    pub(crate) fn lifetime(&self) -> Option<u32> {
        let kept = self.rotation?.saturating_mul(KEPT as u32 - 1).min(LONGEST);
        u32::try_from(kept.as_secs()).ok()
    }

    /// Makes a new key if the current one has served its time at `now`, and says so.
    /// Meant to be called by one timer, as often as it likes.
    pub fn rotate(&self, now: SystemTime) -> Result<bool, ErrorStack> {
        let Some(rotation) = self.rotation else {
            return Ok(false);
        };
        let keys = self.keys.load_full();
        let due = keys.first().is_none_or(|key| {
            now.duration_since(key.made)
                .is_ok_and(|age| age >= rotation)
        });
        if due {
            let mut next = vec![Arc::new(TicketKey::generate(now)?)];
            next.extend(keys.iter().take(KEPT - 1).cloned());
            self.keys.store(Arc::new(next));
        }
        Ok(due)
    }

    /// How long a key seals new tickets; `None` when there are none.
    pub fn rotation(&self) -> Option<Duration> {
        self.rotation
    }

    /// How many keys open tickets, the sealing one included.
    pub const fn kept() -> usize {
        KEPT
    }

    /// Takes keys made of these secrets, newest first, the first of which seals from `made` on. Every
    /// gateway that has the same secrets opens what any of them sealed. Nothing changes when they are in
    /// use already or there are none.
    ///
    /// # Errors
    /// When the library cannot take a key.
    pub fn install(&self, secrets: &[[u8; 32]], made: SystemTime) -> Result<(), ErrorStack> {
        let held = self.keys.load_full();
        let names = secrets.iter().map(name_of);
        if secrets.is_empty() || names.eq(held.iter().map(|key| key.name)) {
            return Ok(());
        }
        let mut keys = Vec::with_capacity(KEPT);
        for secret in secrets.iter().take(KEPT) {
            let name = name_of(secret);
            let known = held.iter().find(|key| key.name == name).cloned();
            keys.push(match known {
                Some(known) => known,
                None => Arc::new(TicketKey {
                    name,
                    made,
                    aead: Aead::of(labelled(b"key", secret), name)?,
                }),
            });
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Seals `session` into `out`; the number of bytes written.
    fn seal(&self, out: &mut [u8], session: &[u8]) -> Option<usize> {
        let keys = self.keys.load();
        let key = keys.first()?;
        let (head, body) = out.split_at_mut_checked(NAME + NONCE)?;
        let (name, nonce) = head.split_at_mut(NAME);
        name.copy_from_slice(&key.name);
        rand_bytes(nonce).ok()?;
        Some(NAME + NONCE + key.aead.seal(body, nonce, session)?)
    }

    /// Opens `ticket` into `out`; `None` when it is not ours or no longer.
    fn open(&self, out: &mut [u8], ticket: &[u8]) -> Option<usize> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == name)?;
        key.aead.open(out, nonce, sealed, &key.name)
    }
}

struct TicketKey {
    name: [u8; NAME],
    made: SystemTime,
    aead: Aead,
}

impl TicketKey {
    fn generate(made: SystemTime) -> Result<TicketKey, ErrorStack> {
        let mut name = [0; NAME];
        rand_bytes(&mut name)?;
        Ok(TicketKey {
            name,
            made,
            aead: Aead::generate(name)?,
        })
    }
}

/// The name of the key made of a secret; it tells nothing about it.
fn name_of(secret: &[u8; 32]) -> [u8; NAME] {
    let mut name = [0; NAME];
    name.copy_from_slice(&labelled(b"name", secret)[..NAME]);
    name
}

fn labelled(label: &[u8], secret: &[u8; 32]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(b"portcullis ticket ");
    digest.update(label);
    digest.update(secret);
    digest.finish()
}

/// AES-256-GCM with a key that is shown to nobody.
struct Aead {
    context: *mut ffi::EVP_AEAD_CTX,
    name: [u8; NAME],
}

// SAFETY: the context is not changed after it was made; the library allows sealing and opening
// with one context from several threads at once.
unsafe impl Send for Aead {}
// SAFETY: as above.
unsafe impl Sync for Aead {}

impl Aead {
    fn generate(name: [u8; NAME]) -> Result<Aead, ErrorStack> {
        let mut key = [0u8; 32];
        rand_bytes(&mut key)?;
        Aead::of(key, name)
    }

    fn of(mut key: [u8; 32], name: [u8; NAME]) -> Result<Aead, ErrorStack> {
        // SAFETY: pointer and length are one array, which the context copies.
        let context = unsafe {
            ffi::EVP_AEAD_CTX_new(ffi::EVP_aead_aes_256_gcm(), key.as_ptr(), key.len(), TAG)
        };
        // SAFETY: an array of ours, overwritten in a way the compiler keeps.
        unsafe { ffi::OPENSSL_cleanse(key.as_mut_ptr().cast(), key.len()) };
        if context.is_null() {
            Err(ErrorStack::get())
        } else {
            Ok(Aead { context, name })
        }
    }

    fn seal(&self, out: &mut [u8], nonce: &[u8], plain: &[u8]) -> Option<usize> {
        let mut written = 0;
        // SAFETY: a valid context; every pointer and length is one slice; at most `out.len()`
        // bytes are written.
        let ok = unsafe {
            ffi::EVP_AEAD_CTX_seal(
                self.context,
                out.as_mut_ptr(),
                &raw mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                plain.as_ptr(),
                plain.len(),
                self.name.as_ptr(),
                self.name.len(),
            )
        };
        (ok == 1).then_some(written)
    }

    fn open(&self, out: &mut [u8], nonce: &[u8], sealed: &[u8], name: &[u8]) -> Option<usize> {
        let mut written = 0;
        // SAFETY: as in `seal`.
        let ok = unsafe {
            ffi::EVP_AEAD_CTX_open(
                self.context,
                out.as_mut_ptr(),
                &raw mut written,
                out.len(),
                nonce.as_ptr(),
                nonce.len(),
                sealed.as_ptr(),
                sealed.len(),
                name.as_ptr(),
                name.len(),
            )
        };
        if ok == 1 {
            return Some(written);
        }
        // A ticket that does not open is nothing special: leave no error behind.
        let _ = ErrorStack::get();
        None
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: made by `EVP_AEAD_CTX_new`, freed once. The library wipes what it frees.
        unsafe { ffi::EVP_AEAD_CTX_free(self.context) }
    }
}

/// Where a context keeps its keys.
fn slot() -> Result<Index<SslContext, Arc<TicketKeys>>, ErrorStack> {
    static SLOT: std::sync::OnceLock<Index<SslContext, Arc<TicketKeys>>> =
        std::sync::OnceLock::new();
    if let Some(slot) = SLOT.get() {
        return Ok(*slot);
    }
    let new = SslContext::new_ex_index()?;
    Ok(*SLOT.get_or_init(|| new))
}

/// Makes `context` seal its tickets with `keys`.
pub(crate) fn install(
    context: &mut SslContextBuilder,
    keys: &Arc<TicketKeys>,
) -> Result<(), ErrorStack> {
    static METHOD: ffi::SSL_TICKET_AEAD_METHOD = ffi::SSL_TICKET_AEAD_METHOD {
        max_overhead: Some(max_overhead),
        seal: Some(seal),
        open: Some(open),
    };
    context.set_ex_data(slot()?, keys.clone());
    // SAFETY: a valid context, borrowed mutably; the table is static.
    unsafe { ffi::SSL_CTX_set_ticket_aead_method(context.as_ptr(), &raw const METHOD) };
    Ok(())
}

unsafe extern "C" fn max_overhead(_ssl: *mut ffi::SSL) -> usize {
    NAME + NONCE + TAG + UNTIL
}

unsafe extern "C" fn seal(
    ssl: *mut ffi::SSL,
    out: *mut u8,
    out_len: *mut usize,
    max_out_len: usize,
    session: *const u8,
    session_len: usize,
) -> c_int {
    // SAFETY: the library calls with a valid connection, buffers of the given lengths and a
    // place for the result. Input and output are different allocations (the session's
    // encoding and the message being built), and `out` may be written in full.
    let sealed = unsafe {
        std::ptr::write_bytes(out, 0, max_out_len);
        let out = std::slice::from_raw_parts_mut(out, max_out_len);
        let session = std::slice::from_raw_parts(session, session_len);
        let until = clients::resumable_until(SslRef::from_ptr(ssl));
        let plain = [&until.to_be_bytes()[..], session].concat();
        let written = keys_of(&ssl).and_then(|keys| keys.seal(out, &plain));
        *out_len = written.unwrap_or(0);
        written
    };
    c_int::from(sealed.is_some())
}

unsafe extern "C" fn open(
    ssl: *mut ffi::SSL,
    out: *mut u8,
    out_len: *mut usize,
    max_out_len: usize,
    ticket: *const u8,
    ticket_len: usize,
) -> ffi::ssl_ticket_aead_result_t {
    // SAFETY: as in `seal`; the library gives the ticket inside the ClientHello and a buffer of
    // its own for the plaintext.
    let opened = unsafe {
        std::ptr::write_bytes(out, 0, max_out_len);
        let out = std::slice::from_raw_parts_mut(out, max_out_len);
        let ticket = std::slice::from_raw_parts(ticket, ticket_len);
        let written = keys_of(&ssl)
            .and_then(|keys| keys.open(out, ticket))
            .and_then(|written| current(SslRef::from_ptr_mut(ssl), out, written));
        *out_len = written.unwrap_or(0);
        written
    };
    match opened {
        Some(_) => ffi::ssl_ticket_aead_result_t_ssl_ticket_aead_success,
        None => ffi::ssl_ticket_aead_result_t_ssl_ticket_aead_ignore_ticket,
    }
}

/// Takes the time off what a ticket held, leaving the session; `None` when the time is over.
fn current(ssl: &mut SslRef, plain: &mut [u8], written: usize) -> Option<usize> {
    let (until, _) = plain.get(..written)?.split_first_chunk::<UNTIL>()?;
    let until = i64::from_be_bytes(*until);
    if until < clients::now() {
        return None;
    }
    plain.copy_within(UNTIL..written, 0);
    clients::resume(ssl, until)?;
    Some(written - UNTIL)
}

/// The keys of a connection's context.
///
/// # Safety
/// `ssl` points to a valid connection.
unsafe fn keys_of(ssl: &*mut ffi::SSL) -> Option<&Arc<TicketKeys>> {
    // SAFETY: valid by the caller's promise, and the context outlives the callback.
    let ssl: &SslRef = unsafe { SslRef::from_ptr(*ssl) };
    ssl.ssl_context().ex_data(slot().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(keys: &TicketKeys, session: &[u8]) -> Vec<u8> {
        let mut out = vec![0; session.len() + NAME + NONCE + TAG];
        let written = keys.seal(&mut out, session).unwrap();
        out.truncate(written);
        out
    }

    fn opened(keys: &TicketKeys, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; ticket.len()];
        let written = keys.open(&mut out, ticket)?;
        out.truncate(written);
        Some(out)
    }

    #[test]
    fn a_ticket_opens_until_its_key_was_replaced_three_times() {
        let mut now = SystemTime::UNIX_EPOCH;
        let keys = TicketKeys::new(now).unwrap();
        let ticket = sealed(&keys, b"session");
        for _ in 0..KEPT - 1 {
            now += ROTATION;
            assert!(keys.rotate(now).unwrap());
            assert_eq!(opened(&keys, &ticket).as_deref(), Some(&b"session"[..]));
            assert_ne!(sealed(&keys, b"session")[..NAME], ticket[..NAME]);
        }
        assert!(!keys.rotate(now + ROTATION / 2).unwrap());
        assert!(keys.rotate(now + ROTATION).unwrap());
        assert_eq!(opened(&keys, &ticket), None);
    }

    #[test]
    fn a_changed_or_foreign_ticket_does_not_open() {
        let keys = TicketKeys::new(SystemTime::UNIX_EPOCH).unwrap();
        let ticket = sealed(&keys, b"session");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&keys, &changed), None);
            assert_eq!(opened(&keys, &ticket[..at]), None);
        }
        let other = TicketKeys::new(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(opened(&other, &ticket), None);
    }

    #[test]
    fn the_lifetime_of_a_ticket_never_exceeds_that_of_its_key() {
        for rotation in [60, 3600, 12 * 3600, 30 * 24 * 3600].map(Duration::from_secs) {
            let keys = TicketKeys::rotated(SystemTime::UNIX_EPOCH, Some(rotation)).unwrap();
            let lifetime = Duration::from_secs(keys.lifetime().unwrap().into());
            assert!(lifetime <= rotation * (u32::try_from(KEPT).unwrap() - 1));
            assert!(lifetime <= LONGEST && lifetime >= Duration::from_secs(120));
        }
    }

    #[test]
    fn gateways_with_the_same_secrets_open_each_others_tickets() {
        let [one, other] = [0, 1].map(|_| TicketKeys::new(SystemTime::UNIX_EPOCH).unwrap());
        let (old, new) = ([1; 32], [2; 32]);
        for keys in [&one, &other] {
            keys.install(&[old], SystemTime::UNIX_EPOCH).unwrap();
        }
        let ticket = sealed(&one, b"session");
        assert_eq!(opened(&other, &ticket).as_deref(), Some(&b"session"[..]));
        other.install(&[new, old], SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(opened(&other, &ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(opened(&one, &sealed(&other, b"session")), None);
        other.install(&[], SystemTime::UNIX_EPOCH).unwrap();
        other.install(&[new], SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(opened(&other, &ticket), None);
    }

    #[test]
    fn keys_that_are_never_used_are_never_rotated() {
        let keys = TicketKeys::rotated(SystemTime::UNIX_EPOCH, None).unwrap();
        assert!(!keys.rotate(SystemTime::now()).unwrap());
        assert_eq!(keys.lifetime(), None);
    }
}
