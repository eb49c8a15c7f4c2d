//! What cases do: a net and commands in, history and state out.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

mod data;
mod flow;
mod limits;
mod random;
mod trouble;

use expect_test::Expect;

use crate::support::driver::play;
use crate::support::sketch;

/// Plays a script on the case of a sketched net (`support::sketch`, `support::driver`) and compares the tale.
fn check(net: &str, script: &str, expected: Expect) {
    expected.assert_eq(&play(&sketch::xml(net), script));
}
