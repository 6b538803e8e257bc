//! Deepgram live transcription, protocol v1.
