//! The vendors over real sockets.
