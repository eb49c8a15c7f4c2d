//! Commands, and what people see.
