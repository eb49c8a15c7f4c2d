//! Predicates and mappings: the XQuery subset over case data, and that data itself. Pure.
