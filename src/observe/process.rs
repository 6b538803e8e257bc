//! What the operating system says of this process (`/proc/self`). Blocks for some microseconds.

use super::metrics::ProcessFacts;
use std::fs;

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 for user space on Linux.
const TICK_MS: u64 = 10;

/// How the process stands now; what cannot be read is zero.
pub fn facts() -> ProcessFacts {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_fds = fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64);
    ProcessFacts {
        resident: field(&status, "VmRSS:").saturating_mul(1_024),
        threads: field(&status, "Threads:"),
        open_fds,
        max_fds: field(&limits, "Max open files"),
        cpu_ms: ticks(&stat).saturating_mul(TICK_MS),
    }
}

/// The first number after a word at the beginning of a line.
fn field(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time: fields 14 and 15. The second, the program's name, may hold anything, brackets included.
fn ticks(stat: &str) -> u64 {
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0 };
    let times = rest.split_whitespace().skip(11).take(2);
    times.filter_map(|text| text.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_program_is_called() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 100 0 0 0 250 30 0 0 20 0 9 0 1000 2000 300";
        assert_eq!(ticks(stat), 280);
        assert_eq!(ticks(""), 0);
        assert_eq!(field("Name:\tx\nVmRSS:\t  2048 kB\n", "VmRSS:"), 2_048);
        assert_eq!(
            field(
                "Max open files            1024                 4096                 files",
                "Max open files"
            ),
            1_024
        );
        assert_eq!(
            field(
                "Max open files            unlimited            unlimited            files",
                "Max open files"
            ),
            0
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory_and_has_files_open() {
        let facts = facts();
        assert!(facts.resident > 1 << 20 && facts.open_fds > 2 && facts.threads > 0, "{facts:?}");
    }
}
