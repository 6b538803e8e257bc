//! What was said, as the model is to see it: bounded, never breaking the API's rules, never claiming unheard words.
//!
//! The conversation is kept in groups: one turn of the caller and all the bot did about it. A group is kept or dropped
//! as a whole, so that a tool call is never parted from its answer (TALK-5). `messages` derives the request from the
//! groups each time; a call without an answer gets one there, so the rules hold in every state.

mod words;

use super::chat::{ChatMessage, ToolCall};
use super::tools::shorten;
use crate::domain::ids::ReplyId;
use crate::domain::turn::{ResumeState, Speaker};
use serde_json::{Value, json};
use std::collections::VecDeque;
use words::{is_prefix, join, one_line, skip_words, split_words, tail};

/// Longest answer of a tool that is kept, in characters.
const TOOL_ANSWER: usize = 6_000;
/// Entries of a group after which the bot's own words and notes open a new one.
const GROUP_ENTRIES: usize = 16;
/// Longest digest of dropped turns, in characters.
const SUMMARY: usize = 1_500;

/// How much is kept word for word.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Groups (a caller's turn with its reply).
    pub turns: usize,
    /// Tokens, estimated.
    pub tokens: usize,
}

/// A tool call and its answer, once there is one.
#[derive(Clone, Debug)]
struct CallRecord {
    call: ToolCall,
    answer: Option<String>,
}

#[derive(Clone, Debug)]
enum Entry {
    /// The caller's words; `reply` answers them.
    Caller { reply: Option<ReplyId>, text: String },
    /// Something that happened beside the words: keys pressed.
    Note(String),
    /// What the bot said of its own accord, as heard.
    Bot(String),
    /// One round of the model: what it said and what it called.
    Step(Step),
}

#[derive(Clone, Debug)]
struct Step {
    reply: ReplyId,
    text: String,
    calls: Vec<CallRecord>,
    /// More sentences may be added.
    open: bool,
    /// What was heard of it is known.
    settled: bool,
}

type Group = Vec<Entry>;

/// The turn being answered.
#[derive(Clone, Debug)]
struct Turn {
    reply: ReplyId,
    /// All the caller said in it.
    whole: String,
    /// So many of its words stood in the history before: a withdrawn reply had called tools for them.
    kept: usize,
    settled: bool,
}

/// A turn that was taken back; the next answer brings it again, with more words.
#[derive(Clone, Debug)]
struct Withdrawn {
    whole: String,
    kept: usize,
}

/// The conversation so far.
#[derive(Clone, Debug)]
pub struct History {
    limits: Limits,
    groups: VecDeque<Group>,
    turn: Option<Turn>,
    withdrawn: Option<Withdrawn>,
    /// The digest of what was dropped.
    summary: Option<String>,
    /// Dropped and not yet summarised.
    dropped: String,
    /// Being summarised now.
    summarising: Option<String>,
}

