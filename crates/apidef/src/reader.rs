//! Typed reading of a JSON tree with key paths in every complaint.
//!
//! A [`Node`] is a place in the tree, present or not. Asking an absent place gives the
//! neutral value of the type, like Go's decoder does, because definitions are written for
//! that. A present value of the wrong type is reported and then treated as absent; the
//! report makes the whole definition unusable, so the neutral value never takes effect.

use serde_json::Value;

use crate::json::kind_of;
use crate::report::{DefinitionError, ErrorKind, Report};

/// A place in a definition.
#[derive(Clone, Copy)]
pub(crate) struct Node<'p, 'v> {
    parent: Option<&'p Node<'p, 'v>>,
    step: Step<'v>,
    /// `None` when absent or `null`.
    value: Option<&'v Value>,
    report: &'p Report,
}

#[derive(Clone, Copy)]
enum Step<'v> {
    Member(&'v str),
    Index(usize),
}

impl<'p, 'v> Node<'p, 'v> {
    pub(crate) fn root(value: &'v Value, report: &'p Report) -> Self {
        let node = Self {
            parent: None,
            step: Step::Member(""),
            value: Some(value),
            report,
        };
        if !value.is_object() {
            node.wrong_type("an object");
            return Self {
                value: None,
                ..node
            };
        }
        node
    }

    /// The member `name` of this object.
    pub(crate) fn at<'c>(&'c self, name: &'v str) -> Node<'c, 'v> {
        let value = self.object().and_then(|o| o.get(name));
        self.child(Step::Member(name), value)
    }

    /// Every element of this list.
    pub(crate) fn elements<'c>(&'c self) -> impl Iterator<Item = Node<'c, 'v>> {
        let list = match self.value {
            Some(Value::Array(list)) => list.as_slice(),
            Some(_) => {
                self.wrong_type("a list");
                &[]
            }
            None => &[],
        };
        list.iter()
            .enumerate()
            .map(|(i, v)| self.child(Step::Index(i), Some(v)))
    }

    /// Every member of this object.
    pub(crate) fn members<'c>(&'c self) -> impl Iterator<Item = (&'v str, Node<'c, 'v>)> {
        self.object()
            .into_iter()
            .flatten()
            .map(|(name, v)| (name.as_str(), self.child(Step::Member(name), Some(v))))
    }

    pub(crate) fn is_present(&self) -> bool {
        self.value.is_some()
    }

    /// Absent, `false`, zero, empty text, empty list or empty object.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Bool(true)) => false,
            Some(Value::Number(n)) => n.as_f64() == Some(0.0),
            Some(Value::String(s)) => s.is_empty(),
            Some(Value::Array(a)) => a.is_empty(),
            Some(Value::Object(o)) => o.is_empty(),
        }
    }

    pub(crate) fn bool(&self) -> bool {
        self.bool_or(false)
    }

    pub(crate) fn bool_or(&self, absent: bool) -> bool {
        match self.value {
            Some(Value::Bool(b)) => *b,
            Some(_) => {
                self.wrong_type("a boolean");
                absent
            }
            None => absent,
        }
    }

    pub(crate) fn string(&self) -> &'v str {
        match self.value {
            Some(Value::String(s)) => s,
            Some(_) => {
                self.wrong_type("a string");
                ""
            }
            None => "",
        }
    }

    pub(crate) fn strings(&self) -> Vec<String> {
        self.elements().map(|e| e.string().to_owned()).collect()
    }

    /// The members of an object of texts.
    pub(crate) fn text_members(&self) -> Vec<(&'v str, &'v str)> {
        self.members()
            .map(|(name, node)| (name, node.string()))
            .collect()
    }

    /// A whole number within `range`, else `None`.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        match self.value? {
            Value::Number(n) => match n.as_i64() {
                Some(i) if range.contains(&i) => Some(i),
                _ => {
                    self.error(
                        format!("{n} is out of range"),
                        format!("a whole number from {} to {}", range.start(), range.end()),
                        "",
                    );
                    None
                }
            },
            _ => {
                self.wrong_type("a number");
                None
            }
        }
    }

    pub(crate) fn number(&self) -> f64 {
        match self.value {
            Some(Value::Number(n)) => n.as_f64().unwrap_or(0.0),
            Some(_) => {
                self.wrong_type("a number");
                0.0
            }
            None => 0.0,
        }
    }

    /// The value as it stands.
    pub(crate) fn value(&self) -> Option<&'v Value> {
        self.value
    }

    /// Switched on like an extra: `enabled` must say so.
    pub(crate) fn is_enabled(&self) -> bool {
        self.at("enabled").bool()
    }

    /// Switched on like a protection: present, and `enabled` does not say otherwise. A
    /// protection written down without its switch is rather too many than one too few.
    pub(crate) fn is_not_disabled(&self) -> bool {
        self.is_present() && self.at("enabled").bool_or(true)
    }

    pub(crate) fn error(
        &self,
        problem: impl Into<String>,
        accepted: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.report.error(DefinitionError {
            path: self.path(),
            problem: problem.into(),
            accepted: accepted.into(),
            hint: hint.into(),
            kind: ErrorKind::Invalid,
        });
    }

    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.report.warn(self.path(), message);
    }

    /// The key path as a reader would write it.
    pub(crate) fn path(&self) -> String {
        match (self.parent, self.step) {
            (None, _) => "definition".to_owned(),
            (Some(parent), Step::Index(i)) => format!("{}[{i}]", parent.path()),
            (Some(parent), Step::Member(name)) if parent.parent.is_none() => name.to_owned(),
            (Some(parent), Step::Member(name)) => format!("{}.{name}", parent.path()),
        }
    }

    fn object(&self) -> Option<&'v serde_json::Map<String, Value>> {
        match self.value {
            Some(Value::Object(o)) => Some(o),
            Some(_) => {
                self.wrong_type("an object");
                None
            }
            None => None,
        }
    }

    fn child<'c>(&'c self, step: Step<'v>, value: Option<&'v Value>) -> Node<'c, 'v> {
        let value = value.filter(|v| !v.is_null());
        Node {
            parent: Some(self),
            step,
            value,
            report: self.report,
        }
    }

    fn wrong_type(&self, expected: &str) {
        let found = self.value.map_or("nothing", kind_of);
        let root = self.parent.is_none();
        self.report.error(DefinitionError {
            path: self.path(),
            problem: format!("expected {expected}, found {found}"),
            accepted: String::new(),
            hint: String::new(),
            kind: if root {
                ErrorKind::Unreadable
            } else {
                ErrorKind::WrongType
            },
        });
    }
}
