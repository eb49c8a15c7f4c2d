//! Files and environment to each module's options; the only reader of the environment.