impl History {
    /// An empty conversation.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            groups: VecDeque::new(),
            turn: None,
            withdrawn: None,
            summary: None,
            dropped: String::new(),
            summarising: None,
        }
    }

    /// The conversation of a call that is taken up again.
    pub fn resume(limits: Limits, state: &ResumeState) -> Self {
        let mut history = Self::new(limits);
        history.summary =
            state.summary.as_deref().map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned);
        for turn in &state.turns {
            let text = one_line(&turn.heard);
            match turn.speaker {
                _ if text.is_empty() => {}
                Speaker::Caller => history.groups.push_back(vec![Entry::Caller { reply: None, text }]),
                Speaker::Bot => history.add(Entry::Bot(text)),
            }
        }
        history
    }

    /// The caller's turn `text` is to be answered by `reply`.
    pub fn answer(&mut self, reply: ReplyId, text: &str) {
        let (whole, fresh, kept) = self.untold(text);
        if !fresh.is_empty() {
            self.groups.push_back(vec![Entry::Caller { reply: Some(reply), text: fresh }]);
        }
        self.turn = Some(Turn { reply, whole, kept, settled: false });
    }

    /// The caller's turn `text` was answered by somebody else.
    pub fn overheard(&mut self, text: &str) {
        let fresh = self.untold(text).1;
        if !fresh.is_empty() {
            self.groups.push_back(vec![Entry::Caller { reply: None, text: fresh }]);
        }
    }

    /// All of a turn, what of it is not in the history yet, and how many words of it are. A turn that was taken back
    /// is a part of it.
    fn untold(&mut self, text: &str) -> (String, String, usize) {
        let text = one_line(text);
        let (whole, kept) = match self.withdrawn.take() {
            Some(before) if is_prefix(&before.whole, &text) => (text, before.kept),
            // Not the turn that was taken back: neither may be lost.
            Some(before) => (join(&before.whole, &text), before.kept),
            None => (text, 0),
        };
        let fresh = skip_words(&whole, kept);
        (whole, fresh, kept)
    }

    /// The bot said something of its own accord.
    pub fn said(&mut self, heard: &str) {
        let heard = one_line(heard);
        if !heard.is_empty() {
            self.add(Entry::Bot(heard));
        }
    }

    /// Something happened beside the words.
    pub fn note(&mut self, text: &str) {
        let text = one_line(text);
        if !text.is_empty() {
            self.add(Entry::Note(format!("({text})")));
        }
    }

    /// The model has said one more sentence of `reply`.
    pub fn say(&mut self, reply: ReplyId, sentence: &str) {
        let step = self.open_step(reply);
        if let Some(step) = step {
            step.text = join(&step.text, &one_line(sentence));
        }
    }

    /// The model has called tools in `reply`; what it said before belongs to the same message. Ids must be unique.
    pub fn call_tools(&mut self, reply: ReplyId, calls: &[ToolCall]) {
        if let Some(step) = self.open_step(reply) {
            step.calls = calls.iter().map(|call| CallRecord { call: sendable(call), answer: None }).collect();
            step.open = false;
        }
    }

    /// Records the answer to a tool call. `false` if no such call waits for one.
    pub fn tool_answer(&mut self, id: &str, content: &Value) -> bool {
        let open =
            self.steps().rev().flat_map(|s| &mut s.calls).find(|c| c.call.id == id && c.answer.is_none());
        match open {
            Some(record) => {
                record.answer = Some(shorten(&content.to_string(), TOOL_ANSWER));
                true
            }
            None => false,
        }
    }

    /// Answers all open calls of a reply but `running`: they will not be carried out.
    pub fn abandon_calls(&mut self, reply: ReplyId, running: Option<&str>, content: &Value) {
        let content = content.to_string();
        for record in self.steps().filter(|s| s.reply == reply).flat_map(|s| &mut s.calls) {
            if record.answer.is_none() && running != Some(record.call.id.as_str()) {
                record.answer = Some(content.clone());
            }
        }
    }

    /// Nothing of a reply was heard and its turn is taken back. What tools did stays, and with it the words they were
    /// called for.
    pub fn withdraw(&mut self, reply: ReplyId) {
        match &mut self.turn {
            Some(turn) if turn.reply == reply && !turn.settled => {
                turn.settled = true;
                let (whole, mut kept) = (turn.whole.clone(), turn.kept);
                self.settle(reply, "");
                let of_turn = |e: &Entry| matches!(e, Entry::Caller { reply: Some(r), .. } if *r == reply);
                // Words that were dropped already live on in the summary: they cannot be taken back either.
                let gone = !self.groups.iter().flatten().any(of_turn);
                if gone || self.steps().any(|s| s.reply == reply) {
                    kept = split_words(&whole).count();
                } else {
                    for group in &mut self.groups {
                        group.retain(|e| !of_turn(e));
                    }
                    self.groups.retain(|g| !g.is_empty());
                }
                self.withdrawn = Some(Withdrawn { whole, kept });
            }
            // An older turn was answered long ago: its words stand.
            _ => self.heard(reply, ""),
        }
    }

    /// The caller cut a reply short after having heard `prefix` of it.
    pub fn heard(&mut self, reply: ReplyId, prefix: &str) {
        if let Some(turn) = &mut self.turn
            && turn.reply == reply
        {
            if turn.settled {
                return;
            }
            turn.settled = true;
        }
        self.settle(reply, prefix);
    }

    /// All of a reply was heard.
    pub fn heard_all(&mut self, reply: ReplyId) {
        if let Some(turn) = &mut self.turn
            && turn.reply == reply
        {
            turn.settled = true;
        }
        for step in self.steps().filter(|s| s.reply == reply) {
            step.settled = true;
        }
    }

    /// Drops the oldest groups until the limits hold; the newest always stays. What was dropped awaits `to_summarise`.
    pub fn trim(&mut self) {
        let mut tokens: usize = self.groups.iter().map(group_tokens).sum();
        while self.groups.len() > 1 && (self.groups.len() > self.limits.turns || tokens > self.limits.tokens)
        {
            if let Some(group) = self.groups.pop_front() {
                tokens = tokens.saturating_sub(group_tokens(&group));
                self.dropped.push_str(&transcript(&group));
            }
        }
    }

    /// What is to be summarised now, with the summary so far. One at a time: `summarised` must follow.
    pub fn to_summarise(&mut self) -> Option<String> {
        if self.dropped.is_empty() || self.summarising.is_some() {
            return None;
        }
        let taken = std::mem::take(&mut self.dropped);
        let text = match &self.summary {
            Some(summary) => format!("Summary so far: {summary}\n{taken}"),
            None => taken.clone(),
        };
        self.summarising = Some(taken);
        Some(text)
    }

    /// The summary of what `to_summarise` gave out, or none if there is none to be had: then the last of the dropped
    /// words have to do. Gives the new digest.
    pub fn summarised(&mut self, summary: Option<&str>) -> Option<&str> {
        let taken = self.summarising.take()?;
        let digest = match summary.map(one_line).filter(|s| !s.is_empty()) {
            Some(summary) => shorten(&summary, SUMMARY),
            None => tail(&join(self.summary.as_deref().unwrap_or_default(), &one_line(&taken)), SUMMARY),
        };
        self.summary = Some(digest);
        self.summary.as_deref()
    }

    /// The conversation as a request's messages, after this system prompt.
    pub fn messages(&self, system: &str) -> Vec<ChatMessage> {
        let mut out = vec![ChatMessage::System(self.system(system))];
        for entry in self.groups.iter().flatten() {
            match entry {
                Entry::Caller { text, .. } | Entry::Note(text) => push_user(&mut out, text),
                Entry::Bot(text) => push_assistant(&mut out, text, Vec::new()),
                Entry::Step(step) => {
                    let calls = step.calls.iter().map(|r| r.call.clone()).collect();
                    push_assistant(&mut out, &step.text, calls);
                    out.extend(step.calls.iter().map(|record| ChatMessage::Tool {
                        id: record.call.id.clone(),
                        name: record.call.name.clone(),
                        content: record.answer.clone().unwrap_or_else(|| unanswered().to_string()),
                    }));
                }
            }
        }
        out
    }

    /// Tokens of the groups, estimated.
    pub fn tokens(&self) -> usize {
        self.groups.iter().map(group_tokens).sum()
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// One system message only: some hosts' templates refuse a second.
    fn system(&self, prompt: &str) -> String {
        let waiting = self.summarising.as_deref().unwrap_or_default().to_owned() + &self.dropped;
        let mut digest = self.summary.clone().unwrap_or_default();
        if !waiting.is_empty() {
            digest = join(&digest, &tail(&one_line(&waiting), SUMMARY));
        }
        if digest.is_empty() {
            prompt.to_owned()
        } else {
            format!("{prompt}\n\nEarlier in this call: {digest}")
        }
    }

    fn steps(&mut self) -> impl DoubleEndedIterator<Item = &mut Step> {
        self.groups.iter_mut().flatten().filter_map(|e| match e {
            Entry::Step(step) => Some(step),
            Entry::Caller { .. } | Entry::Note(_) | Entry::Bot(_) => None,
        })
    }

    /// Adds to the last group, or opens one where that has become long.
    fn add(&mut self, entry: Entry) {
        match self.groups.back_mut() {
            Some(group) if group.len() < GROUP_ENTRIES => group.push(entry),
            _ => self.groups.push_back(vec![entry]),
        }
    }

    /// The step of `reply` that still grows; a new one in the last group if there is none.
    fn open_step(&mut self, reply: ReplyId) -> Option<&mut Step> {
        if !self.steps().any(|s| s.reply == reply && s.open) {
            let step = Step { reply, text: String::new(), calls: Vec::new(), open: true, settled: false };
            match self.groups.back_mut() {
                Some(group) => group.push(Entry::Step(step)),
                None => self.groups.push_back(vec![Entry::Step(step)]),
            }
        }
        self.steps().rev().find(|s| s.reply == reply && s.open)
    }

    /// Cuts what a reply said to the words that were heard, in order; what is left empty and called nothing vanishes.
    fn settle(&mut self, reply: ReplyId, heard: &str) {
        let mut heard: VecDeque<&str> = split_words(heard).collect();
        let mut unsettled = self.steps().filter(|s| s.reply == reply && !s.settled).peekable();
        while let Some(step) = unsettled.next() {
            let said = split_words(&step.text).count();
            // The last one takes whatever was heard beyond what we know to have been said.
            let count = if unsettled.peek().is_some() { said.min(heard.len()) } else { heard.len() };
            step.text = heard.drain(..count).collect::<Vec<_>>().join(" ");
            step.open = false;
            step.settled = true;
        }
        drop(unsettled);
        for group in &mut self.groups {
            group.retain(|e| match e {
                Entry::Step(s) => s.reply != reply || !s.text.is_empty() || !s.calls.is_empty(),
                Entry::Caller { .. } | Entry::Note(_) | Entry::Bot(_) => true,
            });
        }
        self.groups.retain(|g| !g.is_empty());
    }
}

