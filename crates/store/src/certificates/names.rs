//! Names of the certificate store's entries, and what they say.

/// Hexadecimal digits of a fingerprint.
const DIGITS: usize = 64;

/// The entry of an id.
pub(super) fn entry(id: &str) -> String {
    format!("cert-raw-{id}")
}

/// The list of an organisation's entries.
pub(super) fn index(org: &str) -> String {
    format!("cert-{org}-index")
}

/// Set once an organisation's entries without an index have been looked for.
pub(super) fn marker(org: &str) -> String {
    format!("cert-{org}-index-migrated")
}

/// An id as an index holds it.
pub(super) fn member(id: &str) -> String {
    format!("raw-{id}")
}

/// The id that a member of an index stands for.
pub(super) fn id(member: &str) -> String {
    member.strip_prefix("raw-").unwrap_or(member).to_owned()
}

/// The id that an entry's name holds; `None` for the name of something else.
pub(super) fn id_of_entry(name: &str) -> Option<&str> {
    name.strip_prefix("cert-raw-")
        .filter(|id| org(id).is_some())
}

/// The organisation that an id names: what stands before its fingerprint, which may be nothing. `None`
/// when it has no fingerprint.
pub(super) fn org(id: &str) -> Option<&str> {
    let at = id.len().checked_sub(DIGITS)?;
    let (org, fingerprint) = (id.get(..at)?, id.get(at..)?);
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    fingerprint.bytes().all(digits).then_some(org)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_an_organisation_and_exactly_64_digits() {
        let print = "0123456789abcdef".repeat(4);
        assert_eq!(org(&print), Some(""));
        assert_eq!(org(&format!("1{print}")), Some("1"));
        // Digits of an organisation are no part of the fingerprint.
        assert_eq!(org(&format!("12{print}")), Some("12"));
        assert_eq!(org(&format!("default{print}")), Some("default"));
        assert_eq!(org(&print[1..]), None);
        assert_eq!(org(&print.to_uppercase()), None);
        assert_eq!(org(&format!("é{}", &print[1..])), None);
        assert_eq!(org(&format!("é{print}")), Some("é"));
    }

    #[test]
    fn names_are_those_of_a_tyk_fleet() {
        let id = format!("1{}", "ab".repeat(32));
        assert_eq!(entry(&id), format!("cert-raw-{id}"));
        assert_eq!(index("1"), "cert-1-index");
        assert_eq!(marker("1"), "cert-1-index-migrated");
        assert_eq!(super::id(&member(&id)), id);
        assert_eq!(id_of_entry(&entry(&id)), Some(id.as_str()));
        assert_eq!(id_of_entry("cert-raw-x-index"), None);
        assert_eq!(id_of_entry("cert-1-index"), None);
    }
}
