//! Files and environment to one [`Config`]; the only reader of the environment.
//!
//! It decides nothing about the service: other modules have their `Options` and get values from here. All
//! keys stand in one table, [`keys::KEYS`], which drives reading, `knhk config show`, the messages and
//! docs/reference/config.md. Start at [`load`].

mod aside;
mod change;
mod edit;
mod environment;
mod error;
mod file;
mod fix;
mod keys;
mod layers;
mod memory;
mod nearest;
mod options;
mod places;
mod reference;
mod reload;
mod repair;
mod value;
mod write;

pub use aside::Aside;
pub use change::{Changed, set, unset};
pub use environment::Environment;
pub use error::{Error, Mistake};
pub use fix::{Fixed, FixedFile, How, check, fix};
pub use keys::{Config, KEYS, Key, Takes};
pub use layers::{FILE_BYTES_MAX, FOLDER_FILE_COUNT_MAX, Layers, Loaded, Origin, load};
pub use memory::{By, Memory, Part, check_memory, check_memory_of, mebibytes};
pub use nearest::nearest;
pub use places::Account;
pub use reference::reference;
pub use reload::{Change, Reloaded, reload};
pub use value::{CORE_COUNT_MAX, Cores, Rule, Span, TEXT_BYTES_MAX, Value};
