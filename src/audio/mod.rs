//! Audio: mu-law, framing, resampling, voice activity. Pure.
