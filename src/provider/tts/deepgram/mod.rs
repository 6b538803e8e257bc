//! Deepgram Aura, the fallback voice.
