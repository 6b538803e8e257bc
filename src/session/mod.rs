//! Our end of one Media Stream: the WebSocket actor and its state machine.
