//! A peer's processes: started on given cores, watched, and ended for certain.
//!
//! Invariants:
//! - A started peer is ended when its [`Process`] is dropped, and by the kernel when this
//!   program dies without dropping it.
//! - The peer leads a process group of its own, so that its workers are found and ended with it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Error;
use crate::usage;

/// How long a peer may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A program with its arguments.
#[derive(Debug)]
pub(crate) struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Invocation {
    /// `program` without arguments.
    pub(crate) fn of(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Process {
    peer: &'static str,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `invocation` on `cores` (as `taskset -c` reads them), with its output in `dir`.
    pub(crate) fn start(
        peer: &'static str,
        invocation: &Invocation,
        cores: &str,
        dir: &Path,
    ) -> Result<Self, Error> {
        let output = dir.join("output.log");
        let file =
            File::create(&output).map_err(Error::io(format!("create {}", output.display())))?;
        let again = file
            .try_clone()
            .map_err(Error::io(format!("share {}", output.display())))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", cores])
            .arg(&invocation.program)
            .args(&invocation.arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .spawn()
            .map_err(Error::io(format!(
                "start {peer} through setpriv and taskset (util-linux)"
            )))?;
        Ok(Self {
            peer,
            child,
            output,
        })
    }

    /// The peer's processes, workers included.
    pub(crate) fn ids(&self) -> Vec<u32> {
        usage::processes(self.child.id())
    }

    /// Fails when the peer has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Ended {
                peer: self.peer,
                status: status.to_string(),
                output: self.last_output(),
            }),
            Err(source) => Err(Error::Io {
                action: format!("ask after {}", self.peer),
                source,
            }),
        }
    }

    /// The end of what the peer has written.
    pub(crate) fn last_output(&self) -> String {
        let text = fs::read(&self.output).unwrap_or_default();
        let start = text.len().saturating_sub(2000);
        String::from_utf8_lossy(&text[start..]).trim().to_owned()
    }

    fn end(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let signal = |signal| {
            // An error means that nobody is left to signal.
            group.map(|group| kill_process_group(group, signal).is_ok())
        };
        signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < PATIENCE
            && self.child.try_wait().is_ok_and(|status| status.is_none())
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(Signal::KILL);
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
