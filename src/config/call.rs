//! The conversation: turn-taking, deadlines, limits.

use super::setting::{settings, words};
use super::validate::within;

settings! {
    /// The conversation.
    pub struct CallConfig {
        /// Voice over the bot that counts as an interruption once a word came with it, ms.
        barge_in_voice_ms: u64 = 200, check within(0, 5_000);
        /// Words that interrupt together with that much voice.
        barge_in_words: usize = 1, check within(1, 20);
        /// Words that interrupt without voice having been measured.
        barge_in_words_alone: usize = 2, check within(1, 20);
        /// Words that interrupt at once.
        interrupt_words: Vec<String> = words(
            "stop, wait, no, hold on, hang on, excuse me, sorry, actually",
        );
        /// Words that never interrupt by themselves.
        backchannels: Vec<String> = words(
            "uh-huh, uh huh, mm-hmm, mhm, mm, hmm, yeah, yes, yep, ok, okay, right, sure, i see, got it, oh",
        );
        /// The caller's turn ends at the latest this long after the last new word, ms.
        hard_turn_stop_ms: u64 = 5_000, check within(500, 60_000);
        /// Without spoken audio this long after the end of a turn, a filler is spoken, ms.
        filler_ms: u64 = 1_200, check within(100, 60_000);
        /// Another filler this long after the last bot audio ended, ms.
        filler_repeat_ms: u64 = 3_000, check within(500, 60_000);
        /// Without spoken audio of the answer this long after the end of a turn, or without a recogniser for so long:
        /// apology and a way out, ms.
        apology_ms: u64 = 10_000, check within(1_000, 120_000);
        /// Silence after the bot's last mark before it asks whether the caller is there, ms.
        idle_prompt_ms: u64 = 10_000, check within(1_000, 600_000);
        /// How often it asks before it says goodbye.
        idle_prompts: u32 = 2, check within(0, 20);
        /// Longest call, s.
        max_call_s: u64 = 1_800, check within(30, 86_400);
        /// How far the audio sent runs ahead of what is played, ms.
        playback_lead_ms: u64 = 400, check within(20, 1_000);
        /// How long a mark may be late before the playback is taken as stalled, ms.
        mark_grace_ms: u64 = 2_000, check within(100, 60_000);
        /// Bot audio kept ready to be sent, ms; beyond it the voice is read no further.
        playback_buffer_ms: u64 = 10_000, check within(200, 60_000);
        /// Restarts of one child within `restart_window_ms` before the call is degraded.
        restarts: u32 = 3, check within(0, 100);
        /// Window of those restarts, ms.
        restart_window_ms: u64 = 60_000, check within(100, 3_600_000);
        /// First wait before a child is restarted, ms; doubles.
        restart_ms: u64 = 100, check within(1, 2_000);
    }
}
