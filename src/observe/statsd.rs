//! Pushes metrics by UDP as StatsD or DogStatsD lines (`observability.md` 1 and 2), from a thread of its own.
//!
//! Counters are sent as what they rose by, gauges as they stand, what was measured value by value. Sent and forgotten:
//! nothing waits for a receiver.

use super::recorder::{Collected, Samples, Tap};
use metrics::Key;
use std::fmt::Write as _;
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest packet, bytes: one Ethernet frame.
pub const PACKET: usize = 1_432;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Labels as tags; times in seconds as distributions.
    Dog,
    /// Labels as parts of the name; times in milliseconds.
    Plain,
}

impl Dialect {
    /// The dialect a setting's word names.
    pub fn from_word(word: &str) -> Self {
        if word == "statsd" { Self::Plain } else { Self::Dog }
    }
}

/// A name or a label as both dialects take it: letters, digits, `_` and `.`; all else becomes `_`.
fn clean(text: &str, out: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
    out.extend(text.chars().map(|c| if plain(c) { c } else { '_' }));
}

/// A label's value as a part of a name, in which dots part the levels.
fn part(text: &str, out: &mut String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    out.extend(text.chars().map(|c| if plain(c) { c } else { '_' }));
}

/// The lines of what was collected.
pub fn lines(collected: &Collected, dialect: Dialect, prefix: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, n) in &collected.counters {
        let (head, tail) = ends(key, dialect, prefix, false);
        all.push(format!("{head}:{n}|c{tail}"));
    }
    for (key, value) in collected.gauges.iter().filter(|(_, value)| value.is_finite()) {
        let (head, tail) = ends(key, dialect, prefix, false);
        // In plain StatsD a sign means a change.
        if dialect == Dialect::Plain && *value < 0.0 {
            all.push(format!("{head}:0|g{tail}"));
        }
        all.push(format!("{head}:{value}|g{tail}"));
    }
    for (key, Samples { kept, seen }) in &collected.samples {
        let (head, tail) = ends(key, dialect, prefix, true);
        let (kind, factor) = match dialect {
            Dialect::Dog => ("d", 1.0),
            Dialect::Plain => ("ms", 1_000.0),
        };
        let rate = rate(kept.len(), *seen);
        for value in kept.iter().filter(|value| value.is_finite()) {
            all.push(format!("{head}:{}|{kind}{rate}{tail}", rounded(value * factor)));
        }
    }
    all
}

/// The share of values that are sent, where not all are.
fn rate(kept: usize, seen: u64) -> String {
    if kept as u64 >= seen {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let rate = kept as f64 / seen as f64;
    format!("|@{}", rounded(rate.max(0.000_001)))
}

/// To a millionth: a receiver needs no more, and the line stays short.
fn rounded(value: f64) -> f64 {
    (value * 1_000_000.0).round() / 1_000_000.0
}

/// What stands before and behind a line's value.
fn ends(key: &Key, dialect: Dialect, prefix: &str, timed: bool) -> (String, String) {
    let mut head = String::from(prefix);
    let mut tail = String::new();
    match dialect {
        Dialect::Dog => {
            clean(key.name(), &mut head);
            for (i, label) in key.labels().enumerate() {
                tail.push_str(if i == 0 { "|#" } else { "," });
                clean(label.key(), &mut tail);
                tail.push(':');
                // A colon in a value would be read as its end by some.
                clean(label.value(), &mut tail);
            }
        }
        Dialect::Plain => {
            match key.name().strip_suffix("_seconds").filter(|_| timed) {
                Some(base) => {
                    clean(base, &mut head);
                    let _ = write!(head, "_ms");
                }
                None => clean(key.name(), &mut head),
            }
            for label in key.labels() {
                head.push('.');
                part(label.value(), &mut head);
            }
        }
    }
    (head, tail)
}

/// Lines joined to packets, none longer than [`PACKET`]. A line that is longer by itself is left out.
pub fn packets(lines: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line.len() <= PACKET) {
        match all.last_mut().filter(|packet| packet.len() + 1 + line.len() <= PACKET) {
            Some(packet) => {
                packet.push('\n');
                packet.push_str(line);
            }
            None => all.push(line.clone()),
        }
    }
    all
}

