//! Where a definition that cannot be used wants to be.
//!
//! A broken definition answers with an error on its listen path; if the path were not kept, its
//! requests would reach whichever API answers the paths around it. So the few members that say
//! where an API belongs are read apart from the rest.
//!
//! Invariant: a place is whole or there is none. When a member that says where is itself wrong,
//! guessing would take a path from an API that has every right to it.

use crate::api::ApiListener;
use crate::classic;
use crate::document::{Format, Notation, format_of, tree};
use crate::members::canonicalise;
use crate::oas;
use crate::reader::Node;
use crate::report::Report;

/// What an API would take up if it could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `api_id`, or the file's name without its ending.
    pub id: String,
    /// The human name; empty when unknown.
    pub name: String,
    /// False takes no place; true when it cannot be told.
    pub active: bool,
    /// True takes no place; false when it cannot be told.
    pub internal: bool,
    /// Port and protocol.
    pub listener: ApiListener,
    /// Custom domain, `None` when absent or disabled.
    pub domain: Option<String>,
    /// Listen path, as in [`Api::listen_path`](crate::Api::listen_path).
    pub listen_path: String,
}

/// The place that a text asks for; `None` when it cannot be told.
pub(crate) fn place(text: &str, notation: Notation, fallback_id: &str) -> Option<Place> {
    let mut value = tree(text, notation).ok()?;
    let format = format_of(&value);
    // What is wrong has been reported when the text was read as a whole.
    let (spelling, where_to, about) = (Report::default(), Report::default(), Report::default());
    let shape = match format {
        Format::Classic => &classic::members::ROOT,
        Format::Oas => &oas::members::ROOT,
    };
    canonicalise(&mut value, shape, &spelling);
    let (root, lenient) = (Node::root(&value, &where_to), Node::root(&value, &about));
    let place = match format {
        Format::Classic => classic::place(&root, &lenient, fallback_id),
        Format::Oas => oas::place(&root, &lenient, fallback_id),
    }?;
    where_to.finish().ok().map(|_| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Protocol;

    fn classic(text: &str) -> Option<Place> {
        place(text, Notation::Json, "file")
    }

    #[test]
    fn the_place_of_a_broken_definition_is_what_it_names() {
        let place = classic(
            r#"{"api_id": "a", "name": 7, "active": "perhaps", "Listen_Port": 9000, "protocol": "https",
                "domain": "Host.test", "proxy": {"listen_path": "a//b/", "target_url": "::"}}"#,
        )
        .unwrap();
        assert_eq!((place.id.as_str(), place.name.as_str()), ("a", ""));
        assert!(place.active && !place.internal);
        assert_eq!(place.listener.port, Some(9000));
        assert_eq!(place.listener.protocol, Some(Protocol::Https));
        assert_eq!(place.domain.as_deref(), Some("host.test"));
        assert_eq!(place.listen_path, "/a/b/");
    }

    #[test]
    fn an_oas_document_has_a_place_too() {
        let text = "openapi: 9.0.0\nx-tyk-api-gateway:\n  info: {state: {active: false}}\n  server: {listenPath: {value: /a/}}\n";
        let place = place(text, Notation::Yaml, "file").unwrap();
        assert_eq!(
            (place.id.as_str(), place.listen_path.as_str(), place.active),
            ("file", "/a/", false)
        );
    }

    #[test]
    fn a_text_that_does_not_say_where_has_no_place() {
        for text in [
            "{",
            "[]",
            r#"{"api_id": "a"}"#,
            r#"{"proxy": {"listen_path": 7}}"#,
            r#"{"proxy": {"listen_path": "/a/"}, "domain": ["a.test"]}"#,
            r#"{"proxy": {"listen_path": "/a/"}, "listen_port": "80"}"#,
        ] {
            assert_eq!(classic(text), None, "{text}");
        }
    }
}
