//! The state machine of one case: plan, settle, fold. Pure.
