//! The state on disk: files, journal, working environment, verification.
