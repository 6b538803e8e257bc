use super::*;
use crate::audio::wav::stereo::{HEADER_BYTES, Side, side};
use crate::domain::recording::RecordingState;
use std::sync::mpsc;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A recorder of a test's own, and what it tells.
fn recorder(queue: usize) -> (Recorder, Folder, mpsc::Receiver<Recording>) {
    let folder = Folder(std::env::temp_dir().join(format!("frontdesk-rec-{:032x}", rand::random::<u128>())));
    let (tell, told) = mpsc::channel();
    let config = RecordingConfig { url: folder.0.display().to_string(), queue, ..RecordingConfig::default() };
    let recorder = Recorder::start(&config, Box::new(move |recording| drop(tell.send(recording)))).unwrap();
    (recorder, folder, told)
}

const DAY: UnixMillis = UnixMillis(1_795_000_000_000);

fn ms(n: u64) -> CallTime {
    CallTime::from_millis(n)
}

fn begins(clock: u64, since_start_ms: u64) -> Begins {
    Begins { at: UnixMillis(DAY.0 + 500), clock: ms(clock), since_start_ms }
}

/// Plays frames 0 to `count` of both sides, from `from` ms of the stream's clock on.
fn play(tap: &mut Tap, from: u64, count: u64, caller: u8, bot: u8) {
    for n in 0..count {
        let at = from + n * 20;
        tap.bot(ms(at), ms(at), &[bot; 160]);
        tap.caller(ms(at + 20), &[caller; 160]);
    }
}

fn read(folder: &Folder, recording: &Recording) -> (Vec<u8>, Vec<u8>) {
    let bytes = std::fs::read(folder.0.join(&recording.location)).unwrap();
    assert_eq!(bytes.len() as u64, recording.bytes);
    (side(&bytes, Side::Caller), side(&bytes, Side::Bot))
}

#[test]
fn both_sides_of_a_call_are_on_the_disk_when_it_has_ended() {
    let (recorder, folder, told) = recorder(1_000);
    let sid = CallSid::from("CA1");
    let mut tap = recorder.record(&sid, DAY, begins(3_000, 3_000));
    play(&mut tap, 3_000, 250, 1, 2);
    tap.mute(Side::Caller, ms(3_100), ms(3_200));
    drop(tap);
    recorder.finish(&sid);
    recorder.close();
    let told: Vec<Recording> = told.iter().collect();
    assert_eq!(
        told.iter().map(|r| r.state).collect::<Vec<_>>(),
        [RecordingState::Recording, RecordingState::Stored]
    );
    assert_eq!((told[1].ms, told[1].offset_ms, told[1].dropped_frames), (5_000, 3_000, 0));
    assert_eq!(told[1].started, UnixMillis(DAY.0 + 500));
    let (left, right) = read(&folder, &told[1]);
    let expected = |n: usize| if (800..1_600).contains(&n) { 0xFF } else { 1 };
    assert!(left.iter().enumerate().all(|(n, b)| *b == expected(n)));
    assert!(right.iter().all(|b| *b == 2));
}

#[test]
fn a_resumed_call_goes_on_in_its_file_where_it_is_in_the_call() {
    let (recorder, folder, told) = recorder(1_000);
    let sid = CallSid::from("CA1");
    let mut first = recorder.record(&sid, DAY, begins(0, 0));
    play(&mut first, 0, 100, 1, 1);
    drop(first);
    // 3 s of call went before, of which the last was not recorded.
    let mut second = recorder.record(&sid, DAY, begins(40, 3_040));
    play(&mut second, 40, 50, 2, 2);
    drop(second);
    recorder.finish(&sid);
    // The call had not ended after all; and what was read of its state was old.
    let mut third = recorder.record(&sid, DAY, begins(0, 1_000));
    play(&mut third, 0, 50, 3, 3);
    drop(third);
    recorder.close();
    let last = told.iter().last().unwrap();
    assert_eq!((last.state, last.ms, last.offset_ms), (RecordingState::Stored, 5_040, 0));
    let (left, right) = read(&folder, &last);
    let expected: Vec<u8> = [vec![1; 16_000], vec![0xFF; 8_320], vec![2; 8_000], vec![3; 8_000]].concat();
    assert!(left == expected);
    assert!(right == expected);
}

