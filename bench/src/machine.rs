//! The machine a run was made on, as far as it matters for its numbers.

use std::fs;

use serde_json::{Value, json};

use crate::lab::Cores;

/// What stands above every report.
#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    kernel: String,
    proxy_core: usize,
    load_core: usize,
    /// Runnable processes in the minute before the start: others at work spoil the numbers.
    load_before: f64,
}

impl Machine {
    /// Reads `/proc`; what cannot be read is "unknown".
    pub(crate) fn read(cores: &Cores) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = text("/proc/cpuinfo").lines().find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(':')
                .map(|(_, name)| name.trim().to_owned())
        });
        let kernel = text("/proc/sys/kernel/osrelease").trim().to_owned();
        let load = text("/proc/loadavg")
            .split_ascii_whitespace()
            .next()
            .and_then(|load| load.parse().ok());
        Self {
            processor: processor.unwrap_or_else(|| "unknown processor".to_owned()),
            kernel,
            proxy_core: cores.proxy,
            load_core: cores.load,
            load_before: load.unwrap_or(f64::NAN),
        }
    }

    /// One line.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{}, Linux {}; proxy on core {}, load and upstream on core {}; load average before: {:.2}",
            self.processor, self.kernel, self.proxy_core, self.load_core, self.load_before
        )
    }

    /// The same, in parts.
    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "kernel": self.kernel,
            "proxy_core": self.proxy_core,
            "load_core": self.load_core,
            "load_average_before": self.load_before
        })
    }
}
