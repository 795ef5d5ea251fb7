//! `/tyk/certs`: certificates are stored, shown and removed.
//!
//! Statuses, texts and the order of members are a Tyk gateway's. An id in a path names an entry of the
//! store and never a file. An entry that cannot be read is not shown in a weaker form: alone it is not
//! found, in a list of several it is `null`, in a detailed listing it is left out; the log says why.

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use portcullis_pki::{
    CertificateFacts, Entry,
    name::{Attribute, attributes},
};
use portcullis_store::{
    Certificates, StoreError,
    certificates::{AddError, Stored},
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    answer::{self, Answer},
    endpoint::CertificateCall,
    parameter,
    runtime::Runtime,
    writing::Query,
};

/// Go's zero time, which public keys have instead of dates.
const NO_DATE: &str = "0001-01-01T00:00:00Z";

/// What an operator should know though the call succeeded.
const WARNING: HeaderName = HeaderName::from_static("x-portcullis-warning");

/// Answers a call. `id` is empty where the path has none.
pub(super) async fn answer(
    call: CertificateCall,
    certificates: &Certificates,
    runtime: &dyn Runtime,
    id: &str,
    query: &Query,
    body: &Bytes,
) -> Answer {
    let org = parameter(query, "org_id").unwrap_or_default();
    let result = match call {
        CertificateCall::Add => return add(certificates, org, body).await,
        CertificateCall::List if parameter(query, "mode") == Some("detailed") => {
            listed_in_detail(certificates, org).await
        }
        CertificateCall::List => listed(certificates, org).await,
        CertificateCall::Show => shown(certificates, id).await,
        CertificateCall::Delete => deleted(certificates, runtime, id, org).await,
    };
    result.unwrap_or_else(|error| failed(&error))
}

async fn add(certificates: &Certificates, org: &str, pem: &Bytes) -> Answer {
    #[derive(Serialize)]
    struct Added<'a> {
        id: &'a str,
        status: &'a str,
        message: &'a str,
    }
    match certificates.add(org, pem).await {
        Ok(id) => answer::shown(&Added {
            id: &id,
            status: "ok",
            message: "Certificate added",
        }),
        Err(error @ (AddError::Rejected(_) | AddError::Exists { .. })) => {
            answer::error(StatusCode::FORBIDDEN, &error.to_string())
        }
        Err(AddError::Store(error)) => failed(&error),
        Err(error @ AddError::Encryption(_)) => {
            tracing::error!("a certificate was not stored: {error}");
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
    }
}

async fn listed(certificates: &Certificates, org: &str) -> Result<Answer, StoreError> {
    #[derive(Serialize)]
    struct List {
        certs: Option<Vec<String>>,
    }
    let ids = certificates.list(org).await?;
    let certs = (!ids.is_empty()).then_some(ids);
    Ok(answer::shown(&List { certs }))
}

async fn listed_in_detail(certificates: &Certificates, org: &str) -> Result<Answer, StoreError> {
    #[derive(Serialize)]
    struct List {
        certs: Vec<Summary>,
    }
    let ids = certificates.list(org).await?;
    let found = certificates.read(&ids, Summary::of).await?;
    let certs = found.into_iter().flatten().collect();
    Ok(answer::shown(&List { certs }))
}

async fn shown(certificates: &Certificates, id: &str) -> Result<Answer, StoreError> {
    let ids: Vec<String> = id.split(',').map(str::to_owned).collect();
    let mut found = certificates.read(&ids, Detail::of).await?;
    if found.len() > 1 {
        return Ok(answer::shown(&found));
    }
    Ok(match found.pop().flatten() {
        Some(detail) => answer::shown(&detail),
        None => answer::error(
            StatusCode::NOT_FOUND,
            "Certificate with given SHA256 fingerprint not found",
        ),
    })
}

async fn deleted(
    certificates: &Certificates,
    runtime: &dyn Runtime,
    id: &str,
    org: &str,
) -> Result<Answer, StoreError> {
    // Asked before it is gone: afterwards nobody would use it.
    let users = runtime.users_of_certificate(id);
    certificates.remove(id, Some(org)).await?;
    let removed = answer::ok("removed");
    if users.is_empty() {
        return Ok(removed);
    }
    let users = users.join(", ");
    tracing::warn!(
        id,
        users,
        "the certificate was removed while it is in use; what uses it goes on without it"
    );
    // The body is a Tyk gateway's. Who operates this one reads the header.
    let warning = format!("in use by {}", users.escape_default());
    Ok(answer::with_header(removed, WARNING, &warning))
}

