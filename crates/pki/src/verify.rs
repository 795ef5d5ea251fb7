//! Whether a certificate would be accepted, check by check, with the reason for each.
//!
//! A handshake stops at the first check that fails; somebody who wants to know what to mend is
//! better served by all of them. Nothing here decides about a connection.
//!
//! Rules, which are those of the gateway: every certificate among the anchors is trusted, root or
//! not; a host has to be among the alternative names, the common name does not count.

use std::net::IpAddr;

use openssl::{
    error::ErrorStack,
    stack::Stack,
    x509::{
        X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::{X509VerifyFlags, X509VerifyParam},
    },
};

use crate::{
    certificate::CertificateFacts,
    details::{CLIENT_AUTH, Details, SERVER_AUTH, is_signed_by},
    names::{AlternativeName, alternative_names, distinguished_name},
    trust::too_long,
};

/// What a certificate is meant to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Shown by a TLS client.
    Client,
    /// Shown by a TLS server.
    Server,
}

/// What is asked about a certificate.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The certificate, then whatever may lead from it to an anchor.
    pub chain: &'a [X509],
    /// What is trusted.
    pub anchors: &'a [X509],
    /// What it is to be used for; `None` does not ask.
    pub purpose: Option<Purpose>,
    /// The host name or address it has to be good for.
    pub host: Option<&'a str>,
    /// When, in Unix seconds.
    pub at: i64,
}

/// What one check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// Signatures lead to something trusted.
    Chain,
    /// Every certificate on the way is in its validity.
    Validity,
    /// It may be used for the purpose.
    Purpose,
    /// It is good for the host.
    Host,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub aspect: Aspect,
    /// What was found, or why it is not good.
    pub outcome: Result<String, String>,
}

impl Aspect {
    /// Its name in a list of checks.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Validity => "validity",
            Self::Purpose => "purpose",
            Self::Host => "host",
        }
    }
}

/// Answers a question; the checks come in the order of [`Aspect`].
///
/// # Errors
/// When the library fails at something else than the certificate.
pub fn verify(question: &Question<'_>) -> Result<Vec<Check>, ErrorStack> {
    let Some((leaf, rest)) = question.chain.split_first() else {
        return Ok(vec![Check {
            aspect: Aspect::Chain,
            outcome: Err("there is no certificate to verify".to_owned()),
        }]);
    };
    let walk = walk(leaf, rest, question.anchors, None)?;
    let trusted = walk.result == X509VerifyResult::OK;
    // Without a way to an anchor, all that came along is looked at.
    let on_the_way: &[X509] = if trusted { &walk.path } else { question.chain };
    let mut checks = vec![
        Check {
            aspect: Aspect::Chain,
            outcome: chain(&walk, question)?,
        },
        Check {
            aspect: Aspect::Validity,
            outcome: validity(on_the_way, question.at)?,
        },
    ];
    if let Some(purpose) = question.purpose {
        let refused = if trusted {
            let strict = self::walk(leaf, rest, question.anchors, Some(purpose))?;
            (strict.result != X509VerifyResult::OK).then_some(strict)
        } else {
            None
        };
        checks.push(Check {
            aspect: Aspect::Purpose,
            outcome: self::purpose(leaf, purpose, refused.as_ref())?,
        });
    }
    if let Some(host) = question.host {
        checks.push(Check {
            aspect: Aspect::Host,
            outcome: self::host(leaf, host),
        });
    }
    Ok(checks)
}

/// What came of looking for a way to an anchor.
struct Walk {
    result: X509VerifyResult,
    /// Where it stopped, or the whole way.
    path: Vec<X509>,
    /// The certificate the result is about.
    at: Option<X509>,
}

fn walk(
    leaf: &X509Ref,
    rest: &[X509],
    anchors: &[X509],
    purpose: Option<Purpose>,
) -> Result<Walk, ErrorStack> {
    let store = store(anchors, purpose)?;
    let mut untrusted = Stack::new()?;
    for certificate in rest {
        untrusted.push(certificate.clone())?;
    }
    let mut context = X509StoreContext::new()?;
    let walk = context.init(&store, leaf, &untrusted, |context| {
        let good = context.verify_cert()?;
        let path = context.chain().map_or_else(Vec::new, |chain| {
            chain.iter().map(ToOwned::to_owned).collect()
        });
        let result = match context.error() {
            X509VerifyResult::OK if !good => X509VerifyResult::APPLICATION_VERIFICATION,
            result => result,
        };
        Ok(Walk {
            result,
            path,
            at: context.current_cert().map(ToOwned::to_owned),
        })
    });
    // A certificate that is refused leaves its reason in the library's error queue.
    let _ = ErrorStack::get();
    walk
}

