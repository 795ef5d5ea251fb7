//! Every value of a run, by scene, peer and round, and what follows from them.

use std::collections::BTreeMap;

use crate::measure::{Measure, Verdict};
use crate::peer::OURS;
use crate::scene::{DISTURBANCE, Scene};

/// Values of all rounds so far. A scene in which a peer failed once has no numbers for it.
#[derive(Default)]
pub(crate) struct Record {
    rounds: BTreeMap<(&'static str, &'static str), Vec<Vec<f64>>>,
    failures: BTreeMap<(&'static str, &'static str), Vec<String>>,
}

/// The middle of the values and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Median {
    pub(crate) value: f64,
    /// Half the distance from the least to the greatest, as a share of the median.
    pub(crate) spread: f64,
}

impl Record {
    /// Keeps one round's values, in the order of the scene's measures.
    pub(crate) fn keep(&mut self, scene: &dyn Scene, peer: &'static str, values: Vec<f64>) {
        self.rounds
            .entry((scene.name(), peer))
            .or_default()
            .push(values);
    }

    /// Keeps why a round has no values.
    pub(crate) fn fail(&mut self, scene: &dyn Scene, peer: &'static str, why: String) {
        self.failures
            .entry((scene.name(), peer))
            .or_default()
            .push(why);
    }

    /// Whether anything failed.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Every failure as (scene, peer, reason).
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        self.failures.iter().flat_map(|((scene, peer), reasons)| {
            reasons.iter().map(|why| (*scene, *peer, why.as_str()))
        })
    }

    /// Whether this peer failed in this scene, in any round.
    pub(crate) fn failed(&self, scene: &dyn Scene, peer: &'static str) -> bool {
        self.failures.contains_key(&(scene.name(), peer))
    }

    /// One measure's value in each round; empty when the peer did not take part or failed.
    pub(crate) fn values(&self, scene: &dyn Scene, measure: usize, peer: &'static str) -> Vec<f64> {
        if self.failed(scene, peer) {
            return Vec::new();
        }
        self.rounds
            .get(&(scene.name(), peer))
            .into_iter()
            .flatten()
            .filter_map(|values| values.get(measure).copied())
            .collect()
    }

    /// The most that others used of a core, in percent, in any round of these scenes.
    pub(crate) fn worst_disturbance(&self, scenes: &[Box<dyn Scene>]) -> Option<f64> {
        let values = scenes.iter().filter_map(|scene| {
            let index = scene
                .measures()
                .iter()
                .position(|measure| measure.key == DISTURBANCE)?;
            self.rounds
                .iter()
                .filter(|((name, _), _)| *name == scene.name())
                .flat_map(|(_, rounds)| rounds)
                .filter_map(|values| values.get(index).copied())
                .max_by(f64::total_cmp)
        });
        values.max_by(f64::total_cmp)
    }

    /// The median of one measure.
    pub(crate) fn median(
        &self,
        scene: &dyn Scene,
        measure: usize,
        peer: &'static str,
    ) -> Option<Median> {
        median(self.values(scene, measure, peer))
    }

    /// How often a peer's cost is ours. `None` for ours itself and where one of both is missing.
    pub(crate) fn times_ours(
        &self,
        scene: &dyn Scene,
        measure: usize,
        peer: &'static str,
    ) -> Option<f64> {
        if peer == OURS || !scene.measures()[measure].compared {
            return None;
        }
        let ours = self.median(scene, measure, OURS)?.value;
        Some(self.median(scene, measure, peer)?.value / ours)
    }

    /// What became of the goals of one measure. Empty when ours was not measured.
    pub(crate) fn verdicts(
        &self,
        scene: &dyn Scene,
        measure: usize,
        peers: &[&'static str],
    ) -> Vec<Verdict> {
        let Some(ours) = self.median(scene, measure, OURS) else {
            return Vec::new();
        };
        let others: Vec<_> = peers
            .iter()
            .filter(|peer| **peer != OURS)
            .filter_map(|peer| Some((*peer, self.median(scene, measure, peer)?.value)))
            .collect();
        let Measure { goals, .. } = &scene.measures()[measure];
        goals
            .iter()
            .filter_map(|goal| goal.judge(ours.value, &others))
            .collect()
    }
}

fn median(mut values: Vec<f64>) -> Option<Median> {
    values.sort_by(f64::total_cmp);
    let (least, greatest) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let value = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Median {
        value,
        spread: (greatest - least) / 2.0 / value.abs().max(f64::MIN_POSITIVE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_between_the_middle_values() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]).unwrap().value, 2.0);
        let even = median(vec![8.0, 4.0, 12.0, 16.0]).unwrap();
        assert_eq!((even.value, even.spread), (10.0, 0.6));
    }

    #[test]
    fn a_peer_that_failed_in_one_round_has_no_number_at_all() {
        let scene = &*crate::scene::all()[0];
        let mut record = Record::default();
        record.keep(scene, "nginx", vec![16.0, 1.0, 1.0, 1.0]);
        assert_eq!(record.values(scene, 0, "nginx"), [16.0]);
        record.fail(scene, "nginx", "the status is 502".into());
        assert!(record.values(scene, 0, "nginx").is_empty());
        assert!(record.median(scene, 0, "nginx").is_none());
    }
}
