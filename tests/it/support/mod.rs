//! What several themes share.

pub(crate) mod driver;
pub(crate) mod fake_time;
pub(crate) mod heavy;
pub(crate) mod http;
pub(crate) mod interpreter;
pub(crate) mod load;
pub(crate) mod nets;
pub(crate) mod oracle;
pub(crate) mod random;
pub(crate) mod service;
pub(crate) mod sketch;
pub(crate) mod wait;
