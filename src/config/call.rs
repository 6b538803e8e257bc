//! The conversation: turn-taking, deadlines, limits.

use serde::Deserialize;

/// The conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallConfig {
    /// Voice over the bot that counts as an interruption once a word came with it, ms.
    pub barge_in_voice_ms: u64,
    /// Words that interrupt together with that much voice.
    pub barge_in_words: usize,
    /// Words that interrupt without voice having been measured.
    pub barge_in_words_alone: usize,
    /// Words that interrupt at once.
    pub interrupt_words: Vec<String>,
    /// Words that never interrupt by themselves.
    pub backchannels: Vec<String>,
    /// The caller's turn ends at the latest this long after the last new word, ms.
    pub hard_turn_stop_ms: u64,
    /// Without spoken audio this long after the end of a turn, a filler is spoken, ms.
    pub filler_ms: u64,
    /// Another filler this long after the last bot audio ended, ms.
    pub filler_repeat_ms: u64,
    /// Without spoken audio of the answer this long after the end of a turn: apology and a way out, ms.
    pub apology_ms: u64,
    /// Silence after the bot's last mark before it asks whether the caller is there, ms.
    pub idle_prompt_ms: u64,
    /// How often it asks before it says goodbye.
    pub idle_prompts: u32,
    /// Longest call, s.
    pub max_call_s: u64,
    /// How far the audio sent runs ahead of what is played, ms.
    pub playback_lead_ms: u64,
    /// The furthest it may run ahead, ms.
    pub playback_lead_max_ms: u64,
    /// How long a mark may be late before the playback is taken as stalled, ms.
    pub mark_grace_ms: u64,
    /// Bot audio kept ready to be sent, ms; beyond it the voice is read no further.
    pub playback_buffer_ms: u64,
    /// Restarts of one child within `restart_window_ms` before the call is degraded.
    pub restarts: u32,
    /// Window of those restarts, ms.
    pub restart_window_ms: u64,
    /// First wait before a child is restarted, ms; doubles.
    pub restart_ms: u64,
}

impl Default for CallConfig {
    fn default() -> Self {
        let words = |list: &str| list.split(',').map(|w| w.trim().to_owned()).collect();
        Self {
            barge_in_voice_ms: 200,
            barge_in_words: 1,
            barge_in_words_alone: 2,
            interrupt_words: words("stop, wait, no, hold on, hang on, excuse me, sorry, actually"),
            backchannels: words(
                "uh-huh, uh huh, mm-hmm, mhm, mm, hmm, yeah, yes, yep, ok, okay, right, sure, i see, got it, oh",
            ),
            hard_turn_stop_ms: 5_000,
            filler_ms: 1_200,
            filler_repeat_ms: 3_000,
            apology_ms: 10_000,
            idle_prompt_ms: 10_000,
            idle_prompts: 2,
            max_call_s: 1_800,
            playback_lead_ms: 400,
            playback_lead_max_ms: 1_000,
            mark_grace_ms: 2_000,
            playback_buffer_ms: 4_000,
            restarts: 3,
            restart_window_ms: 60_000,
            restart_ms: 100,
        }
    }
}
