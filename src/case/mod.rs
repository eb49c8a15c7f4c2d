//! The state machine of one case: a command becomes a step, a step becomes facts, facts become rows. Pure.
//!
//! Start at [`plan::plan`] (command to step), [`settle::settle`] (what the kernel did to facts), [`fold::fold`]
//! (facts to rows: nothing else changes a row) and [`duty::duty`] (what a case does without being asked).
//! Nothing here keeps a queue, reads a clock or knows how a marking is stored: `engine` drives it.

pub mod command;
mod data;
pub mod duty;
pub mod effort;
pub mod encode;
mod ending;
pub mod event;
pub mod fold;
mod lexical;
pub mod plan;
pub mod row;
pub mod settle;
pub mod state;
#[cfg(test)]
mod tests;
pub mod view;

pub use command::{Command, Error};
pub use data::DATA_BYTES_MAX;
