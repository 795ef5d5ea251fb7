//! Text with `{name}` and `{name:regex}` parts, as custom domains and listen paths have it.
//!
//! Invariants:
//! - A custom expression is compiled alone before it is placed into a larger one, so it can
//!   neither close a group it did not open nor capture.
//! - Compiled size is bounded; matching is linear in the text, whatever the expression.

use regex::bytes::{Regex, RegexBuilder};

/// Why a `{name:regex}` text is not usable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// Braces do not pair up.
    #[error("`{text}` has unbalanced braces")]
    Unbalanced {
        /// The whole text.
        text: String,
    },
    /// `{}`, `{:regex}` or `{name:}`.
    #[error(
        "`{text}` has braces without a name or without an expression; write {{name}} or {{name:regex}}"
    )]
    Incomplete {
        /// The whole text.
        text: String,
    },
    /// A capturing group inside the expression.
    #[error("the expression `{expression}` captures; write (?:…) instead of (…)")]
    Captures {
        /// The expression inside the braces.
        expression: String,
    },
    /// Not a regular expression, or too large.
    #[error("the expression `{expression}` does not compile")]
    Expression {
        /// The expression inside the braces.
        expression: String,
        /// What the compiler says.
        #[source]
        source: regex::Error,
    },
}

/// A parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    /// `None`: a bare `{name}`.
    Parameter(Option<String>),
}

/// How far an expression reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It matches the start of the text.
    Prefix,
    /// It matches the whole text.
    Whole,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut pieces = Vec::new();
        let (mut depth, mut start) = (0_usize, 0);
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'{' => {
                    depth += 1;
                    if depth == 1 {
                        push_literal(&mut pieces, &text[start..at]);
                        start = at + 1;
                    }
                }
                b'}' if depth == 0 => return Err(PatternError::Unbalanced { text: text.into() }),
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        pieces.push(parameter(text, &text[start..at])?);
                        start = at + 1;
                    }
                }
                _ => {}
            }
        }
        if depth > 0 {
            return Err(PatternError::Unbalanced { text: text.into() });
        }
        push_literal(&mut pieces, &text[start..]);
        Ok(Self { pieces })
    }

    /// The literal text before the first parameter.
    pub(crate) fn head(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// The expression of the whole template, unanchored. `bare` stands for a bare `{name}`,
    /// `literal` turns a literal piece into the bytes to be matched.
    pub(crate) fn expression(&self, bare: &str, literal: impl Fn(&str) -> String) -> String {
        let mut expression = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => expression.push_str(&literal(text)),
                Piece::Parameter(None) => expression.push_str(bare),
                Piece::Parameter(Some(custom)) => {
                    expression.push_str("(?:");
                    expression.push_str(custom);
                    expression.push(')');
                }
            }
        }
        expression
    }

    /// Whether some custom expression, or a literal, holds `byte`.
    pub(crate) fn mentions(&self, byte: char) -> bool {
        self.pieces.iter().any(|piece| match piece {
            Piece::Literal(text) | Piece::Parameter(Some(text)) => text.contains(byte),
            Piece::Parameter(None) => false,
        })
    }
}

/// Compiles `expression` anchored as `extent` says.
pub(crate) fn compile(expression: &str, extent: Extent) -> Result<Regex, PatternError> {
    compile_search(&anchored(expression, extent))
}

/// Compiles `expression` to be found anywhere in a text.
pub(crate) fn compile_search(expression: &str) -> Result<Regex, PatternError> {
    builder(expression)
        .build()
        .map_err(|source| PatternError::Expression {
            expression: expression.to_owned(),
            source,
        })
}

/// `expression` with anchors; `\A` and `\z` hold whatever flags the expression sets.
pub(crate) fn anchored(expression: &str, extent: Extent) -> String {
    match extent {
        Extent::Prefix => format!(r"\A(?:{expression})"),
        Extent::Whole => format!(r"\A(?:{expression})\z"),
    }
}

/// Memory one compiled expression may take. Unicode classes with large repetitions are the
/// only legitimate ones that come near.
const COMPILED_SIZE: usize = 4 << 20;

fn builder(expression: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(expression);
    builder
        .size_limit(COMPILED_SIZE)
        .dfa_size_limit(COMPILED_SIZE / 4)
        .nest_limit(64);
    builder
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.to_owned()));
    }
}

fn parameter(text: &str, inside: &str) -> Result<Piece, PatternError> {
    let (name, expression) = match inside.split_once(':') {
        Some((name, expression)) => (name, Some(expression)),
        None => (inside, None),
    };
    if name.is_empty() || expression == Some("") {
        return Err(PatternError::Incomplete {
            text: text.to_owned(),
        });
    }
    let Some(expression) = expression else {
        return Ok(Piece::Parameter(None));
    };
    let alone = compile_search(expression)?;
    if alone.captures_len() > 1 {
        return Err(PatternError::Captures {
            expression: expression.to_owned(),
        });
    }
    Ok(Piece::Parameter(Some(expression.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_split_a_text_and_may_nest_inside_an_expression() {
        let template = Template::parse("/a/{id}/{n:[0-9]{2,3}}x").expect("parses");
        assert_eq!(
            template.pieces,
            [
                Piece::Literal("/a/".into()),
                Piece::Parameter(None),
                Piece::Literal("/".into()),
                Piece::Parameter(Some("[0-9]{2,3}".into())),
                Piece::Literal("x".into()),
            ]
        );
    }

    #[test]
    fn unusable_templates_name_what_is_wrong() {
        let problem = |text: &str| Template::parse(text).expect_err(text);
        assert!(matches!(problem("/a/{id"), PatternError::Unbalanced { .. }));
        assert!(matches!(problem("/a/}"), PatternError::Unbalanced { .. }));
        assert!(matches!(problem("/{}"), PatternError::Incomplete { .. }));
        assert!(matches!(problem("/{:x}"), PatternError::Incomplete { .. }));
        assert!(matches!(problem("/{x:}"), PatternError::Incomplete { .. }));
        assert!(matches!(problem("/{x:(a)}"), PatternError::Captures { .. }));
        assert!(matches!(problem("/{x:[}"), PatternError::Expression { .. }));
        assert!(matches!(
            problem("/{x:a)|(?:b}"),
            PatternError::Expression { .. }
        ));
        assert!(matches!(
            problem(r"/{x:(?:\w{900}){900}}"),
            PatternError::Expression { .. }
        ));
    }
}
