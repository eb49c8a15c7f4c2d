//! The hot path: tables, markings and a wave of steps to markings and outcomes. Pure.
