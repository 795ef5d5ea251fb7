//! Measures Portcullis beside its peers. `bench/README.md` tells the method.
//!
//! ```text
//! for each round: for each scene: for each peer
//!     start the peer alone -> check it is set up like the others -> load -> end it
//! ```
//!
//! Invariants:
//! - One proxy runs at a time, on a core of its own; rounds interleave the peers, so that what
//!   disturbs the machine for a while disturbs all of them.
//! - A failing request is never part of a number, and makes the run fail.
//! - Nothing but 127.0.0.1 is spoken to, and everything started is ended, also on Ctrl-C.

mod certificate;
mod client;
mod error;
mod lab;
mod load;
mod machine;
mod measure;
mod options;
mod peer;
mod process;
mod record;
mod redis;
mod report;
mod scene;
mod upstream;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, chain};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::measure::Measure;
use crate::options::Options;
use crate::record::Record;
use crate::report::Report;

// The generator shares a core with the upstream, so its own cost matters.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line was wrong, as clap has it.
const USAGE: u8 = 2;
/// A goal was missed and `--strict` given.
const GOAL_MISSED: u8 = 3;
/// Ended by Ctrl-C or SIGTERM, as shells have it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    // One thread: it stays on the load's core, and children die with it.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let outcome = tokio::select! {
            outcome = run(&options) => outcome,
            () = interruption() => return ExitCode::from(INTERRUPTED),
        };
        outcome.unwrap_or_else(|error| {
            say(&format!("error: {}", chain(&error)));
            match error {
                Error::UnknownName { .. } => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        })
    })
}

async fn run(options: &Options) -> Result<ExitCode, Error> {
    let (scenes, peers) = (options.scenes()?, options.peers()?);
    if options.list {
        for scene in &scenes {
            print(&format!("scene  {:<20} {}\n", scene.name(), scene.title()))?;
        }
        for peer in &peers {
            print(&format!("peer   {}\n", peer.name()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }

    let lab = Lab::open(options.programs()).await?;
    let machine = Machine::read(&lab.cores);
    let versions = peers
        .iter()
        .map(|peer| Ok((peer.name(), peer.version(&lab)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let (rounds, timing) = (options.rounds(), options.timing());

    let mut record = Record::default();
    for round in 1..=rounds {
        for scene in &scenes {
            for peer in peers.iter().filter(|peer| scene.suits(&***peer)) {
                let place = format!("round {round}/{rounds} {} {}", scene.name(), peer.name());
                match scene.play(&**peer, &lab, timing).await {
                    Ok(values) => {
                        say(&format!("{place}: {}", told(scene.measures(), &values)));
                        record.keep(&**scene, peer.name(), values);
                    }
                    Err(error) => {
                        let why = chain(&error);
                        say(&format!("{place}: FAILED: {why}"));
                        record.fail(&**scene, peer.name(), why);
                    }
                }
            }
        }
    }

    let report = Report {
        machine: &machine,
        scenes: &scenes,
        peers: &versions,
        rounds,
        seconds: timing.window.as_secs(),
        record: &record,
    };
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))?;
    }
    print(&if options.markdown {
        report.markdown()
    } else {
        report.text()
    })?;
    Ok(if record.has_failures() {
        ExitCode::FAILURE
    } else if options.strict && report.missed_a_goal() {
        ExitCode::from(GOAL_MISSED)
    } else {
        ExitCode::SUCCESS
    })
}

/// One round's values on one line.
fn told(measures: &[Measure], values: &[f64]) -> String {
    let parts: Vec<_> = measures
        .iter()
        .zip(values)
        .map(|(measure, value)| format!("{value:.2} {}", measure.title))
        .collect();
    parts.join(", ")
}

async fn interruption() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the signals end the process, and the kernel its children.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Progress goes to the error stream, so that the result can be piped.
fn say(text: &str) {
    // Nobody may be reading; that is no reason to stop.
    _ = writeln!(std::io::stderr(), "{text}");
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Error::io("print the result"))
}
