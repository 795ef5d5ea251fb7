//! What is wrong or noteworthy in one definition.
//!
//! Reading a definition never stops at the first mistake: everything found is collected here,
//! so that one look at the output is enough to repair a file.

use std::cell::RefCell;

/// One reason why a definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}{}{}", prefixed("; accepted: ", &self.accepted), prefixed("; ", &self.hint))]
pub struct DefinitionError {
    /// Where: member names joined by dots, list positions in brackets; the document itself
    /// is `definition`.
    pub path: String,
    /// What is wrong, naming the value found where that is safe to print.
    pub problem: String,
    /// What would be right; empty when `problem` says it already.
    pub accepted: String,
    /// How to repair it; may be empty.
    pub hint: String,
    /// What kind of mistake it is.
    pub kind: ErrorKind,
}

/// What kind of mistake a [`DefinitionError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not a JSON or YAML document, or not an object.
    Unreadable,
    /// A member of the wrong type.
    WrongType,
    /// A value that cannot be right.
    Invalid,
}

/// Something worth saying about a definition that is usable all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where, as in [`DefinitionError::path`].
    pub path: String,
    /// What to know, in one sentence without a full stop.
    pub message: String,
    /// A member nobody knows. A strict check treats these as errors.
    pub unknown_member: bool,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects the findings of one definition.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: RefCell<Vec<DefinitionError>>,
    warnings: RefCell<Vec<Warning>>,
}

impl Report {
    /// Adds an error, once per place: a member that is read twice is reported once.
    pub(crate) fn error(&self, error: DefinitionError) {
        let mut errors = self.errors.borrow_mut();
        if !errors
            .iter()
            .any(|e| e.path == error.path && e.problem == error.problem)
        {
            errors.push(error);
        }
    }

    pub(crate) fn warn(&self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning {
            path: path.into(),
            message: message.into(),
            unknown_member: false,
        });
    }

    pub(crate) fn unknown(&self, path: String, nearest: Option<&str>) {
        let message = match nearest {
            Some(name) => format!("unknown member, has no effect; did you mean `{name}`?"),
            None => "unknown member, has no effect".to_owned(),
        };
        self.warnings.borrow_mut().push(Warning {
            path,
            message,
            unknown_member: true,
        });
    }

    /// The warnings when nothing is wrong, else every error.
    pub(crate) fn finish(self) -> Result<Vec<Warning>, Vec<DefinitionError>> {
        let errors = self.errors.into_inner();
        if errors.is_empty() {
            Ok(self.warnings.into_inner())
        } else {
            Err(errors)
        }
    }
}

fn prefixed(prefix: &str, text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("{prefix}{text}")
    }
}
