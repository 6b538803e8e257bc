//! What a stream session decides: which of Twilio's messages are in order, and when enough is enough.
//!
//! Pure. `Waiting → Claiming → Streaming → Closed`; a message out of order, malformed or unknown is counted, told once
//! a kind, and survived, within the limits of `decisions.md`.

/// A message as far as its order matters; payloads stay with the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `connected`.
    Connected,
    /// `start`.
    Start,
    /// `media` with audio that could be decoded.
    Media,
    /// `dtmf`.
    Dtmf,
    /// `mark`.
    Mark,
    /// `stop`.
    Stop,
    /// Something wrong with a frame.
    Bad(Defect),
    /// The token was accepted and a call is there.
    Granted,
    /// It was not.
    Refused,
    /// No `start` came in time.
    StartTimeout,
    /// Nothing at all came for too long: the peer is dead.
    Silent,
    /// The socket is gone.
    SocketGone,
    /// The call wants its stream closed.
    CallLeft,
    /// The call's actor is gone.
    CallDied,
}

/// What can be wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Not JSON, or not an object with an `event`.
    Json,
    /// An event we do not know.
    UnknownEvent,
    /// Audio that is not base64.
    Base64,
    /// A field that has to be there is not.
    MissingField,
    /// Of another stream.
    WrongStream,
    /// A binary frame.
    Binary,
    /// Valid, but not now.
    OutOfOrder,
    /// Larger than 64 KiB, or a fragment.
    TooLarge,
}

impl Defect {
    /// The word for logs and audit rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::UnknownEvent => "unknown_event",
            Self::Base64 => "base64",
            Self::MissingField => "missing_field",
            Self::WrongStream => "wrong_stream",
            Self::Binary => "binary",
            Self::OutOfOrder => "out_of_order",
            Self::TooLarge => "too_large",
        }
    }

    const COUNT: usize = 8;

    const fn index(self) -> usize {
        self as usize
    }
}

/// What the session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the registry for the call.
    Claim,
    /// Hand the message on to the call.
    Pass,
    /// Keep the audio or the key: the call is about to be there.
    Keep,
    /// Log this defect; it is the first of its kind.
    Tell(Defect),
    /// Tell the call that Twilio stopped the stream.
    TellStopped,
    /// Tell the call that the stream broke.
    TellBroke,
    /// Close the socket with this code (RFC 6455).
    Close(u16),
}

/// Normal closure.
pub const NORMAL: u16 = 1000;
/// The peer broke the rules.
pub const POLICY: u16 = 1008;
/// A fault of ours.
pub const INTERNAL: u16 = 1011;

/// Bad frames in a row that are survived.
const MAX_BAD_IN_A_ROW: u32 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { connected: bool },
    Claiming,
    Streaming,
    Stopped,
    Closed,
}

/// The state of one session.
#[derive(Debug)]
pub struct StreamMachine {
    state: State,
    bad_in_a_row: u32,
    bad: [u64; Defect::COUNT],
}

impl Default for StreamMachine {
    fn default() -> Self {
        Self { state: State::Waiting { connected: false }, bad_in_a_row: 0, bad: [0; Defect::COUNT] }
    }
}

type Outputs = Vec<Output>;

impl StreamMachine {
    /// How often each defect was seen.
    pub fn defects(&self) -> u64 {
        self.bad.iter().sum()
    }

