//! What cases do: commands in, history and state out.
