//! Logs: set-up, masking, secrets kept out.
