//! What the operating system knows of this process, from `/proc`. Elsewhere nothing is shown.

use std::fs;

use super::text::Page;

/// Clock ticks a second in `/proc/self/stat`; fixed in Linux's interface to programs.
const TICKS: u64 = 100;

/// Writes the metrics every Prometheus client has.
pub(super) fn write(page: &mut Page, started: u64) {
    page.single(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since 1970.",
        started,
    );
    if let Some(bytes) =
        resident_bytes(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    {
        page.single(
            "process_resident_memory_bytes",
            "gauge",
            "Memory in RAM.",
            bytes,
        );
    }
    if let Some(ticks) = cpu_ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default()) {
        let micros = ticks * (1_000_000 / TICKS);
        page.single(
            "process_cpu_seconds_total",
            "counter",
            "CPU time, user and system.",
            super::text::seconds(micros),
        );
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // Reading the directory holds one descriptor itself.
        let open = entries.count().saturating_sub(1);
        page.single("process_open_fds", "gauge", "Open file descriptors.", open);
    }
    if let Some(most) = most_files(&fs::read_to_string("/proc/self/limits").unwrap_or_default()) {
        page.single(
            "process_max_fds",
            "gauge",
            "Most file descriptors there may be.",
            most,
        );
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses and may hold anything.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn most_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"),
            Some(2_097_152)
        );
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(200));
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_files(limits), Some(1024));
        assert_eq!(
            (resident_bytes(""), cpu_ticks("x"), most_files("")),
            (None, None, None)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        let mut page = Page::default();
        write(&mut page, 1);
        let text = page.finish();
        for name in [
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name} in {text}"
            );
        }
    }
}
