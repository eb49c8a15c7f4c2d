//! What several themes share.

pub(crate) mod driver;
pub(crate) mod interpreter;
pub(crate) mod nets;
pub(crate) mod oracle;
pub(crate) mod sketch;
