//! Which members a definition may have.
//!
//! Two jobs in one walk over a freshly parsed tree: members are given their canonical
//! spelling, because Go reads `Use_Keyless` and `use_keyless` alike and a protection must not
//! be lost over a capital letter; and members nobody knows are reported with the nearest
//! known name. Objects whose members are free (headers, domain maps) or belong to a feature
//! that is named as a whole are not looked into.
//!
//! Invariant: the tables are sorted, a test holds them to it.

use serde_json::{Map, Value};

use crate::report::{DefinitionError, ErrorKind, Report};

/// The members of one kind of object.
pub(crate) struct Shape {
    /// Members whose content is not looked into.
    pub(crate) leaves: &'static [&'static str],
    /// Members with a shape of their own.
    pub(crate) inner: &'static [(&'static str, Inner)],
    /// Members starting with this are somebody else's extension and never reported.
    pub(crate) foreign: &'static [&'static str],
}

/// How a member's content relates to a shape.
pub(crate) enum Inner {
    /// An object.
    Object(&'static Shape),
    /// A list of objects.
    List(&'static Shape),
    /// An object with free names, each an object.
    Map(&'static Shape),
    /// An object with free names, each a list of objects.
    MapOfLists(&'static Shape),
}

/// Renames members to their canonical spelling and reports the unknown.
pub(crate) fn canonicalise(value: &mut Value, shape: &'static Shape, report: &Report) {
    walk(value, shape, &mut Vec::new(), report);
}

/// The known name most like `name`, when one is close enough to be a slip.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    known
        .map(|k| (distance(&name.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= allowed)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

fn walk(value: &mut Value, shape: &'static Shape, path: &mut Vec<String>, report: &Report) {
    let Value::Object(object) = value else { return };
    if object.keys().any(|k| shape.canonical(k) != Some(k)) {
        respell(object, shape, path, report);
    }
    for (name, inner) in shape.inner {
        let Some(member) = object.get_mut(*name) else {
            continue;
        };
        path.push((*name).to_owned());
        match (inner, member) {
            (Inner::Object(shape), member) => walk(member, shape, path, report),
            (Inner::List(shape), Value::Array(list)) => walk_list(list, shape, path, report),
            (Inner::Map(shape), Value::Object(map)) => {
                for (key, element) in map.iter_mut() {
                    path.push(key.clone());
                    walk(element, shape, path, report);
                    path.pop();
                }
            }
            (Inner::MapOfLists(shape), Value::Object(map)) => {
                for (key, element) in map.iter_mut() {
                    let Value::Array(list) = element else {
                        continue;
                    };
                    path.push(key.clone());
                    walk_list(list, shape, path, report);
                    path.pop();
                }
            }
            _ => {} // the reader complains about the type
        }
        path.pop();
    }
}

fn walk_list(list: &mut [Value], shape: &'static Shape, path: &mut Vec<String>, report: &Report) {
    for (i, element) in list.iter_mut().enumerate() {
        path.push(format!("[{i}]"));
        walk(element, shape, path, report);
        path.pop();
    }
}

fn respell(
    object: &mut Map<String, Value>,
    shape: &'static Shape,
    path: &[String],
    report: &Report,
) {
    for (name, value) in std::mem::take(object) {
        let canonical = match shape.canonical(&name) {
            Some(canonical) => canonical,
            None => {
                if !shape.foreign.iter().any(|prefix| name.starts_with(prefix)) {
                    report.unknown(joined(path, &name), nearest(&name, shape.names()));
                }
                &name
            }
        };
        if object.contains_key(canonical) {
            report.error(DefinitionError {
                path: joined(path, canonical),
                problem: "given twice, in spellings that differ in case only".to_owned(),
                accepted: String::new(),
                hint: format!("keep the one spelled `{canonical}`"),
                kind: ErrorKind::Unreadable,
            });
        }
        object.insert(canonical.to_owned(), value);
    }
}

fn joined(path: &[String], name: &str) -> String {
    let mut text = String::new();
    for step in path.iter().map(String::as_str).chain([name]) {
        if !text.is_empty() && !step.starts_with('[') {
            text.push('.');
        }
        text.push_str(step);
    }
    text
}

impl Shape {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.leaves
            .iter()
            .copied()
            .chain(self.inner.iter().map(|(name, _)| *name))
    }

    fn canonical<'a>(&'static self, name: &'a str) -> Option<&'a str>
    where
        'static: 'a,
    {
        if self.leaves.binary_search(&name).is_ok() || self.inner.iter().any(|(n, _)| *n == name) {
            return Some(name);
        }
        self.names().find(|known| known.eq_ignore_ascii_case(name))
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_sorted(shape: &'static Shape, seen: &mut Vec<*const Shape>) {
        if seen.contains(&std::ptr::from_ref(shape)) {
            return;
        }
        seen.push(shape);
        assert!(shape.leaves.is_sorted(), "not sorted: {:?}", shape.leaves);
        for (_, inner) in shape.inner {
            match inner {
                Inner::Object(s) | Inner::List(s) | Inner::Map(s) | Inner::MapOfLists(s) => {
                    check_sorted(s, seen);
                }
            }
        }
    }

    #[test]
    fn the_tables_are_sorted() {
        check_sorted(&crate::classic::members::ROOT, &mut Vec::new());
        check_sorted(&crate::oas::members::ROOT, &mut Vec::new());
        check_sorted(&crate::session::SESSION, &mut Vec::new());
        check_sorted(&crate::policies::POLICY, &mut Vec::new());
    }

    fn undocumented(shape: &'static Shape, page: &str, missing: &mut Vec<&'static str>) {
        let word = |c: char| c.is_alphanumeric() || "_-".contains(c);
        // Key paths stand in code marks, whole or cut at a dot.
        let named = page
            .split('`')
            .skip(1)
            .step_by(2)
            .flat_map(|code| code.split(|c| !word(c)));
        let named: std::collections::HashSet<&str> = named.collect();
        missing.extend(shape.names().filter(|name| !named.contains(name)));
        for (_, inner) in shape.inner {
            match inner {
                Inner::Object(s) | Inner::List(s) | Inner::Map(s) | Inner::MapOfLists(s) => {
                    undocumented(s, page, missing);
                }
            }
        }
    }

    #[test]
    fn every_known_member_is_on_a_documentation_page() {
        // The second and third tell what the first leads to.
        let pages = [
            include_str!("../../../docs/api-definitions.md"),
            include_str!("../../../docs/authentication.md"),
            include_str!("../../../docs/upstream-auth.md"),
        ];
        // Fenced examples would shift the pairs of code marks.
        let page: String = pages
            .iter()
            .flat_map(|page| page.split("```").step_by(2))
            .collect();
        let mut missing = Vec::new();
        undocumented(&crate::classic::members::ROOT, &page, &mut missing);
        undocumented(&crate::oas::members::ROOT, &page, &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name_and_a_stranger_with_none() {
        let known = ["listen_path", "target_url"];
        assert_eq!(
            nearest("listenpath", known.into_iter()),
            Some("listen_path")
        );
        assert_eq!(nearest("tagret_url", known.into_iter()), Some("target_url"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }

    #[test]
    fn capital_letters_do_not_lose_a_member_and_two_spellings_are_an_error() {
        let report = Report::default();
        let mut value = json!({"Use_Keyless": true, "PROXY": {"Listen_Path": "/a/"}});
        canonicalise(&mut value, &crate::classic::members::ROOT, &report);
        assert_eq!(
            value,
            json!({"use_keyless": true, "proxy": {"listen_path": "/a/"}})
        );
        assert_eq!(report.finish(), Ok(vec![]));

        let report = Report::default();
        let mut value = json!({"use_keyless": false, "Use_Keyless": true});
        canonicalise(&mut value, &crate::classic::members::ROOT, &report);
        assert_eq!(report.finish().unwrap_err()[0].path, "use_keyless");
    }
}
