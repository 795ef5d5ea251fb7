//! The scenes: what is done to a peer and which numbers come of it.
//!
//! A new scene is a file here and a line in [`all`].

mod authenticated;
mod certificates;
mod definitions;
mod download;
mod http2;
mod https_upstream;
mod idle;
mod in_turns;
mod keep_alive;
mod new_connection;
mod resumed;
mod upstream_identity;

use std::future::Future;
use std::pin::Pin;

use crate::error::Error;
use crate::lab::{Cores, Lab};
use crate::load::{Cost, Timing};
use crate::measure::Measure;
use crate::peer::Peer;

/// The values of one round, in the order of [`Scene::measures`].
pub(crate) type Values<'a> = Pin<Box<dyn Future<Output = Result<Vec<f64>, Error>> + 'a>>;

/// A way to use a peer.
pub(crate) trait Scene {
    /// Its name in options and JSON.
    fn name(&self) -> &'static str;

    /// What happens, in a few words.
    fn title(&self) -> &'static str;

    /// The numbers one round yields.
    fn measures(&self) -> &'static [Measure];

    /// Whether this peer can take part.
    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.terminates_tls()
    }

    /// Starts the peer, uses it, and ends it.
    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a>;
}

/// Every known scene, in the order of the table.
pub(crate) fn all() -> Vec<Box<dyn Scene>> {
    vec![
        Box::new(keep_alive::KeepAlive::open()),
        Box::new(keep_alive::KeepAlive::mutual()),
        Box::new(http2::Http2Streams),
        Box::new(new_connection::NewConnection::open()),
        Box::new(new_connection::NewConnection::mutual()),
        Box::new(resumed::Resumed),
        Box::new(new_connection::NewConnection::listed(
            "listed-1",
            "a mutual connection by a list of 1",
            1,
        )),
        Box::new(new_connection::NewConnection::listed(
            "listed-100",
            "a mutual connection by a list of 100",
            100,
        )),
        Box::new(new_connection::NewConnection::listed(
            "listed-100k",
            "a mutual connection by a list of 100,000",
            100_000,
        )),
        Box::new(https_upstream::HttpsUpstream::pooled()),
        Box::new(https_upstream::HttpsUpstream::afresh()),
        Box::new(upstream_identity::UpstreamIdentity),
        Box::new(download::Download),
        Box::new(idle::Idle),
        Box::new(definitions::Definitions),
        Box::new(authenticated::Authenticated::embedded()),
        Box::new(authenticated::Authenticated::on_redis()),
        Box::new(certificates::Certificates::beside_peers()),
        Box::new(certificates::Certificates::alone()),
    ]
}

/// The values of a scene that measures a load: its cost in microseconds, the rate, and how busy
/// both sides were.
fn values(cost: Cost) -> Vec<f64> {
    vec![
        cost.cpu.as_secs_f64() * 1e6,
        cost.rate,
        cost.usage.percent(cost.usage.proxy),
        cost.usage.percent(cost.usage.own),
        cost.usage.percent(cost.usage.others),
    ]
}

const PROXY_BUSY: Measure = Measure::noted("proxy_busy_percent", "proxy's core busy, %");
const LOAD_BUSY: Measure = Measure::noted("load_busy_percent", "load's core busy, %");
const OTHERS_BUSY: Measure = Measure::noted(DISTURBANCE, "others' share of a core, %");

/// The key of the measure that tells what else the machine was doing.
pub(crate) const DISTURBANCE: &str = "others_busy_percent";

/// Lets this thread run on every core while it lives.
struct Unpinned<'a>(&'a Cores);

impl<'a> Unpinned<'a> {
    fn until_dropped(cores: &'a Cores) -> Result<Self, Error> {
        cores.roam()?;
        Ok(Self(cores))
    }
}

impl Drop for Unpinned<'_> {
    fn drop(&mut self) {
        // It worked before; should it fail now, the load keeps every core, which only adds noise.
        drop(self.0.settle());
    }
}
