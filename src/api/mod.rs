//! HTTP: decode, call the engine, encode. No workflow rule lives here.
