//! What a group of processes has used, read from `/proc`: CPU time and memory. And how busy
//! the whole machine was, to know what others took meanwhile.
//!
//! CPU time comes from each thread's `schedstat`, in nanoseconds. A thread that has ended
//! takes its `schedstat` along, so the sum is compared with the processes' own tick
//! counters, which keep the time of ended threads, and the larger reading counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Every process of the group led by `leader`, itself included.
pub(crate) fn processes(leader: u32) -> Vec<u32> {
    numbers_in(Path::new("/proc"))
        .filter(|pid| *pid == leader || stat_field(*pid, GROUP) == Some(u64::from(leader)))
        .collect()
}

/// What the proxy, this program and the whole machine have used until one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    at: Instant,
    proxy: Cpu,
    own: Cpu,
    machine: Duration,
}

/// Who used how much between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) elapsed: Duration,
    /// CPU time of the proxy's processes.
    pub(crate) proxy: Duration,
    /// CPU time of the generator and the upstream.
    pub(crate) own: Duration,
    /// CPU time of everything else on this machine.
    pub(crate) others: Duration,
}

impl Reading {
    /// Reads for the proxy with these processes.
    pub(crate) fn of(proxy: &[u32]) -> Self {
        Self {
            at: Instant::now(),
            machine: machine_busy(),
            proxy: Cpu::of(proxy),
            own: Cpu::of(&[std::process::id()]),
        }
    }

    /// What was used from `before` until this reading.
    pub(crate) fn since(&self, before: &Self) -> Usage {
        let proxy = self.proxy.since(&before.proxy);
        let own = self.own.since(&before.own);
        let machine = self.machine.saturating_sub(before.machine);
        Usage {
            elapsed: self.at - before.at,
            proxy,
            own,
            others: machine.saturating_sub(proxy + own),
        }
    }
}

impl Usage {
    /// A part of this usage in percent of one core.
    pub(crate) fn percent(&self, part: Duration) -> f64 {
        part.div_duration_f64(self.elapsed) * 100.0
    }
}

/// Resident memory of all `processes` together, in bytes.
pub(crate) fn resident(processes: &[u32]) -> u64 {
    processes.iter().filter_map(|pid| resident_of(*pid)).sum()
}

/// CPU time used so far.
#[derive(Debug)]
struct Cpu {
    nanoseconds: BTreeMap<(u32, u32), u64>,
    ticks: u64,
}

impl Cpu {
    /// Reads what `processes` have used since each started.
    fn of(processes: &[u32]) -> Self {
        let mut nanoseconds = BTreeMap::new();
        let mut ticks = 0;
        for &pid in processes {
            ticks +=
                stat_field(pid, USER_TIME).unwrap_or(0) + stat_field(pid, SYSTEM_TIME).unwrap_or(0);
            for thread in numbers_in(Path::new(&format!("/proc/{pid}/task"))) {
                let path = format!("/proc/{pid}/task/{thread}/schedstat");
                if let Some(used) = fs::read_to_string(path)
                    .ok()
                    .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
                {
                    nanoseconds.insert((pid, thread), used);
                }
            }
        }
        Self { nanoseconds, ticks }
    }

    /// The time used from `before` until this reading.
    fn since(&self, before: &Self) -> Duration {
        let exact: u64 = self
            .nanoseconds
            .iter()
            .map(|(thread, used)| {
                used - before
                    .nanoseconds
                    .get(thread)
                    .copied()
                    .unwrap_or(0)
                    .min(*used)
            })
            .sum();
        // Two ticks of doubt: both readings are rounded down.
        let counted =
            self.ticks.saturating_sub(before.ticks).saturating_sub(2) * tick_nanoseconds();
        Duration::from_nanos(exact.max(counted))
    }
}

fn resident_of(pid: u32) -> Option<u64> {
    // The roll-up walks the page tables; the status line lags behind by some pages per thread.
    let from = |file: &str, key: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    from("smaps_rollup", "Rss:").or_else(|| from("status", "VmRSS:"))
}

/// The time all cores together have spent busy since the machine started, also with what the
/// host took away from them.
fn machine_busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().unwrap_or(0))
        .collect();
    // user nice system idle iowait irq softirq steal; guests are contained in user and nice.
    let busy = |index: &usize| !matches!(index, 3 | 4);
    let sum: u64 = (0..8)
        .filter(busy)
        .map(|index| ticks.get(index).copied().unwrap_or(0))
        .sum();
    Duration::from_nanos(sum * tick_nanoseconds())
}

fn tick_nanoseconds() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// Positions in `/proc/PID/stat`, counted from the field after the command's name.
const GROUP: usize = 2;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets; the last bracket ends it.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(field)?.parse().ok()
}

fn numbers_in(dir: &Path) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burnt_time_is_counted_also_when_its_thread_has_ended() {
        let own = [std::process::id()];
        let before = Cpu::of(&own);
        std::thread::spawn(|| {
            let used_by_thread = || -> u64 {
                let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
                text.split_ascii_whitespace()
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            while used_by_thread() < 200_000_000 {
                std::hint::black_box(());
            }
        })
        .join()
        .unwrap();
        let used = Cpu::of(&own).since(&before);
        // Ticks are coarse and two are left out of doubt.
        assert!(used > Duration::from_millis(150), "{used:?}");
        assert!(used < Duration::from_secs(5), "{used:?}");
    }

    #[test]
    fn a_process_belongs_to_its_own_group_or_its_leaders() {
        let own = std::process::id();
        assert!(processes(own).contains(&own));
        assert!(resident(&[own]) > 100 * 1024);
    }
}
