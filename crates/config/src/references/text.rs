//! References in the texts of API definitions.
//!
//! Rules:
//! - `env://NAME` reaches to the end of the text; so do `kv://STORE/PATH` and `file://PATH`, which
//!   have to be the whole text. `$kv{STORE:PATH}` ends with its brace.
//! - `secrets://`, `consul://` and `vault://` are followed by one of the names that are there, the
//!   longest that fits; what stands behind it stays.
//! - A value is put in as it is and not looked at again.
//! - A reference without a value stays as it is written, and is reported.

use super::resolver::at_dots;
use super::{ReferenceError, Resolver};
use crate::secret::Secret;

/// A text with its references replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Substitution {
    /// The text; it may hold secrets.
    pub text: Secret,
    /// References that were replaced, with their values.
    pub values: Vec<(String, Secret)>,
    /// What could not be done.
    pub problems: Vec<Problem>,
}

/// A reference whose value could not be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The reference as it is written.
    pub reference: String,
    /// Why.
    pub error: ReferenceError,
    /// The value it had before stays in use.
    pub kept: bool,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            reference,
            error,
            kept,
        } = self;
        let outcome = match kept {
            true => "the value it had before stays in use",
            false => "it stays in the definition as it is written",
        };
        write!(formatter, "the reference `{reference}` {error}; {outcome}")
    }
}

/// How a reference begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Token,
    Store,
    File,
    Variable,
    Secret,
    Consul,
    Vault,
}

const FORMS: [(&str, Form); 7] = [
    ("$kv{", Form::Token),
    ("kv://", Form::Store),
    ("file://", Form::File),
    ("env://", Form::Variable),
    ("secrets://", Form::Secret),
    ("consul://", Form::Consul),
    ("vault://", Form::Vault),
];

/// Whether a text may hold a reference at all.
fn may_refer(text: &str) -> bool {
    FORMS.iter().any(|(begin, _)| text.contains(begin))
}

/// The first reference at or behind `from`.
fn next(text: &str, from: usize) -> Option<(usize, Form)> {
    FORMS
        .iter()
        .filter_map(|(begin, form)| {
            let mut found = text[from..].match_indices(begin).map(|(at, _)| from + at);
            let at = found.find(|at| match form {
                Form::Token => true,
                Form::Store | Form::File => *at == 0,
                // The end of another word, such as `myvault://`, is no scheme of ours.
                _ => !text[..*at].ends_with(|before: char| {
                    before.is_ascii_alphanumeric() || "+-.".contains(before)
                }),
            })?;
            Some((at, *form))
        })
        .min_by_key(|(at, _)| *at)
}

impl Resolver {
    /// Replaces the references of a text; `None` when it has none.
    pub fn substitute(&mut self, text: &str) -> Option<Substitution> {
        if !may_refer(text) {
            return None;
        }
        let mut whole = String::new();
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        let mut done = 0;
        while let Some((at, form)) = next(text, done) {
            whole.push_str(&text[done..at]);
            let (length, value) = self.found(&text[at..], form);
            let reference = text[at..at + length].to_owned();
            done = at + length;
            match value {
                Ok(secret) => {
                    self.last.insert(reference.clone(), secret.clone());
                    whole.push_str(secret.reveal());
                    values.push((reference, secret));
                }
                Err(error) => {
                    self.away |= error.is_passing();
                    let kept = match error.is_passing() {
                        true => self.last.get(&reference).cloned(),
                        false => None,
                    };
                    problems.push(Problem {
                        reference: reference.clone(),
                        error,
                        kept: kept.is_some(),
                    });
                    match kept {
                        Some(secret) => {
                            whole.push_str(secret.reveal());
                            values.push((reference, secret));
                        }
                        None => whole.push_str(&reference),
                    }
                }
            }
        }
        if values.is_empty() && problems.is_empty() {
            return None;
        }
        whole.push_str(&text[done..]);
        Some(Substitution {
            text: Secret::new(whole),
            values,
            problems,
        })
    }

    /// How long the reference at the beginning of `text` is, and its value.
    fn found(&mut self, text: &str, form: Form) -> (usize, Result<Secret, ReferenceError>) {
        let begin = FORMS
            .iter()
            .find(|(_, of)| *of == form)
            .map_or(0, |(begin, _)| begin.len());
        let rest = &text[begin..];
        match form {
            Form::Token => match rest.find('}') {
                Some(end) => (begin + end + 1, self.token(&rest[..end])),
                None => {
                    let wanted = "$kv{STORE:PATH}";
                    (text.len(), Err(ReferenceError::Form { wanted }))
                }
            },
            Form::Store => (text.len(), self.of_store(rest)),
            Form::File => (text.len(), self.file_of_definition(rest)),
            Form::Variable => (text.len(), self.variable_of_definition(rest)),
            Form::Secret => {
                let names = self
                    .references
                    .secrets
                    .iter()
                    .map(|(name, _)| name.as_str());
                match longest(names, rest) {
                    Some(name) => (begin + name.len(), self.secret(name)),
                    None => (text.len(), self.secret(rest)),
                }
            }
            Form::Consul => match self.consul_names() {
                Ok(known) => match longest(known.iter().map(|(name, _)| name.as_str()), rest) {
                    Some(name) => {
                        let value = known.iter().find(|(known, _)| known == name);
                        let value = value
                            .map(|(_, value)| value.clone())
                            .ok_or(ReferenceError::Empty);
                        (begin + name.len(), value)
                    }
                    None => (text.len(), Err(no_entry("Consul under tyk-apis", rest))),
                },
                Err(error) => (self.remembered(text, "consul://"), Err(error)),
            },
            Form::Vault => match self.vault_names() {
                Ok(known) => match longest(known.keys().map(String::as_str), rest) {
                    // A name may go on with a dot into the value, which is an object then.
                    Some(name)
                        if !(rest[name.len()..].starts_with('.') && known[name].is_object()) =>
                    {
                        let value = at_dots(&known, name).ok_or(ReferenceError::Empty);
                        (begin + name.len(), value)
                    }
                    _ => {
                        let value = at_dots(&known, rest);
                        let value = value.ok_or_else(|| no_entry("Vault at secret/tyk-apis", rest));
                        (text.len(), value)
                    }
                },
                Err(error) => (self.remembered(text, "vault://"), Err(error)),
            },
        }
    }

