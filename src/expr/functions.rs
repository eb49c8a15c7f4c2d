//! The functions an expression may call: their names and how many arguments they take.

use super::Error;

/// A function of this language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    True,
    False,
    Not,
    Boolean,
    Number,
    String,
    Count,
    Empty,
    Exists,
    Sum,
    Concat,
    Contains,
}

/// One line of the table of functions.
struct Row {
    function: Function,
    name: &'static str,
    arguments: std::ops::RangeInclusive<usize>,
    takes: &'static str,
}

const NONE: &str = "no arguments";
const ONE: &str = "one argument";

const TABLE: [Row; 12] = [
    Row { function: Function::True, name: "true", arguments: 0..=0, takes: NONE },
    Row { function: Function::False, name: "false", arguments: 0..=0, takes: NONE },
    Row { function: Function::Not, name: "not", arguments: 1..=1, takes: ONE },
    Row { function: Function::Boolean, name: "boolean", arguments: 1..=1, takes: ONE },
    Row { function: Function::Number, name: "number", arguments: 0..=1, takes: "at most one argument" },
    Row { function: Function::String, name: "string", arguments: 0..=1, takes: "at most one argument" },
    Row { function: Function::Count, name: "count", arguments: 1..=1, takes: ONE },
    Row { function: Function::Empty, name: "empty", arguments: 1..=1, takes: ONE },
    Row { function: Function::Exists, name: "exists", arguments: 1..=1, takes: ONE },
    Row { function: Function::Sum, name: "sum", arguments: 1..=1, takes: ONE },
    Row {
        function: Function::Concat,
        name: "concat",
        arguments: 2..=usize::MAX,
        takes: "two or more arguments",
    },
    Row { function: Function::Contains, name: "contains", arguments: 2..=2, takes: "two arguments" },
];

/// Functions that workflow files use and a later version will run; `timer` is YAWL's own.
const NOT_YET: &[&str] = &[
    "abs",
    "avg",
    "ceiling",
    "current-date",
    "current-dateTime",
    "current-time",
    "data",
    "distinct-values",
    "ends-with",
    "floor",
    "last",
    "local-name",
    "lower-case",
    "matches",
    "max",
    "min",
    "name",
    "normalize-space",
    "position",
    "replace",
    "round",
    "starts-with",
    "string-join",
    "string-length",
    "substring",
    "substring-after",
    "substring-before",
    "timer",
    "tokenize",
    "upper-case",
];

impl Function {
    /// Returns the name without prefix.
    pub(super) fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.function == self).map_or("", |row| row.name)
    }
}

/// Finds the function that a call means.
pub(super) fn find(written: &str, arguments: usize, offset: u32) -> Result<Function, Error> {
    let name = written.strip_prefix("fn:").unwrap_or(written);
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        let fits = row.arguments.contains(&arguments);
        return if fits {
            Ok(row.function)
        } else {
            Err(Error::ArgumentCount { offset, name: row.name, takes: row.takes, given: arguments })
        };
    }
    if NOT_YET.contains(&name) || name.starts_with("xs:") {
        return Err(Error::NotYet { offset, what: format!("function {name}()") });
    }
    Err(Error::UnknownFunction { offset, name: written.to_owned() })
}
