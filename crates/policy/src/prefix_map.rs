//! A map that finds every key that is a prefix of a text.
//!
//! Keys stand sorted and each knows the longest other key that is a prefix of it. One
//! binary search finds the greatest key not above the text, and the chain of prefixes from
//! there holds every answer: all keys between a prefix of the text and the text itself start
//! with that prefix.

/// Values by key.
#[derive(Debug)]
pub(crate) struct PrefixMap<V> {
    /// Sorted by key; no key twice.
    nodes: Vec<Node<V>>,
}

#[derive(Debug)]
struct Node<V> {
    key: Box<[u8]>,
    /// The longest other key that is a prefix of this one.
    parent: Option<u32>,
    value: V,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<V: Default> PrefixMap<V> {
    /// A map of `items`; `add` puts each into the value of its key, in the order given.
    pub(crate) fn build<T>(mut items: Vec<(Vec<u8>, T)>, mut add: impl FnMut(&mut V, T)) -> Self {
        items.sort_by(|(key, _), (other, _)| key.cmp(other));
        let mut nodes: Vec<Node<V>> = Vec::new();
        for (key, item) in items {
            if nodes.last().is_none_or(|node| *node.key != *key) {
                let key = key.into_boxed_slice();
                nodes.push(Node {
                    key,
                    parent: None,
                    value: V::default(),
                });
            }
            add(
                &mut nodes
                    .last_mut()
                    .expect("a node was just made sure of")
                    .value,
                item,
            );
        }
        link_parents(&mut nodes);
        Self { nodes }
    }
}

impl<V> PrefixMap<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.nodes.iter_mut().map(|node| &mut node.value)
    }

    /// Every value whose key is a prefix of `text`, the longest key first, with the length
    /// of its key.
    pub(crate) fn prefixes<'m>(&'m self, text: &[u8]) -> impl Iterator<Item = (usize, &'m V)> {
        let above = self.nodes.partition_point(|node| *node.key <= *text);
        let greatest = above.checked_sub(1);
        let common = greatest.map_or(0, |at| common_prefix(&self.nodes[at].key, text));
        let parent = |at: &usize| self.nodes[*at].parent.map(|parent| parent as usize);
        std::iter::successors(greatest, parent)
            .map(|at| &self.nodes[at])
            .filter(move |node| node.key.len() <= common)
            .map(|node| (node.key.len(), &node.value))
    }
}

/// Sets every node's parent. In sorted order the prefixes of a key that stand before it form
/// a stack.
fn link_parents<V>(nodes: &mut [Node<V>]) {
    let mut prefixes: Vec<usize> = Vec::new();
    for at in 0..nodes.len() {
        while prefixes
            .last()
            .is_some_and(|&top| !nodes[at].key.starts_with(&nodes[top].key))
        {
            prefixes.pop();
        }
        nodes[at].parent = prefixes
            .last()
            .map(|&top| u32::try_from(top).expect("fewer than 2^32 keys"));
        prefixes.push(at);
    }
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_a_prefix_is_found_longest_first() {
        let keys = ["", "a", "ab", "abc", "abd", "b", "ac/", "ab"];
        let items = keys
            .iter()
            .map(|key| (key.as_bytes().to_vec(), *key))
            .collect();
        let map: PrefixMap<Vec<&str>> = PrefixMap::build(items, Vec::push);
        let found = |text: &str| -> Vec<&str> {
            map.prefixes(text.as_bytes())
                .flat_map(|(_, value)| value.iter().copied())
                .collect()
        };
        assert_eq!(found("abcx"), ["abc", "ab", "ab", "a", ""]);
        assert_eq!(found("abcc"), ["abc", "ab", "ab", "a", ""]);
        assert_eq!(found("abz"), ["ab", "ab", "a", ""]);
        assert_eq!(found("ac"), ["a", ""]);
        assert_eq!(found("zz"), [""]);
        assert_eq!(found(""), [""]);
    }
}
