//! What a gateway takes of the machine's memory.

use crate::gateway::Gateway;

/// Resident memory now, in bytes.
///
/// # Panics
/// When the process is gone.
pub fn resident(gateway: &Gateway) -> u64 {
    status(gateway, "VmRSS:")
}

/// The most it ever was, in bytes.
///
/// # Panics
/// When the process is gone.
pub fn peak(gateway: &Gateway) -> u64 {
    status(gateway, "VmHWM:")
}

fn status(gateway: &Gateway, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()))
        .expect("the process runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .expect("a line");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        * 1024
}
