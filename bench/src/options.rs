//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::error::Error;
use crate::lab::Programs;
use crate::load::Timing;
use crate::peer::{self, Peer};
use crate::scene::{self, Scene};

/// Measures Portcullis beside nginx, HAProxy and Envoy: the same certificate, the same upstream,
/// the same load, one core for the proxy and one for everything else, in interleaved rounds.
///
/// Exit codes: 0 everything was measured; 1 something could not be measured or a request failed;
/// 3 (with --strict) a goal was missed.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
pub(crate) struct Options {
    /// Scenes to play, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    scenes: Vec<String>,
    /// Peers to measure, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Rounds; the median counts [default: 3, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds measured for each scene, peer and round [default: 5, quick: 2]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// One short round: whether all works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Also write everything as JSON into FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the result as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    pub(crate) strict: bool,
    /// Name the scenes and peers, and end
    #[arg(long)]
    pub(crate) list: bool,
    /// The built gateway
    #[arg(long, value_name = "FILE", default_value = "target/release/portcullis")]
    portcullis: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "nginx")]
    nginx: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    haproxy: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    envoy: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis: PathBuf,
}

impl Options {
    /// The chosen scenes, in the table's order.
    pub(crate) fn scenes(&self) -> Result<Vec<Box<dyn Scene>>, Error> {
        choose("scene", scene::all(), |scene| scene.name(), &self.scenes)
    }

    /// The chosen peers, ours first.
    pub(crate) fn peers(&self) -> Result<Vec<Box<dyn Peer>>, Error> {
        choose("peer", peer::all(), |peer| peer.name(), &self.peers)
    }

    /// How often everything is measured.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long everything is measured.
    pub(crate) fn timing(&self) -> Timing {
        let seconds = self.seconds.unwrap_or(if self.quick { 2 } else { 5 });
        let window = Duration::from_secs(seconds);
        Timing {
            warm_up: window.div_f64(5.0),
            window,
        }
    }

    /// Where the programs are.
    pub(crate) fn programs(&self) -> Programs {
        Programs {
            portcullis: self.portcullis.clone(),
            nginx: self.nginx.clone(),
            haproxy: self.haproxy.clone(),
            envoy: self.envoy.clone(),
            redis: self.redis.clone(),
        }
    }
}

fn choose<T: ?Sized>(
    kind: &'static str,
    known: Vec<Box<T>>,
    name: impl Fn(&T) -> &'static str,
    given: &[String],
) -> Result<Vec<Box<T>>, Error> {
    if given.is_empty() {
        return Ok(known);
    }
    if let Some(unknown) = given
        .iter()
        .find(|given| !known.iter().any(|one| name(one) == *given))
    {
        let names: Vec<_> = known.iter().map(|one| name(one)).collect();
        return Err(Error::UnknownName {
            kind,
            given: unknown.clone(),
            known: names.join(", "),
        });
    }
    Ok(known
        .into_iter()
        .filter(|one| given.iter().any(|given| name(one) == given))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_peer_is_refused_with_the_known_ones() {
        let options = Options::parse_from(["bench", "--peers", "ours,traefik"]);
        let error = options.peers().err().unwrap().to_string();
        assert_eq!(
            error,
            r#"unknown peer "traefik"; known are: ours, nginx, haproxy, envoy, relay"#
        );
    }

    #[test]
    fn a_choice_keeps_the_order_of_the_table() {
        let options = Options::parse_from(["bench", "--scenes", "idle,h2"]);
        let names: Vec<_> = options
            .scenes()
            .unwrap()
            .iter()
            .map(|scene| scene.name())
            .collect();
        assert_eq!(names, ["h2", "idle"]);
    }
}