fn store(anchors: &[X509], purpose: Option<Purpose>) -> Result<X509Store, ErrorStack> {
    let mut builder = X509StoreBuilder::new()?;
    for anchor in anchors {
        builder.add_cert(anchor.clone())?;
    }
    let mut rules = X509VerifyParam::new()?;
    // Validity is looked at for itself, so that it does not hide what else is wrong.
    rules.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME)?;
    match purpose {
        Some(Purpose::Client) => rules.set_purpose(X509PurposeId::SSL_CLIENT)?,
        Some(Purpose::Server) => rules.set_purpose(X509PurposeId::SSL_SERVER)?,
        None => {}
    }
    builder.set_param(&rules)?;
    Ok(builder.build())
}

fn chain(walk: &Walk, question: &Question<'_>) -> Result<Result<String, String>, ErrorStack> {
    let names = walk
        .path
        .iter()
        .map(|certificate| Ok(Details::of(certificate)?.subject))
        .collect::<Result<Vec<_>, ErrorStack>>()?;
    if walk.result == X509VerifyResult::OK {
        return Ok(match too_long(&walk.path) {
            Some(authority) => Err(path_too_long(&distinguished_name(authority.subject_name()))),
            None => Ok(names.join(" <- ")),
        });
    }
    let Some(certificate) = walk.at.as_ref().or(walk.path.last()) else {
        return Ok(Err(walk.result.error_string().to_owned()));
    };
    let details = Details::of(certificate)?;
    let subject = &details.subject;
    Ok(Err(match walk.result.as_raw() {
        // No issuer, locally or at all; a leaf that stands alone.
        2 | 20 | 21 => without_issuer(certificate, &details, question),
        18 => format!("`{subject}` is signed by itself and not among what is trusted"),
        19 => format!("the chain ends at the root `{subject}`, which is not among what is trusted"),
        7 => format!(
            "the signature of `{subject}` is not its issuer's: another certificate of the same name?"
        ),
        24 => no_authority(subject),
        25 => path_too_long(subject),
        _ => format!("`{subject}`: {}", walk.result.error_string()),
    }))
}

fn path_too_long(subject: &str) -> String {
    format!("more authorities stand below `{subject}` than its path length allows")
}

/// Why nothing that is at hand can stand above a certificate.
fn without_issuer(certificate: &X509Ref, details: &Details, question: &Question<'_>) -> String {
    let named = question
        .chain
        .iter()
        .chain(question.anchors)
        .filter(|candidate| {
            candidate
                .subject_name()
                .try_cmp(certificate.issuer_name())
                .is_ok_and(std::cmp::Ordering::is_eq)
        });
    let (mut there, mut signed) = (false, false);
    for candidate in named {
        there = true;
        signed |= is_signed_by(certificate, candidate);
    }
    let (subject, issuer) = (&details.subject, &details.issuer);
    match (there, signed) {
        (_, true) => no_authority(issuer),
        (true, false) => format!(
            "the issuer of `{subject}` is missing: there is a certificate of `{issuer}`, but its key did not sign this one"
        ),
        (false, false) => format!(
            "the issuer of `{subject}` is missing: `{issuer}` is neither trusted nor among the certificates that came along"
        ),
    }
}

fn no_authority(subject: &str) -> String {
    format!("`{subject}` issued a certificate and is no authority")
}

fn validity(certificates: &[X509], at: i64) -> Result<Result<String, String>, ErrorStack> {
    let mut wrong = Vec::new();
    let mut ends: Option<(i64, String)> = None;
    for certificate in certificates {
        let facts = CertificateFacts::of(certificate)?;
        let subject = Details::of(certificate)?.subject;
        if at < facts.not_before {
            wrong.push(format!(
                "`{subject}` is not valid yet, but {} later",
                span(facts.not_before - at)
            ));
        } else if at > facts.not_after {
            wrong.push(format!(
                "`{subject}` expired {} before",
                span(at - facts.not_after)
            ));
        }
        if ends.as_ref().is_none_or(|(end, _)| facts.not_after < *end) {
            ends = Some((facts.not_after, subject));
        }
    }
    Ok(match ends {
        Some((end, subject)) if wrong.is_empty() => Ok(format!(
            "`{subject}` is the first to expire, {} later",
            span(end - at)
        )),
        _ => Err(wrong.join("; ")),
    })
}

