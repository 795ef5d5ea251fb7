//! Which tokens a presented one may stand for, in the order in which they count.

use portcullis_config::Identity;

use crate::token::{compose, organisation};

/// For a token or the custom name of a key. A token that says it belongs to `org` stands for
/// itself.
pub(super) fn tokens(identity: &Identity, org: &str, presented: &str) -> Vec<String> {
    let own = organisation(presented).is_some_and(|own| own == org);
    if own || identity.disable_key_actions_by_username {
        return vec![presented.to_owned()];
    }
    with_fallbacks(identity, org, presented)
}

/// For a certificate. The hash function may have changed since its key was made, whatever the
/// organisation looks like.
pub(super) fn certificate_tokens(identity: &Identity, org: &str, id: &str) -> Vec<String> {
    with_fallbacks(identity, org, id)
}

fn with_fallbacks(identity: &Identity, org: &str, key: &str) -> Vec<String> {
    let function = identity.hash_key_function.as_deref().unwrap_or_default();
    let mut tokens = vec![compose(org, key, function)];
    let fallbacks = identity.hash_key_function_fallback.iter();
    for token in
        std::iter::once(key.to_owned()).chain(fallbacks.map(|function| compose(org, key, function)))
    {
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn identity(change: impl FnOnce(&mut Identity)) -> Identity {
        let mut identity = portcullis_config::load_text(Path::new("tyk.conf"), "{}", [])
            .unwrap()
            .config
            .identity;
        change(&mut identity);
        identity
    }

    #[test]
    fn a_token_of_the_organisation_stands_for_itself() {
        let identity = identity(|identity| {
            identity.hash_key_function_fallback = vec!["sha256".to_owned()];
        });
        let token = compose("default", "abc", "murmur64");
        assert_eq!(tokens(&identity, "default", &token), [token.as_str()]);
        assert_eq!(tokens(&identity, "other", &token).len(), 3);
    }

    #[test]
    fn a_custom_name_stands_for_its_token_itself_and_the_tokens_of_former_hashes() {
        let identity = identity(|identity| {
            identity.hash_key_function = Some("sha256".to_owned());
            identity.hash_key_function_fallback = vec!["murmur64".to_owned(), "sha256".to_owned()];
        });
        assert_eq!(
            tokens(&identity, "default", "abc"),
            [
                compose("default", "abc", "sha256"),
                "abc".to_owned(),
                compose("default", "abc", "murmur64"),
            ]
        );
    }

    #[test]
    fn names_stand_for_no_token_where_keys_are_not_found_by_name() {
        let identity = identity(|identity| identity.disable_key_actions_by_username = true);
        assert_eq!(tokens(&identity, "default", "abc"), ["abc"]);
    }

    /// The older form of an organisation with 24 hex digits says whose it is; former hashes count
    /// all the same.
    #[test]
    fn a_certificate_is_looked_for_under_former_hashes_whatever_its_organisation() {
        let identity = identity(|identity| {
            identity.hash_key_function = Some("sha256".to_owned());
            identity.hash_key_function_fallback = vec!["murmur64".to_owned()];
        });
        let org = "5e9d9544a1dcd60001d0ed20";
        let id = format!("{org}{}", "a".repeat(64));
        assert_eq!(
            certificate_tokens(&identity, org, &id),
            [
                compose(org, &id, "sha256"),
                id.clone(),
                compose(org, &id, "murmur64"),
            ]
        );
    }
}
