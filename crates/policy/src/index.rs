//! Finds, among thousands of listen paths, those that are a prefix of a path.
//!
//! A listen path is a literal head and a tail; heads are the keys of a [`PrefixMap`].
//!
//! A bare `{name}` that ends a segment takes exactly that segment, so what follows it is
//! another index, not an expression. Only custom expressions are tried one by one, and only
//! those whose head fits.
//!
//! Ranks order the listen paths: the lowest that matches wins.

use regex::bytes::Regex;

use crate::path::strict_reading;
use crate::prefix_map::PrefixMap;
use crate::template::{Extent, PatternError, Piece, Template, compile};

/// A listen path ready for an index.
#[derive(Debug)]
pub(crate) struct Shape {
    head: Vec<u8>,
    tail: Tail,
}

#[derive(Debug)]
enum Tail {
    /// The listen path ends here.
    End,
    /// A bare parameter takes the rest of the segment; then the listen path ends or goes on.
    Segment(Option<Box<Shape>>),
    /// An expression decides, matched from the start of the path.
    Expression(Regex),
}

/// A match: which rank, and how many bytes of the path it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) rank: u32,
    pub(crate) len: usize,
}

/// Listen paths by prefix.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    heads: PrefixMap<Tails>,
}

/// What may follow one head.
#[derive(Debug, Default)]
struct Tails {
    /// The listen path that is the head and nothing else.
    end: Option<u32>,
    segment: Option<Box<AfterSegment>>,
    /// By ascending rank.
    expressions: Vec<(u32, Regex)>,
}

#[derive(Debug, Default)]
struct AfterSegment {
    end: Option<u32>,
    /// What `rest` is built from, once all are known.
    shapes: Vec<(u32, Shape)>,
    rest: PathIndex,
}

impl Shape {
    /// The shape of a parsed listen path.
    pub(crate) fn of(template: &Template) -> Result<Self, PatternError> {
        if template
            .pieces
            .windows(2)
            .any(|pair| !splits_segments(pair))
            || has_custom(template)
        {
            let expression = template.expression("(?-u:[^/])+", |literal| {
                escape_bytes(&strict_reading(literal))
            });
            let head = strict_reading(template.head()).into_owned();
            let tail = Tail::Expression(compile(&expression, Extent::Prefix)?);
            return Ok(Self { head, tail });
        }
        Ok(Self::of_pieces(&template.pieces))
    }

    /// The shape of a path without parameters.
    pub(crate) fn literal(path: &str) -> Self {
        Self {
            head: strict_reading(path).into_owned(),
            tail: Tail::End,
        }
    }

    fn of_pieces(pieces: &[Piece]) -> Self {
        let (head, rest) = match pieces {
            [Piece::Literal(text), rest @ ..] => (strict_reading(text).into_owned(), rest),
            rest => (Vec::new(), rest),
        };
        let tail = match rest {
            [] => Tail::End,
            [_parameter] => Tail::Segment(None),
            [_parameter, rest @ ..] => Tail::Segment(Some(Box::new(Self::of_pieces(rest)))),
        };
        Self { head, tail }
    }
}

impl PathIndex {
    /// An index of `shapes` by ascending rank. Of two equal shapes the lower rank stays.
    pub(crate) fn build(shapes: Vec<(u32, Shape)>) -> Self {
        let items = shapes
            .into_iter()
            .map(|(rank, shape)| (shape.head, (rank, shape.tail)));
        let mut heads = PrefixMap::build(items.collect(), Tails::add);
        for after in heads
            .values_mut()
            .filter_map(|tails| tails.segment.as_mut())
        {
            after.rest = Self::build(std::mem::take(&mut after.shapes));
        }
        Self { heads }
    }

    /// Lowers `best` to the lowest rank whose listen path is a prefix of `path`.
    pub(crate) fn search(&self, path: &[u8], best: &mut Option<Hit>) {
        self.search_from(path, 0, best);
    }

    fn search_from(&self, path: &[u8], offset: usize, best: &mut Option<Hit>) {
        for (head, tails) in self.heads.prefixes(&path[offset..]) {
            tails.search(path, offset + head, best);
        }
    }
}

impl Tails {
    fn add(&mut self, (rank, tail): (u32, Tail)) {
        match tail {
            Tail::End => self.end = self.end.or(Some(rank)),
            Tail::Segment(None) => {
                let after = self.segment.get_or_insert_default();
                after.end = after.end.or(Some(rank));
            }
            Tail::Segment(Some(rest)) => {
                self.segment
                    .get_or_insert_default()
                    .shapes
                    .push((rank, *rest));
            }
            Tail::Expression(expression) => self.expressions.push((rank, expression)),
        }
    }

    fn search(&self, path: &[u8], end: usize, best: &mut Option<Hit>) {
        if let Some(rank) = self.end {
            improve(best, Hit { rank, len: end });
        }
        if let Some(after) = &self.segment {
            let segment = path[end..].iter().position(|&byte| byte == b'/');
            let len = segment.map_or(path.len(), |segment| end + segment);
            if len > end {
                if let Some(rank) = after.end {
                    improve(best, Hit { rank, len });
                }
                after.rest.search_from(path, len, best);
            }
        }
        for (rank, expression) in &self.expressions {
            if best.is_some_and(|best| best.rank <= *rank) {
                return;
            }
            if let Some(found) = expression.find(path) {
                improve(
                    best,
                    Hit {
                        rank: *rank,
                        len: found.end(),
                    },
                );
                return;
            }
        }
    }
}

fn improve(best: &mut Option<Hit>, hit: Hit) {
    if best.is_none_or(|best| hit.rank < best.rank) {
        *best = Some(hit);
    }
}

/// Whether a bare parameter in `pair` surely ends where its segment ends.
fn splits_segments(pair: &[Piece]) -> bool {
    match pair {
        [Piece::Parameter(_), Piece::Literal(next)] => next.starts_with('/'),
        [Piece::Parameter(_), Piece::Parameter(_)] => false,
        _ => true,
    }
}

fn has_custom(template: &Template) -> bool {
    template
        .pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Parameter(Some(_))))
}

/// `bytes` as an expression that matches exactly them.
fn escape_bytes(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut expression = String::from("(?-u:");
    for &byte in bytes {
        write!(expression, r"\x{byte:02X}").expect("a string takes every write");
    }
    expression.push(')');
    expression
}