/// The store did not do what was asked; nothing was acknowledged.
fn failed(error: &StoreError) -> Answer {
    tracing::error!("the Control API cannot use the certificate store: {error}");
    answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// An entry of a detailed listing, members in their order.
#[derive(Serialize)]
struct Summary {
    id: String,
    issuer_cn: String,
    subject_cn: String,
    dns_names: Option<Vec<String>>,
    has_private: bool,
    not_before: String,
    not_after: String,
    is_ca: bool,
}

/// An entry by its id, members in their order.
#[derive(Serialize)]
struct Detail {
    id: String,
    fingerprint: String,
    has_private: bool,
    issuer: Name,
    subject: Name,
    not_before: String,
    not_after: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns_names: Vec<String>,
    is_ca: bool,
}

/// A distinguished name as Go has it: known attributes by name, and all of them in order.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Name {
    country: Option<Vec<String>>,
    organization: Option<Vec<String>>,
    organizational_unit: Option<Vec<String>>,
    locality: Option<Vec<String>>,
    province: Option<Vec<String>>,
    street_address: Option<Vec<String>>,
    postal_code: Option<Vec<String>>,
    serial_number: String,
    common_name: String,
    names: Option<Vec<NameAttribute>>,
    /// Always `null`.
    extra_names: (),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NameAttribute {
    r#type: Vec<u64>,
    value: String,
}

impl Detail {
    /// `None` for an entry that is not there or cannot be used.
    fn of(id: &str, stored: Stored) -> Option<Self> {
        let bundle = match stored {
            Stored::Absent | Stored::Unreadable(_) => return None,
            Stored::Entry(Entry::PublicKey(fingerprint)) => {
                return Some(Self {
                    id: id.to_owned(),
                    fingerprint: String::new(),
                    has_private: false,
                    issuer: Name::default(),
                    subject: Name {
                        common_name: format!("Public Key: {fingerprint}"),
                        ..Name::default()
                    },
                    not_before: NO_DATE.to_owned(),
                    not_after: NO_DATE.to_owned(),
                    dns_names: Vec::new(),
                    is_ca: false,
                });
            }
            Stored::Entry(Entry::Certificate(bundle)) => bundle,
        };
        let leaf = bundle.certificates.first()?;
        let facts = CertificateFacts::of(leaf).ok()?;
        // As they are written; the facts have them in lower case.
        let dns_names = leaf.subject_alt_names().map_or_else(Vec::new, |names| {
            let names = names.iter().filter_map(|name| name.dnsname());
            names.map(str::to_owned).collect()
        });
        Some(Self {
            id: id.to_owned(),
            fingerprint: facts.fingerprint.to_string(),
            has_private: bundle.key.is_some(),
            issuer: Name::of(attributes(leaf.issuer_name())),
            subject: Name::of(attributes(leaf.subject_name())),
            not_before: date(facts.not_before),
            not_after: date(facts.not_after),
            dns_names,
            is_ca: facts.is_ca,
        })
    }
}

impl Summary {
    fn of(id: &str, stored: Stored) -> Option<Self> {
        let detail = Detail::of(id, stored)?;
        Some(Self {
            id: detail.id,
            issuer_cn: detail.issuer.common_name,
            subject_cn: detail.subject.common_name,
            dns_names: (!detail.dns_names.is_empty()).then_some(detail.dns_names),
            has_private: detail.has_private,
            not_before: detail.not_before,
            not_after: detail.not_after,
            is_ca: detail.is_ca,
        })
    }
}

impl Name {
    fn of(attributes: Vec<Attribute>) -> Self {
        let mut name = Self::default();
        for Attribute { oid, value } in attributes {
            let several = match oid.as_slice() {
                [2, 5, 4, 6] => Some(&mut name.country),
                [2, 5, 4, 7] => Some(&mut name.locality),
                [2, 5, 4, 8] => Some(&mut name.province),
                [2, 5, 4, 9] => Some(&mut name.street_address),
                [2, 5, 4, 10] => Some(&mut name.organization),
                [2, 5, 4, 11] => Some(&mut name.organizational_unit),
                [2, 5, 4, 17] => Some(&mut name.postal_code),
                // Of several, the last is the one.
                [2, 5, 4, 3] => {
                    name.common_name.clone_from(&value);
                    None
                }
                [2, 5, 4, 5] => {
                    name.serial_number.clone_from(&value);
                    None
                }
                _ => None,
            };
            if let Some(several) = several {
                several.get_or_insert_default().push(value.clone());
            }
            name.names
                .get_or_insert_default()
                .push(NameAttribute { r#type: oid, value });
        }
        name
    }
}

/// A date as JSON has it: RFC 3339 in UTC, whole seconds.
fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| NO_DATE.to_owned())
}