    /// The hot path: whether audio is handed on as a matter of course.
    pub fn takes_audio(&mut self) -> bool {
        if self.state == State::Streaming {
            self.bad_in_a_row = 0;
            return true;
        }
        false
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Takes one input.
    pub fn on(&mut self, input: Input) -> Outputs {
        let outputs = self.step(input);
        if outputs.iter().any(|o| matches!(o, Output::Close(_))) {
            self.state = State::Closed;
        }
        outputs
    }

    fn step(&mut self, input: Input) -> Outputs {
        match (self.state, input) {
            (State::Closed, _) => vec![],
            (_, Input::Bad(Defect::TooLarge)) => {
                self.count(Defect::TooLarge);
                self.break_off(POLICY, Some(Defect::TooLarge))
            }
            (_, Input::Bad(defect)) => self.defect(defect),
            (_, Input::SocketGone) => self.gone(),
            (_, Input::Silent) => self.break_off(INTERNAL, None),
            (_, Input::CallLeft) => vec![Output::Close(NORMAL)],
            (_, Input::CallDied) => vec![Output::Close(INTERNAL)],

            (State::Waiting { connected: false }, Input::Connected) => {
                self.good();
                self.state = State::Waiting { connected: true };
                vec![]
            }
            (State::Waiting { .. }, Input::Start) => {
                self.good();
                self.state = State::Claiming;
                vec![Output::Claim]
            }
            (State::Waiting { .. }, Input::StartTimeout | Input::Media) => vec![Output::Close(POLICY)],
            (State::Waiting { .. }, Input::Stop) => vec![Output::Close(NORMAL)],
            (
                State::Waiting { .. },
                Input::Connected | Input::Dtmf | Input::Mark | Input::Granted | Input::Refused,
            ) => self.defect(Defect::OutOfOrder),

            (State::Claiming, Input::Granted) => {
                self.state = State::Streaming;
                vec![]
            }
            (State::Claiming, Input::Refused) => vec![Output::Close(POLICY)],
            (State::Claiming, Input::Media | Input::Dtmf) => {
                self.good();
                vec![Output::Keep]
            }
            (State::Claiming, Input::Mark) => self.defect(Defect::OutOfOrder),
            (State::Claiming, Input::Stop) => vec![Output::Close(NORMAL)],

            (State::Streaming, Input::Media | Input::Dtmf | Input::Mark) => {
                self.good();
                vec![Output::Pass]
            }
            (State::Streaming, Input::Stop) => {
                self.state = State::Stopped;
                vec![Output::TellStopped]
            }
            (State::Claiming | State::Streaming | State::Stopped, Input::Start) => {
                self.break_off(POLICY, None)
            }
            (State::Claiming | State::Streaming, Input::Connected) => self.defect(Defect::OutOfOrder),
            (State::Streaming, Input::Granted | Input::Refused) => vec![],

            // After `stop` Twilio closes; the call collects its last words meanwhile.
            (
                State::Stopped,
                Input::Connected
                | Input::Media
                | Input::Dtmf
                | Input::Mark
                | Input::Stop
                | Input::Granted
                | Input::Refused,
            ) => vec![],
            (State::Claiming | State::Streaming | State::Stopped, Input::StartTimeout) => vec![],
        }
    }

    fn good(&mut self) {
        self.bad_in_a_row = 0;
    }

    fn count(&mut self, defect: Defect) -> bool {
        match self.bad.get_mut(defect.index()) {
            Some(count) => {
                *count += 1;
                *count == 1
            }
            None => false,
        }
    }

    fn defect(&mut self, defect: Defect) -> Outputs {
        let first = self.count(defect);
        self.bad_in_a_row += 1;
        let mut outputs = Vec::new();
        if first {
            outputs.push(Output::Tell(defect));
        }
        if self.bad_in_a_row > MAX_BAD_IN_A_ROW {
            outputs.extend(self.break_off(POLICY, None));
        }
        outputs
    }

    /// Closes by our own doing; the call, if there is one, hears that its stream broke.
    fn break_off(&mut self, code: u16, tell: Option<Defect>) -> Outputs {
        let mut outputs: Outputs = tell.map(Output::Tell).into_iter().collect();
        if self.state == State::Streaming {
            outputs.push(Output::TellBroke);
        }
        outputs.push(Output::Close(code));
        outputs
    }

    fn gone(&mut self) -> Outputs {
        let outputs = if self.state == State::Streaming { vec![Output::TellBroke] } else { vec![] };
        self.state = State::Closed;
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(inputs: &[Input]) -> (StreamMachine, Vec<Output>) {
        let mut machine = StreamMachine::default();
        let outputs = inputs.iter().flat_map(|&i| machine.on(i)).collect();
        (machine, outputs)
    }

    #[test]
    fn a_stream_connects_starts_and_stops() {
        use Input::*;
        let (_, out) = run(&[Connected, Start, Media, Granted, Media, Dtmf, Mark, Stop, Media, SocketGone]);
        assert_eq!(
            out,
            [Output::Claim, Output::Keep, Output::Pass, Output::Pass, Output::Pass, Output::TellStopped]
        );
    }

    #[test]
    fn what_breaks_the_rules_closes_the_stream() {
        use Input::*;
        let table: &[(&[Input], u16)] = &[
            (&[Media], POLICY),
            (&[Connected, Media], POLICY),
            (&[Connected, StartTimeout], POLICY),
            (&[Connected, Start, Refused], POLICY),
            (&[Connected, Start, Start], POLICY),
            (&[Connected, Start, Granted, Start], POLICY),
            (&[Connected, Start, Granted, Stop, Start], POLICY),
            (&[Connected, Start, Granted, Bad(Defect::TooLarge)], POLICY),
            (&[Connected, Start, Granted, CallDied], INTERNAL),
            (&[Connected, Start, Granted, CallLeft], NORMAL),
            (&[Connected, Stop], NORMAL),
        ];
        for (inputs, code) in table {
            let (machine, out) = run(inputs);
            assert_eq!(out.last(), Some(&Output::Close(*code)), "{inputs:?}");
            assert!(machine.is_closed());
        }
    }

    #[test]
    fn a_key_pressed_while_the_call_is_asked_for_is_kept() {
        use Input::*;
        let (machine, out) = run(&[Connected, Start, Dtmf, Granted, Dtmf]);
        assert_eq!(out, [Output::Claim, Output::Keep, Output::Pass]);
        assert_eq!(machine.defects(), 0);
    }

    #[test]
    fn a_defect_is_told_once_a_kind_and_survived_fifty_times_in_a_row() {
        let mut machine = StreamMachine::default();
        machine.on(Input::Start);
        machine.on(Input::Granted);
        assert_eq!(machine.on(Input::Bad(Defect::Json)), [Output::Tell(Defect::Json)]);
        for _ in 1..50 {
            assert_eq!(machine.on(Input::Bad(Defect::Json)), []);
        }
        assert_eq!(machine.on(Input::Media), [Output::Pass], "one good frame starts the count anew");
        for _ in 0..50 {
            assert_eq!(machine.on(Input::Bad(Defect::Json)), []);
        }
        assert_eq!(machine.on(Input::Bad(Defect::Json)), [Output::TellBroke, Output::Close(POLICY)]);
        assert_eq!(machine.defects(), 101);
    }

    fn any_input() -> impl Strategy<Value = Input> {
        use Input::*;
        proptest::sample::select(vec![
            Connected,
            Start,
            Media,
            Dtmf,
            Mark,
            Stop,
            Bad(Defect::Json),
            Bad(Defect::Base64),
            Bad(Defect::WrongStream),
            Bad(Defect::TooLarge),
            Granted,
            Refused,
            StartTimeout,
            Silent,
            SocketGone,
            CallLeft,
            CallDied,
        ])
    }

    proptest! {
        #[test]
        fn any_order_of_events_is_survived(inputs in proptest::collection::vec(any_input(), 0..80)) {
            let mut machine = StreamMachine::default();
            let (mut claims, mut ends, mut closes) = (0, 0, 0);
            let mut granted = false;
            for input in inputs {
                let closed = machine.is_closed();
                let out = machine.on(input);
                prop_assert!(!closed || out.is_empty(), "a closed session is silent");
                granted |= input == Input::Granted && claims == 1;
                claims += out.iter().filter(|o| **o == Output::Claim).count();
                ends += out.iter().filter(|o| matches!(o, Output::TellBroke | Output::TellStopped)).count();
                closes += out.iter().filter(|o| matches!(o, Output::Close(_))).count();
                prop_assert!(granted || !out.contains(&Output::Pass), "nothing passes before the call is there");
            }
            prop_assert!(claims <= 1 && closes <= 1 && ends <= 1);
        }
    }
}