    /// How long the reference is that once had a value here; all of the text when none had.
    fn remembered(&self, text: &str, scheme: &str) -> usize {
        let known = self.last.keys().map(String::as_str);
        let of_scheme = known.filter(|reference| reference.starts_with(scheme));
        longest(of_scheme, text).map_or(text.len(), str::len)
    }
}

fn no_entry(store: &str, name: &str) -> ReferenceError {
    ReferenceError::NoEntry {
        store: store.to_owned(),
        name: name.to_owned(),
    }
}

/// The longest of the names that `text` begins with.
fn longest<'a>(names: impl Iterator<Item = &'a str>, text: &'a str) -> Option<&'a str> {
    names
        .filter(|name| !name.is_empty() && text.starts_with(name))
        .map(|name| &text[..name.len()])
        .max_by_key(|name| name.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::paths::BasePaths;
    use crate::references::References;
    use crate::references::settings::{Store, StoreKind};

    fn resolver(root: &Path) -> Resolver {
        let inline = StoreKind::Inline(vec![
            ("token".to_owned(), Secret::new("xyz")),
            (
                "db".to_owned(),
                Secret::new(r#"{"user": "me", "hosts": ["a", "b"]}"#),
            ),
        ]);
        let references = References {
            secrets: vec![
                ("key".to_owned(), Secret::new("short")),
                ("keys".to_owned(), Secret::new("long")),
            ],
            file_base: Some(root.to_owned()),
            vault: Default::default(),
            consul: Default::default(),
            stores: vec![Store {
                name: "mine".to_owned(),
                required: false,
                kind: inline,
            }],
        };
        let base = BasePaths {
            working_dir: root.to_owned(),
            config_dir: root.to_owned(),
        };
        Resolver::new(references, base, |name| match name {
            "UPSTREAM" => Some("http://up".to_owned()),
            "TYK_SECRET_OTHER" => Some("http://other".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    fn replaced(text: &str) -> Option<String> {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::write(root.path().join("a.pem"), "line 1\nline 2\n\n").expect("file");
        let substitution = resolver(root.path()).substitute(text)?;
        Some(substitution.text.reveal().to_owned())
    }

    #[test]
    fn every_form_is_replaced_where_it_may_stand() {
        for (text, expected) in [
            ("env://UPSTREAM", "http://up"),
            ("env://other", "http://other"),
            ("Bearer secrets://keys!", "Bearer long!"),
            ("secrets://key", "short"),
            ("secrets://key,secrets://keys", "short,long"),
            ("file://a.pem", "line 1\nline 2"),
            ("kv://mine/token", "xyz"),
            ("kv://env/OTHER", "http://other"),
            ("kv://mine/db#user", "me"),
            ("kv://mine/db#hosts/1", "b"),
            (
                "https://h/?a=$kv{mine:token}&b=$kv{mine:db#user}",
                "https://h/?a=xyz&b=me",
            ),
        ] {
            assert_eq!(replaced(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "plain",
            "https://h/",
            "myenv://UPSTREAM",
            "see kv://mine/token",
            "a file://a.pem",
        ] {
            assert_eq!(replaced(text), None, "{text}");
        }
    }

    #[test]
    fn what_has_no_value_stays_as_it_is_and_is_reported() {
        let root = tempfile::tempdir().expect("temporary directory");
        let mut resolver = resolver(root.path());
        for (text, reason) in [
            ("env://EMPTY", "something empty"),
            ("env://MISSING", "MISSING, which is not set"),
            ("secrets://nothing", "`nothing`"),
            ("file:///etc/hostname", "outside `kv.file.base_path`"),
            ("file://../x", "outside `kv.file.base_path`"),
            ("kv://none/x", "store `none`"),
            ("kv://mine", "kv://STORE/PATH"),
            ("kv://mine/db#none", "field `none`"),
            ("$kv{mine:none}", "`none`"),
            ("$kv{mine", "$kv{STORE:PATH}"),
        ] {
            let substitution = resolver.substitute(text).expect("a reference");
            assert_eq!(substitution.text.reveal(), text);
            let told = substitution.problems[0].to_string();
            assert!(
                told.contains(reason) && told.contains("as it is written"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        let root = tempfile::tempdir().expect("temporary directory");
        let mut resolver = resolver(root.path());
        resolver
            .references
            .secrets
            .push(("loop".to_owned(), Secret::new("secrets://loop")));
        let substitution = resolver.substitute("secrets://loop").expect("a reference");
        assert_eq!(substitution.text.reveal(), "secrets://loop");
        assert_eq!(substitution.problems, []);
    }
}