/// A time span in the unit that says most.
fn span(seconds: i64) -> String {
    let counted = |count: i64, unit: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {unit}{plural}")
    };
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7200 => counted(seconds / 60, "minute"),
        7200..172_800 => counted(seconds / 3600, "hour"),
        _ => counted(seconds / 86_400, "day"),
    }
}

fn purpose(
    leaf: &X509Ref,
    purpose: Purpose,
    refused: Option<&Walk>,
) -> Result<Result<String, String>, ErrorStack> {
    let (who, name) = match purpose {
        Purpose::Client => ("clients", CLIENT_AUTH),
        Purpose::Server => ("servers", SERVER_AUTH),
    };
    let details = Details::of(leaf)?;
    let listed = details.purposes.as_ref().map(|listed| listed.join(", "));
    if !details.allows(name) {
        return Ok(Err(format!(
            "its extended key usage lists {} and not {name}, so it is not for {who}",
            listed.unwrap_or_default()
        )));
    }
    if let Some(walk) = refused {
        let who_refuses = match &walk.at {
            Some(certificate) => Details::of(certificate)?.subject,
            None => details.subject,
        };
        return Ok(Err(format!(
            "`{who_refuses}` may not be used for {who}: {}",
            walk.result.error_string()
        )));
    }
    Ok(Ok(match listed {
        Some(listed) => format!("good for {who}: its extended key usage lists {listed}"),
        None => format!("good for {who}: it has no extended key usage"),
    }))
}