/// Where and how metrics are pushed.
#[derive(Clone, Debug)]
pub struct Pushing {
    /// Host and port; looked up each time, for it may move.
    pub to: String,
    /// How lines are written.
    pub dialect: Dialect,
    /// Put before each name.
    pub prefix: String,
    /// How often.
    pub every: Duration,
}

/// The thread that pushes.
#[derive(Debug)]
pub struct Pusher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pusher {
    /// Starts it.
    pub fn start(pushing: Pushing, tap: Tap) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("statsd".into()).spawn(move || {
            let mut told = false;
            loop {
                let over = stopped.recv_timeout(pushing.every) != Err(mpsc::RecvTimeoutError::Timeout);
                let result = push(&pushing, &tap);
                if let Err(error) = &result
                    && !told
                {
                    tracing::warn!(%error, to = pushing.to, "metrics cannot be sent");
                }
                told = result.is_err();
                if over {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Sends what is left and ends. Blocks.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that sends metrics panicked");
        }
    }
}

fn push(pushing: &Pushing, tap: &Tap) -> io::Result<()> {
    let packets = packets(&lines(&tap.take(), pushing.dialect, &pushing.prefix));
    let to = pushing.to.to_socket_addrs()?.next();
    let to = to.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    for packet in packets {
        socket.send_to(packet.as_bytes(), to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Label;
    use proptest::prelude::*;

    fn key(name: &str, labels: &[(&str, &str)]) -> Key {
        let labels: Vec<Label> =
            labels.iter().map(|(k, v)| Label::new((*k).to_owned(), (*v).to_owned())).collect();
        Key::from_parts(name.to_owned(), labels)
    }

    fn collected() -> Collected {
        Collected {
            counters: vec![(key("a_total", &[("reason", "x|y:z"), ("kind", "llm")]), 3)],
            gauges: vec![(key("g", &[]), -2.5), (key("nan", &[]), f64::NAN)],
            samples: vec![(
                key("t_seconds", &[("stage", "e2e")]),
                Samples { kept: vec![0.25, 1.0 / 3.0], seen: 4 },
            )],
        }
    }

    #[test]
    fn dogstatsd_lines_carry_tags_and_distributions_in_seconds() {
        let told = lines(&collected(), Dialect::Dog, "shop.");
        assert_eq!(
            told,
            [
                "shop.a_total:3|c|#reason:x_y_z,kind:llm",
                "shop.g:-2.5|g",
                "shop.t_seconds:0.25|d|@0.5|#stage:e2e",
                "shop.t_seconds:0.333333|d|@0.5|#stage:e2e",
            ]
        );
    }

    #[test]
    fn plain_lines_carry_labels_in_their_names_and_times_in_milliseconds() {
        let told = lines(&collected(), Dialect::Plain, "");
        assert_eq!(
            told,
            [
                "a_total.x_y_z.llm:3|c",
                "g:0|g",
                "g:-2.5|g",
                "t_ms.e2e:250|ms|@0.5",
                "t_ms.e2e:333.333333|ms|@0.5"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_packet_is_too_long_and_no_line_is_lost_or_cut(lengths in prop::collection::vec(1usize..400, 0..60)) {
            let lines: Vec<String> = lengths.iter().enumerate().map(|(i, n)| format!("{i}:{}", "x".repeat(*n))).collect();
            let packets = packets(&lines);
            prop_assert!(packets.iter().all(|packet| packet.len() <= PACKET && !packet.is_empty()));
            let back: Vec<String> = packets.iter().flat_map(|packet| packet.split('\n')).map(str::to_owned).collect();
            prop_assert_eq!(back, lines);
        }

        #[test]
        fn whatever_a_label_holds_a_line_stays_one_line(value in "\\PC{0,40}|[|:@#,\n ]{0,10}") {
            let all = Collected { counters: vec![(key("c", &[("l", &value)]), 1)], ..Collected::default() };
            for dialect in [Dialect::Dog, Dialect::Plain] {
                let told = lines(&all, dialect, "");
                prop_assert_eq!(told.len(), 1);
                let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-:|#".contains(c);
                prop_assert!(told[0].chars().all(allowed) && told[0].matches('|').count() <= 2, "{}", told[0]);
            }
        }
    }
}
