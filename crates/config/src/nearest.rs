//! "Did you mean": the known name closest to an unknown one.

/// The candidate with the fewest edits, when it is close enough to be meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // No key is as long, and the comparison costs the product of both lengths.
    if name.len() > 100 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    // A third of the letters may differ; more is guessing.
    let limit = (name.len() / 3).max(1);
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key_and_nonsense_finds_nothing() {
        let known = ["listen_port", "listen_address", "secret"];
        let find = |name| nearest(name, known.into_iter());
        assert_eq!(find("listn_port"), Some("listen_port"));
        assert_eq!(find("Secert"), Some("secret"));
        assert_eq!(find("_comment"), None);
    }
}
