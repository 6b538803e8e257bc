//! Hours, slots, availability and spoken dates. Pure.
