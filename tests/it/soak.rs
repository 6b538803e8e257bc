//! `frontdesk simulate soak`, made small: a server in a process of its own must have nothing left of its calls but their
//! rows. What each call leaves in memory shows over thousands only.

use crate::load::simulate;

#[test]
fn calls_that_are_over_leave_their_rows_and_nothing_else() {
    let (status, text) = simulate(&["soak", "--total", "20", "--calls", "20"]);
    assert!(status.success() && text.ends_with("passed\n"), "{text}");
    // What warms up, and the rest; every call has its row, its end and its summary, and every reply came.
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for calls in ["40", "60"] {
        let rest =
            lines.iter().find(|line| line.len() == 8 && line[0] == calls).expect("a line for each part");
        assert_eq!(rest[5], "0", "actors: {text}");
        let (came, due) = rest[7].split_once('/').expect("the replies");
        assert!(came == due && came != "0", "{text}");
    }
    for rows in ["calls: 60", "open_calls: 0", "ends: 60", "summaries: 60", "open_jobs: 0", "holds: 0"] {
        assert!(text.contains(rows), "{rows}: {text}");
    }
    assert!(text.contains("not judged"), "{text}");
}
