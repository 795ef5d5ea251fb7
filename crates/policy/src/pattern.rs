//! Path patterns of endpoints as regular expressions.

/// A path pattern with `{name}` for one segment as a regular expression.
#[must_use]
pub fn path_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len() + 16);
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        pattern.push_str(before);
        match after.split_once('}') {
            // `{2,3}` is a repetition.
            Some((name, tail)) if !name.starts_with(|first: char| first.is_ascii_digit()) => {
                pattern.push_str("[^/]+");
                rest = tail;
            }
            _ => {
                pattern.push('{');
                rest = after;
            }
        }
    }
    pattern + rest
}
