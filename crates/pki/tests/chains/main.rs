//! Chains of clients, with the verdict of RFC 5280 beside ours.
//!
//! Written the way x509-limbo writes its cases: each says what it is, what is trusted, what was
//! presented and when, what RFC 5280 makes of it and what we make of it. Where both differ the case
//! says why, and a client RFC 5280 refuses is let in only where trust is given to that very
//! certificate.

mod authorities;
mod constraints;
mod der;
mod form;
mod graph;
mod keys;
mod names;
mod recipe;
mod renewed;
mod time_and_length;
mod usage;
mod work;

use std::{collections::HashSet, sync::OnceLock};

use openssl::x509::X509;
use portcullis_pki::{PresentedChain, Refusal, TrustAnchors, Usage};
use recipe::{NOW, Recipe};

/// What becomes of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    Expired,
    NotYetValid,
    Untrusted,
    NoAuthority,
    Purpose,
    NameConstraints,
    Weak,
    /// Refused by the library for another reason.
    Other,
    /// Refused before it is looked at.
    Unread,
}

use Verdict::*;

struct Case {
    id: String,
    what: &'static str,
    anchors: Vec<Vec<u8>>,
    shown: Vec<Vec<u8>>,
    at: i64,
    usage: Usage,
    rfc_passes: bool,
    ours: Verdict,
    /// Why ours is another than that of RFC 5280.
    why: Option<&'static str>,
}

impl Case {
    /// Judged now, for clients; both verdicts agree.
    fn new(id: impl Into<String>, what: &'static str, ours: Verdict) -> Self {
        Self {
            id: id.into(),
            what,
            anchors: Vec::new(),
            shown: Vec::new(),
            at: NOW,
            usage: Usage::Client,
            rfc_passes: ours == Passes,
            ours,
            why: None,
        }
    }

    fn trusting(mut self, anchors: &[&Recipe]) -> Self {
        self.anchors = anchors.iter().map(|anchor| anchor.der()).collect();
        self
    }

    fn shown(mut self, certificates: &[&Recipe]) -> Self {
        self.shown = certificates.iter().map(|shown| shown.der()).collect();
        self
    }

    fn at(mut self, at: i64) -> Self {
        self.at = at;
        self
    }

    /// RFC 5280 has the other verdict.
    fn unlike_rfc(mut self, why: &'static str) -> Self {
        self.rfc_passes = !self.rfc_passes;
        self.why = Some(why);
        self
    }
}

fn judged(case: &Case) -> (Verdict, String) {
    let ders: Vec<&[u8]> = case.shown.iter().map(Vec::as_slice).collect();
    let shown = match PresentedChain::of_der(&ders) {
        Ok(shown) => shown,
        Err(unread) => return (Unread, unread.to_string()),
    };
    let anchors = case.anchors.iter().map(|der| X509::from_der(der).unwrap());
    let trusted = TrustAnchors::new(anchors.collect()).unwrap();
    match trusted.way(&shown, case.usage, case.at) {
        Ok(_) => (Passes, String::new()),
        Err(refusal) => {
            let verdict = match &refusal {
                Refusal::Expired { .. } => Expired,
                Refusal::NotYetValid { .. } => NotYetValid,
                Refusal::Untrusted { .. } => Untrusted,
                Refusal::Authority { .. } => NoAuthority,
                Refusal::Purpose { .. } => Purpose,
                Refusal::NameConstraints { .. } => NameConstraints,
                Refusal::Weak { .. } => Weak,
                Refusal::Other { .. } => Other,
                Refusal::Revoked { .. } | Refusal::RevocationUnknown { .. } => {
                    panic!("there are no revocation lists here: {refusal}")
                }
            };
            (verdict, refusal.to_string())
        }
    }
}

fn corpus() -> &'static [Case] {
    static CORPUS: OnceLock<Vec<Case>> = OnceLock::new();
    CORPUS.get_or_init(made)
}

fn made() -> Vec<Case> {
    let parts = [
        time_and_length::cases(),
        authorities::cases(),
        usage::cases(),
        names::cases(),
        graph::cases(),
        renewed::cases(),
        keys::cases(),
        form::cases(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn every_chain_of_the_corpus_gets_the_verdict_that_is_written_beside_it() {
    let mut wrong = String::new();
    for case in corpus() {
        let (verdict, said) = judged(case);
        if verdict != case.ours {
            let (id, what, ours) = (&case.id, case.what, case.ours);
            wrong += &format!("{id} ({what}): {ours:?} expected, {verdict:?} found: {said}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_corpus_is_large_and_says_where_it_differs_from_rfc_5280() {
    let corpus = corpus();
    assert!(corpus.len() >= 370, "{} cases", corpus.len());
    let mut ids = HashSet::new();
    for case in corpus {
        assert!(ids.insert(&case.id), "{} is there twice", case.id);
        let differs = case.rfc_passes != (case.ours == Passes);
        assert_eq!(differs, case.why.is_some(), "{}", case.id);
    }
}

/// Being stricter costs somebody a certificate; being laxer costs us everything.
#[test]
fn nobody_whom_rfc_5280_refuses_is_let_in() {
    for case in corpus() {
        let lax = !case.rfc_passes && judged(case).0 == Passes;
        assert!(!lax, "{}: {}", case.id, case.what);
    }
}
