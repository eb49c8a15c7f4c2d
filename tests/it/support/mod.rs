//! What several themes share.

pub(crate) mod interpreter;
pub(crate) mod oracle;
