//! ElevenLabs streaming synthesis over HTTP.
