//! A run's outcome as a table for people, as Markdown, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::record::Record;
use crate::scene::Scene;

/// Percent of a core that others may use beside a measurement: kernel threads need a little.
const TOLERABLE_DISTURBANCE: f64 = 15.0;

/// Everything a report is made of.
pub(crate) struct Report<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) scenes: &'a [Box<dyn Scene>],
    /// Name and version.
    pub(crate) peers: &'a [(&'static str, String)],
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) record: &'a Record,
}

impl Report<'_> {
    /// The table for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut out = self.heading();
        let (header, rows) = self.table();
        let width = |column: usize| {
            rows.iter()
                .chain([&header])
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..header.len()).map(width).collect();
        for row in [&header].into_iter().chain(&rows) {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| {
                    if column < 2 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                })
                .collect();
            line(&mut out, cells.join("  ").trim_end());
        }
        line(&mut out, "");
        self.goals_and_failures(&mut out);
        out
    }

    /// The table for `bench/README.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for text in self.heading().lines().filter(|text| !text.is_empty()) {
            line(&mut out, &format!("- {text}"));
        }
        line(&mut out, "");
        let (header, rows) = self.table();
        line(&mut out, &format!("| {} |", header.join(" | ")));
        let rule: Vec<_> = (0..header.len())
            .map(|column| if column < 2 { "--" } else { "--:" })
            .collect();
        line(&mut out, &format!("|{}|", rule.join("|")));
        for row in rows {
            line(&mut out, &format!("| {} |", row.join(" | ")));
        }
        line(&mut out, "");
        let mut rest = String::new();
        self.goals_and_failures(&mut rest);
        for text in rest.lines() {
            line(&mut out, &format!("- {text}"));
        }
        out
    }

    /// Everything, every round's value included.
    pub(crate) fn json(&self) -> Value {
        let names = self.names();
        let scenes: Vec<_> = self
            .scenes
            .iter()
            .map(|scene| {
                let measures: Vec<_> = (0..scene.measures().len())
                    .map(|index| self.measure_json(&**scene, index, &names))
                    .collect();
                json!({"scene": scene.name(), "title": scene.title(), "measures": measures})
            })
            .collect();
        let failures: Vec<_> = self
            .record
            .failures()
            .map(|(scene, peer, why)| json!({"scene": scene, "peer": peer, "error": why}))
            .collect();
        let versions: serde_json::Map<_, _> = self
            .peers
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        json!({
            "machine": self.machine.json(),
            "disturbed": self.disturbance().is_some(),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "versions": versions,
            "scenes": scenes,
            "failures": failures
        })
    }

    /// Whether a judged goal was missed.
    pub(crate) fn missed_a_goal(&self) -> bool {
        let names = self.names();
        self.scenes.iter().any(|scene| {
            (0..scene.measures().len())
                .flat_map(|index| self.record.verdicts(&**scene, index, &names))
                .any(|verdict| !verdict.reached)
        })
    }

    fn heading(&self) -> String {
        let mut out = String::new();
        line(&mut out, &self.machine.describe());
        line(
            &mut out,
            &format!(
                "{} rounds of {} s, interleaved; median ± half the range; (n×) is the peer's cost over ours",
                self.rounds, self.seconds
            ),
        );
        for (name, version) in self.peers {
            line(&mut out, &format!("{name}: {version}"));
        }
        if let Some(percent) = self.disturbance() {
            line(
                &mut out,
                &format!(
                    "DISTURBED: other programs used up to {percent:.0} % of a core meanwhile; \
                     trust no number here, repeat on an idle machine"
                ),
            );
        }
        line(&mut out, "");
        out
    }

    /// What others used at most, when it is too much to trust the numbers.
    fn disturbance(&self) -> Option<f64> {
        self.record
            .worst_disturbance(self.scenes)
            .filter(|percent| *percent > TOLERABLE_DISTURBANCE)
    }

    /// Header and rows: scene, measure, then one column a peer.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let names = self.names();
        let mut header = vec!["scene".to_owned(), "measure".to_owned()];
        header.extend(names.iter().map(|name| (*name).to_owned()));
        let mut rows = Vec::new();
        for scene in self
            .scenes
            .iter()
            .filter(|scene| self.was_played(&***scene))
        {
            let mut label = scene.title();
            for (index, measure) in scene
                .measures()
                .iter()
                .enumerate()
                .filter(|(_, one)| one.shown)
            {
                let mut row = vec![
                    std::mem::take(&mut label).to_owned(),
                    measure.title.to_owned(),
                ];
                row.extend(names.iter().map(|peer| self.cell(&**scene, index, peer)));
                rows.push(row);
            }
        }
        (header, rows)
    }

    /// Whether anybody took part, well or badly.
    fn was_played(&self, scene: &dyn Scene) -> bool {
        self.names().iter().any(|peer| {
            self.record.failed(scene, peer) || self.record.median(scene, 0, peer).is_some()
        })
    }

    fn cell(&self, scene: &dyn Scene, measure: usize, peer: &'static str) -> String {
        if self.record.failed(scene, peer) {
            return "FAILED".to_owned();
        }
        let Some(median) = self.record.median(scene, measure, peer) else {
            return "–".to_owned();
        };
        let mut cell = number(median.value);
        if self.rounds > 1 {
            // Writing into a string cannot fail.
            _ = write!(cell, " ±{:.0}%", median.spread * 100.0);
        }
        if let Some(times) = self.record.times_ours(scene, measure, peer) {
            _ = write!(cell, " ({times:.2}×)");
        }
        cell
    }

    fn goals_and_failures(&self, out: &mut String) {
        let names = self.names();
        for scene in self.scenes {
            for (index, measure) in scene.measures().iter().enumerate() {
                for verdict in self.record.verdicts(&**scene, index, &names) {
                    line(
                        out,
                        &format!(
                            "{} {}, {}: {} ({})",
                            if verdict.reached { "reached" } else { "MISSED" },
                            scene.name(),
                            measure.title,
                            verdict.goal,
                            number(verdict.value)
                        ),
                    );
                }
            }
        }
        for (scene, peer, why) in self.record.failures() {
            line(out, &format!("FAILED {scene}, {peer}: {why}"));
        }
    }

    fn measure_json(&self, scene: &dyn Scene, index: usize, names: &[&'static str]) -> Value {
        let measure = &scene.measures()[index];
        let peers: serde_json::Map<_, _> = names
            .iter()
            .filter_map(|peer| {
                let median = self.record.median(scene, index, peer)?;
                let value = json!({
                    "median": median.value,
                    "spread": median.spread,
                    "times_ours": self.record.times_ours(scene, index, peer),
                    "rounds": self.record.values(scene, index, peer)
                });
                Some(((*peer).to_owned(), value))
            })
            .collect();
        let goals: Vec<_> = self
            .record
            .verdicts(scene, index, names)
            .into_iter()
            .map(|verdict| json!({"goal": verdict.goal, "value": verdict.value, "reached": verdict.reached}))
            .collect();
        json!({"measure": measure.key, "title": measure.title, "peers": peers, "goals": goals})
    }

    fn names(&self) -> Vec<&'static str> {
        self.peers.iter().map(|(name, _)| *name).collect()
    }
}

/// Three digits are all a measurement is worth.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
