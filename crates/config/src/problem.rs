//! A problem found while reading the configuration, and its one rendering.
//!
//! Invariants: every problem found is kept, not just the first; a value is already redacted
//! when a [`Problem`] is made, so printing one can never show a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, when one line can be named.
        line: Option<usize>,
    },
    /// In an environment variable.
    Env(
        /// Its name.
        String,
    ),
    /// Nowhere: the value is the built-in default, or the problem is about the whole.
    Default,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway starts all the same.
    Warning,
    /// The gateway does not start.
    Error,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it was written.
    pub origin: Origin,
    /// The key it is about, JSON keys joined by dots; empty when it is about the whole file.
    pub key: String,
    /// What was found there, shortened and redacted.
    pub value: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What is accepted there.
    pub accepted: Option<String>,
    /// How to put it right.
    pub hint: Option<String>,
    /// The place in the text with a caret below it, contents masked.
    pub excerpt: Option<String>,
}

/// Everything that keeps a configuration from being used: at least one error, and the warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        origin: Origin,
        key: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            origin,
            key: one_line(key),
            value: None,
            message: message.into(),
            accepted: None,
            hint: None,
            excerpt: None,
        }
    }

    pub(crate) fn error(origin: Origin, key: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, origin, key, message)
    }

    pub(crate) fn warning(origin: Origin, key: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, origin, key, message)
    }

    pub(crate) fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    pub(crate) fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Problems {
    /// Wraps what was found; `None` when nothing in it is an error.
    #[must_use]
    pub fn of(problems: Vec<Problem>) -> Option<Self> {
        problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
            .then_some(Self(problems))
    }

    /// Every problem, in the order found.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
    }
}

/// A key may be anything somebody wrote; it must not break out of its line.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

impl std::error::Error for Problem {}
impl std::error::Error for Problems {}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(formatter, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(formatter, "{}", path.display()),
            Self::Env(name) => write!(formatter, "environment variable {name}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.severity)?;
        if !self.key.is_empty() {
            write!(formatter, "`{}`", self.key)?;
            if let Some(value) = &self.value {
                write!(formatter, " = {value}")?;
            }
            formatter.write_str(": ")?;
        }
        formatter.write_str(&self.message)?;
        if self.origin != Origin::Default {
            write!(formatter, "\n        at: {}", self.origin)?;
        }
        if let Some(excerpt) = &self.excerpt {
            for line in excerpt.lines() {
                write!(formatter, "\n            {line}")?;
            }
        }
        if let Some(accepted) = &self.accepted {
            write!(formatter, "\n  accepted: {accepted}")?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n      hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_what_where_what_is_accepted_and_the_way_out() {
        let problem = Problem::error(
            Origin::File {
                path: "tyk.conf".into(),
                line: Some(3),
            },
            "listen_port",
            "is a text, not a number",
        )
        .value("\"8080\"")
        .accepted("a port from 0 to 65535, as a number")
        .hint("remove the quotes");
        assert_eq!(
            problem.to_string(),
            "error: `listen_port` = \"8080\": is a text, not a number\n        \
             at: tyk.conf:3\n  \
             accepted: a port from 0 to 65535, as a number\n      \
             hint: remove the quotes"
        );
    }

    #[test]
    fn warnings_alone_are_not_a_reason_to_stop() {
        let warning = Problem::warning(Origin::Default, "x", "is unknown");
        assert!(Problems::of(vec![warning.clone()]).is_none());
        let error = Problem::error(Origin::Default, "y", "is wrong");
        let problems = Problems::of(vec![warning, error.clone()]).expect("one is an error");
        assert_eq!(problems.errors().collect::<Vec<_>>(), [&error]);
        assert_eq!(problems.as_slice().len(), 2);
    }
}
