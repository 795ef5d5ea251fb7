//! What is measured, in which unit, and what Portcullis must reach.

/// One number a scene yields per round. Less is better, except for rates.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Its key in JSON.
    pub(crate) key: &'static str,
    /// Its name in the table, unit included.
    pub(crate) title: &'static str,
    /// Whether the other peers are set in relation to ours.
    pub(crate) compared: bool,
    /// Whether it stands in the table; the rest is in JSON only.
    pub(crate) shown: bool,
    /// What ours must reach.
    pub(crate) goals: &'static [Goal],
}

impl Measure {
    /// A cost: compared among the peers.
    pub(crate) const fn cost(
        key: &'static str,
        title: &'static str,
        goals: &'static [Goal],
    ) -> Self {
        Self {
            key,
            title,
            compared: true,
            shown: true,
            goals,
        }
    }

    /// A number shown beside the costs.
    pub(crate) const fn shown(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            compared: false,
            shown: true,
            goals: &[],
        }
    }

    /// A number that explains others, in JSON only.
    pub(crate) const fn noted(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            compared: false,
            shown: false,
            goals: &[],
        }
    }
}

/// What the median of ours must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// So many times the best proxy's; the bare relay is not a proxy.
    TimesBest(f64),
    /// So many times this peer's.
    Times(f64, &'static str),
    /// This value.
    AtMost(f64),
}

/// Whether a goal was reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// The goal in words.
    pub(crate) goal: String,
    /// Ours divided by what it is compared with; for [`Goal::AtMost`], ours.
    pub(crate) value: f64,
    pub(crate) reached: bool,
}

impl Goal {
    /// Judges ours by the medians of the `others`, as (name, median). `None` when the peer it
    /// compares with has no number.
    pub(crate) fn judge(self, ours: f64, others: &[(&str, f64)]) -> Option<Verdict> {
        let (goal, value, limit) = match self {
            Self::AtMost(limit) => (format!("≤ {limit}"), ours, limit),
            Self::Times(factor, peer) => {
                let (_, median) = others.iter().find(|(name, _)| *name == peer)?;
                (format!("≤ {factor:.2} × {peer}"), ours / median, factor)
            }
            Self::TimesBest(factor) => {
                let (name, median) = others
                    .iter()
                    .filter(|(name, _)| *name != crate::peer::RELAY)
                    .min_by(|a, b| a.1.total_cmp(&b.1))?;
                (
                    format!("≤ {factor:.2} × the best peer ({name})"),
                    ours / median,
                    factor,
                )
            }
        };
        Some(Verdict {
            goal,
            value,
            reached: value <= limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [(&str, f64); 3] = [("nginx", 20.0), ("haproxy", 10.0), ("relay", 5.0)];

    #[test]
    fn the_best_peer_is_the_cheapest_that_terminates_tls() {
        let verdict = Goal::TimesBest(0.95).judge(9.0, &OTHERS).unwrap();
        assert_eq!(verdict.goal, "≤ 0.95 × the best peer (haproxy)");
        assert!(verdict.reached);
        assert!(!Goal::TimesBest(0.95).judge(9.6, &OTHERS).unwrap().reached);
    }

    #[test]
    fn a_goal_about_an_absent_peer_is_not_judged() {
        assert_eq!(Goal::Times(1.0, "envoy").judge(1.0, &OTHERS), None);
        assert_eq!(Goal::TimesBest(1.0).judge(1.0, &[("relay", 5.0)]), None);
    }
}