#[test]
fn what_an_earlier_stream_recorded_is_silenced_wherever_it_lies() {
    let (recorder, folder, told) = recorder(1_000);
    let sid = CallSid::from("CA1");
    let mut first = recorder.record(&sid, DAY, begins(500, 500));
    play(&mut first, 500, 100, 1, 1);
    drop(first);
    let mut second = recorder.record(&sid, DAY, begins(0, 2_500));
    play(&mut second, 0, 50, 2, 2);
    recorder.silence(&sid, DAY, Side::Caller, 1_000, 1_500);
    drop(second);
    recorder.finish(&sid);
    // Another process may have had to write elsewhere: the first file is complete by then, or nobody's.
    recorder.silence(&sid, DAY, Side::Bot, 2_000, 2_200);
    recorder.silence(&CallSid::from("CA9"), DAY, Side::Bot, 0, 9_000);
    recorder.close();
    let last = told.iter().last().unwrap();
    assert_eq!((last.state, last.ms, last.offset_ms), (RecordingState::Stored, 3_000, 500));
    let (left, right) = read(&folder, &last);
    let expected = |silent: std::ops::Range<usize>| -> Vec<u8> {
        (0..24_000)
            .map(|n| {
                if silent.contains(&n) {
                    0xFF
                } else if n < 16_000 {
                    1
                } else {
                    2
                }
            })
            .collect()
    };
    assert!(left == expected(4_000..8_000));
    assert!(right == expected(12_000..13_600));
    let files = std::fs::read_dir(folder.0.join("2026/11/18")).unwrap().count();
    assert_eq!(files, 1, "no file is made for a call that has none");
}

#[test]
fn the_writer_that_cannot_keep_up_costs_audio_and_nothing_else() {
    // The writer never takes anything: its queue is a test's own.
    let queue = Arc::new(Queue::new(1));
    let mut tap = Tap::new(Arc::clone(&queue), CallSid::from("CA1"), 0, ms(0), Duration::from_millis(500));
    play(&mut tap, 0, 100, 1, 1);
    tap.clear(ms(2_010), ms(2_010));
    play(&mut tap, 2_020, 50, 1, 1);
    assert!(queue.dropped() > 100, "{}", queue.dropped());
    // As soon as there is room, what was taken back is taken back.
    while let queue::Taken::Job(_) = queue.take(Duration::ZERO) {}
    play(&mut tap, 3_020, 30, 1, 1);
    let queue::Taken::Job(Job::Audio { block, .. }) = queue.take(Duration::ZERO) else { panic!("a block") };
    assert_eq!(block.pieces[0], queue::Piece::Clear { at: ms(2_010) });
    let dropped = queue.dropped();
    drop(tap);
    let mut last = None;
    while let queue::Taken::Job(job) = queue.take(Duration::ZERO) {
        last = Some(job);
    }
    assert!(matches!(last, Some(Job::Detach { dropped: d, .. }) if d == dropped));
}

#[test]
fn a_call_that_was_never_heard_leaves_no_file() {
    let (recorder, folder, told) = recorder(10);
    let sid = CallSid::from("CA1");
    drop(recorder.record(&sid, DAY, begins(0, 0)));
    recorder.finish(&sid);
    recorder.finish(&CallSid::from("unknown"));
    recorder.close();
    let last = told.iter().last().unwrap();
    assert_eq!(last.state, RecordingState::Failed);
    assert!(!folder.0.join(&last.location).exists());
}

#[test]
fn what_a_killed_process_left_is_completed_at_the_next_start() {
    let (recorder, folder, told) = recorder(1_000);
    let sid = CallSid::from("CA1");
    let mut tap = recorder.record(&sid, DAY, begins(0, 0));
    play(&mut tap, 0, 500, 1, 2);
    let begun = told.recv().unwrap();
    let path = folder.0.join(&begun.location).with_extension("wav.part");
    // All but the last moments are on the disk at any time.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let copy = loop {
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes.len() > HEADER_BYTES + 7_000 * 16 {
            break bytes;
        }
        assert!(std::time::Instant::now() < deadline, "{} bytes", bytes.len());
        std::thread::sleep(Duration::from_millis(5));
    };
    let killed = folder.0.join("2026/11/17/CA2.wav.part");
    std::fs::create_dir_all(killed.parent().unwrap()).unwrap();
    std::fs::write(&killed, &copy).unwrap();
    let (tell, again) = mpsc::channel();
    let config = RecordingConfig { url: folder.0.display().to_string(), ..RecordingConfig::default() };
    let next = Recorder::start(&config, Box::new(move |recording| drop(tell.send(recording)))).unwrap();
    let repaired = again.recv().unwrap();
    assert_eq!((repaired.sid.as_str(), repaired.state), ("CA2", RecordingState::Stored));
    assert!(repaired.ms >= 7_000);
    let (left, right) = read(&folder, &repaired);
    assert!(left.iter().all(|b| *b == 1) && right.iter().all(|b| *b == 2));
    next.close();
    drop(tap);
    recorder.close();
}