/// The answer in place of one that has not come.
fn unanswered() -> Value {
    json!({"error": "not_finished", "message": "There is no answer yet. Do not claim that it succeeded."})
}

/// A call as it may be sent back: strict hosts parse the arguments again, so what is no object is left out.
fn sendable(call: &ToolCall) -> ToolCall {
    let is_object = serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments).is_ok();
    let arguments = if is_object { call.arguments.clone() } else { "{}".to_owned() };
    ToolCall { id: call.id.clone(), name: call.name.clone(), arguments }
}

fn push_user(out: &mut Vec<ChatMessage>, text: &str) {
    match out.last_mut() {
        Some(ChatMessage::User(before)) => *before = join(before, text),
        _ => out.push(ChatMessage::User(text.to_owned())),
    }
}

fn push_assistant(out: &mut Vec<ChatMessage>, said: &str, calls: Vec<ToolCall>) {
    if said.is_empty() && calls.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(ChatMessage::Assistant { text, tool_calls }) if tool_calls.is_empty() => {
            *text = join(text, said);
            *tool_calls = calls;
        }
        _ => out.push(ChatMessage::Assistant { text: said.to_owned(), tool_calls: calls }),
    }
}

/// About four characters a token, and a few for each message's frame.
fn estimate(text: &str) -> usize {
    text.chars().count() / 4 + 5
}

fn group_tokens(group: &Group) -> usize {
    group
        .iter()
        .map(|entry| match entry {
            Entry::Caller { text, .. } | Entry::Note(text) | Entry::Bot(text) => estimate(text),
            Entry::Step(step) => {
                let calls = step.calls.iter().map(|r| {
                    estimate(&r.call.name)
                        + estimate(&r.call.arguments)
                        + r.answer.as_deref().map_or(30, estimate)
                });
                estimate(&step.text) + calls.sum::<usize>()
            }
        })
        .sum()
}

/// A dropped group as text.
fn transcript(group: &Group) -> String {
    let mut out = String::new();
    let mut line = |who: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(who);
            out.push_str(text);
            out.push('\n');
        }
    };
    for entry in group {
        match entry {
            Entry::Caller { text, .. } | Entry::Note(text) => line("Caller: ", text),
            Entry::Bot(text) => line("Receptionist: ", text),
            Entry::Step(step) => {
                line("Receptionist: ", &step.text);
                for record in &step.calls {
                    let answer = record.answer.as_deref().unwrap_or("no answer");
                    let did =
                        format!("{} {}: {}", record.call.name, record.call.arguments, shorten(answer, 400));
                    line("Tool: ", &did);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