fn host(leaf: &X509Ref, host: &str) -> Result<String, String> {
    let alternatives = alternative_names(leaf);
    let wanted = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = wanted.trim_matches(['[', ']']);
    let covers = match bare.parse::<IpAddr>() {
        Ok(address) => alternatives.contains(&AlternativeName::Ip(address)),
        Err(_) => CertificateFacts::of(leaf).is_ok_and(|facts| facts.covers(&wanted)),
    };
    if covers {
        return Ok(format!("good for {host}"));
    }
    let names: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
    Err(if names.is_empty() {
        format!(
            "not good for {host}: it has no alternative names, and the common name does not count"
        )
    } else {
        format!("not good for {host}: its names are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::make::{Algorithm, Pair, Role, Template, make, make_ca, make_client, make_server};

    const DAY: i64 = 86_400;

    fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_secs()).unwrap()
    }

    fn asked(chain: &[&Pair], anchors: &[&Pair]) -> (Vec<X509>, Vec<X509>) {
        let certificates =
            |pairs: &[&Pair]| pairs.iter().map(|pair| pair.certificate.clone()).collect();
        (certificates(chain), certificates(anchors))
    }

    fn authority(name: &str, issuer: Option<&Pair>, path_length: Option<u32>) -> Pair {
        let template = Template {
            name,
            alternatives: &[],
            role: Role::Authority { path_length },
            algorithm: Algorithm::P256,
            days: 30,
        };
        make(&template, issuer).unwrap()
    }

    fn failures(checks: &[Check]) -> Vec<(Aspect, String)> {
        checks
            .iter()
            .filter_map(|check| Some((check.aspect, check.outcome.clone().err()?)))
            .collect()
    }

    #[test]
    fn a_good_certificate_passes_every_check() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let server = make_server(&ca, &["a.test", "127.0.0.1"], Algorithm::P256, 10).unwrap();
        let (chain, anchors) = asked(&[&server], &[&ca]);
        for host in ["a.test", "A.test.", "127.0.0.1"] {
            let question = Question {
                chain: &chain,
                anchors: &anchors,
                purpose: Some(Purpose::Server),
                host: Some(host),
                at: now(),
            };
            let checks = verify(&question).unwrap();
            assert_eq!(failures(&checks), [], "{host}");
            assert_eq!(checks.len(), 4);
            assert_eq!(checks[0].outcome.as_deref(), Ok("CN=a.test <- CN=CA"));
        }
    }

    #[test]
    fn every_check_that_fails_is_told_not_only_the_first() {
        let (ca, other) = (
            make_ca("CA", Algorithm::P256, 30).unwrap(),
            make_ca("Other", Algorithm::P256, 30).unwrap(),
        );
        let client = make_client(&ca, "c", Algorithm::P256, 10).unwrap();
        let (chain, anchors) = asked(&[&client], &[&other]);
        let question = Question {
            chain: &chain,
            anchors: &anchors,
            purpose: Some(Purpose::Server),
            host: Some("c"),
            at: now() + 20 * DAY,
        };
        let found = failures(&verify(&question).unwrap());
        let aspects: Vec<Aspect> = found.iter().map(|(aspect, _)| *aspect).collect();
        assert_eq!(
            aspects,
            [
                Aspect::Chain,
                Aspect::Validity,
                Aspect::Purpose,
                Aspect::Host
            ]
        );
        assert!(
            found[0]
                .1
                .contains("the issuer of `CN=c` is missing: `CN=CA`"),
            "{found:?}"
        );
        assert!(
            found[1].1.contains("`CN=c` expired 10 days before")
                || found[1].1.contains("expired 9 days"),
            "{found:?}"
        );
        assert!(
            found[2].1.contains("lists clientAuth and not serverAuth"),
            "{found:?}"
        );
        assert!(found[3].1.contains("no alternative names"), "{found:?}");
    }

    #[test]
    fn an_intermediate_alone_is_trusted_and_a_missing_one_is_named() {
        let root = authority("Root", None, None);
        let middle = authority("Middle", Some(&root), Some(0));
        let leaf = make_server(&middle, &["leaf.test"], Algorithm::P256, 5).unwrap();
        let ask = |chain: &[&Pair], anchors: &[&Pair]| {
            let (chain, anchors) = asked(chain, anchors);
            let question = Question {
                chain: &chain,
                anchors: &anchors,
                purpose: None,
                host: None,
                at: now(),
            };
            failures(&verify(&question).unwrap())
        };
        assert_eq!(ask(&[&leaf], &[&middle]), []);
        assert_eq!(ask(&[&leaf, &middle], &[&root]), []);
        let missing = ask(&[&leaf], &[&root]);
        assert!(
            missing[0].1.contains("`CN=Middle` is neither trusted"),
            "{missing:?}"
        );
        let stranger = authority("Root", None, None);
        assert!(!ask(&[&leaf, &middle], &[&stranger]).is_empty());
    }

    #[test]
    fn a_leaf_that_issues_and_a_path_that_is_too_long_are_refused_by_name() {
        let root = authority("Root", None, Some(1));
        let server = make_server(&root, &["server.test"], Algorithm::P256, 5).unwrap();
        let forged = make_server(&server, &["forged.test"], Algorithm::P256, 5).unwrap();
        let middle = authority("Middle", Some(&root), None);
        let deeper = authority("Deeper", Some(&middle), None);
        let leaf = make_server(&deeper, &["leaf.test"], Algorithm::P256, 5).unwrap();
        for (chain, told) in [
            (
                vec![&forged, &server],
                "`CN=server.test` issued a certificate and is no authority",
            ),
            (vec![&leaf, &deeper, &middle], "than its path length allows"),
        ] {
            let (chain, anchors) = asked(&chain, &[&root]);
            let question = Question {
                chain: &chain,
                anchors: &anchors,
                purpose: None,
                host: None,
                at: now(),
            };
            let found = failures(&verify(&question).unwrap());
            assert!(
                found.first().is_some_and(|(_, why)| why.contains(told)),
                "{told}: {found:?}"
            );
        }
    }

    #[test]
    fn a_certificate_that_is_not_valid_yet_says_when() {
        let ca = make_ca("CA", Algorithm::P256, 30).unwrap();
        let (chain, anchors) = asked(&[&ca], &[&ca]);
        let question = Question {
            chain: &chain,
            anchors: &anchors,
            purpose: None,
            host: None,
            at: now() - 3 * DAY,
        };
        let found = failures(&verify(&question).unwrap());
        assert!(
            found.len() == 1
                && found[0]
                    .1
                    .contains("`CN=CA` is not valid yet, but 2 days later"),
            "{found:?}"
        );
    }
}
