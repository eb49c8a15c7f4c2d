//! What can be wrong with an expression, its evaluation, a fragment or its JSON form.

use crate::error::{Code, Kind};

/// A failure of compiling, evaluating or reading data. Offsets count bytes from the start of the expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an expression.
    #[error("{message}")]
    Syntax {
        /// Where reading stopped.
        offset: u32,
        /// What was expected or found.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The text is longer than [`super::EXPRESSION_BYTES_MAX`].
    #[error("expression has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The expression nests deeper than [`super::DEPTH_MAX`].
    #[error("expression nests deeper than {limit} levels")]
    TooDeep {
        /// Where the limit was passed.
        offset: u32,
        /// The limit.
        limit: u32,
    },
    /// No function has this name.
    #[error("there is no function {name}()")]
    UnknownFunction {
        /// Where it is called.
        offset: u32,
        /// Its name as written.
        name: String,
    },
    /// The function takes another number of arguments.
    #[error("{name}() takes {takes}, not {given}")]
    ArgumentCount {
        /// Where it is called.
        offset: u32,
        /// Its name.
        name: &'static str,
        /// What it takes, in words.
        takes: &'static str,
        /// How many arguments stand there.
        given: usize,
    },
    /// No `for` or `let` around this place binds the variable.
    #[error("${name} is not bound here")]
    UnknownVariable {
        /// Where it is used.
        offset: u32,
        /// Its name without the dollar sign.
        name: String,
    },
    /// Part of the language of YAWL files, but not of this version.
    #[error("{what} is not supported yet")]
    NotYet {
        /// Where it stands.
        offset: u32,
        /// The construct.
        what: String,
    },
    /// Part of XQuery, but not of this language.
    #[error("{what} is not part of this language")]
    NotSupported {
        /// Where it stands.
        offset: u32,
        /// The construct.
        what: &'static str,
        /// What to write instead.
        hint: &'static str,
    },
    /// A value of another type is needed here.
    #[error("{message}")]
    Type {
        /// The operator or function.
        offset: u32,
        /// What was needed and what was found.
        message: String,
    },
    /// A text cannot be read as the number or boolean that is needed.
    #[error("{text:?} is not a {wanted}")]
    Cast {
        /// The operator or function that needs it.
        offset: u32,
        /// The text, shortened.
        text: String,
        /// `number` or `boolean`.
        wanted: &'static str,
    },
    /// An exact number was divided by zero.
    #[error("division by zero")]
    DivisionByZero {
        /// The operator.
        offset: u32,
    },
    /// An exact number left its range.
    #[error("number out of range: exact numbers have at most 38 digits, 18 of them after the point")]
    Overflow {
        /// The operator or literal.
        offset: u32,
    },
    /// The evaluation took more than [`super::STEPS_MAX`] steps.
    #[error("evaluation took more than {limit} steps")]
    TooManySteps {
        /// What was evaluated when the limit was reached.
        offset: u32,
        /// The limit.
        limit: u64,
    },
    /// The result, or a value on the way to it, is larger than [`super::RESULT_BYTES_MAX`].
    #[error("result is larger than {limit} bytes")]
    ResultTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The elements of the result nest deeper than [`super::ELEMENT_DEPTH_MAX`].
    #[error("elements of the result nest deeper than {limit} levels")]
    ResultTooDeep {
        /// The limit.
        limit: u32,
    },
    /// The result holds an element whose name XML cannot express: the root of a net or a variable with such an id.
    #[error("{name:?} is not an XML name, so the element cannot be part of a value")]
    ResultName {
        /// The name.
        name: String,
    },
    /// A text that should be XML content is not well formed.
    #[error("not well-formed XML: {message}")]
    NotXml {
        /// What is wrong and where.
        message: String,
    },
    /// An element of case data has an attribute.
    #[error("element {element} has an attribute {attribute}; case data has elements and text only")]
    Attribute {
        /// The element.
        element: String,
        /// The first of its attributes.
        attribute: String,
    },
    /// An element of case data is in a namespace or declares one.
    #[error("element {element} uses an XML namespace; case data has none")]
    Namespace {
        /// The element.
        element: String,
    },
    /// XML or JSON data is larger than [`super::RESULT_BYTES_MAX`].
    #[error("data has {bytes} bytes or more, the limit is {limit}")]
    DataTooLarge {
        /// Bytes counted so far.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// XML or JSON data nests deeper than [`super::ELEMENT_DEPTH_MAX`].
    #[error("data nests deeper than {limit} levels")]
    DataTooDeep {
        /// The limit.
        limit: u32,
    },
    /// Stored bytes are not a canonical fragment.
    #[error("stored fragment is not in canonical form at byte {at}")]
    NotCanonical {
        /// Byte offset in the fragment.
        at: usize,
    },
    /// A member of a JSON object cannot name an element.
    #[error("{name:?} at {pointer:?} is not an XML name")]
    JsonName {
        /// JSON pointer of the object.
        pointer: String,
        /// The member's name.
        name: String,
    },
    /// A JSON array stands where no member name says what it repeats.
    #[error("array at {pointer:?} has no element name to repeat")]
    JsonArray {
        /// JSON pointer of the array.
        pointer: String,
    },
    /// A JSON string has a character that XML cannot hold.
    #[error("string at {pointer:?} has the character {character:?}, which XML cannot hold")]
    JsonCharacter {
        /// JSON pointer of the string.
        pointer: String,
        /// The first such character.
        character: char,
    },
    /// A `#content` or `#xml` member is not in its documented form.
    #[error("member {name} at {pointer:?} is not {wanted}")]
    JsonForm {
        /// JSON pointer of the object.
        pointer: String,
        /// The member.
        name: &'static str,
        /// The form it must have.
        wanted: &'static str,
    },
}

impl Error {
    /// Returns the permanent code of this failure.
    pub const fn code(&self) -> Code {
        Code(match self {
            Self::Syntax { .. } => 200,
            Self::TooLong { .. } => 201,
            Self::TooDeep { .. } => 202,
            Self::UnknownFunction { .. } => 203,
            Self::ArgumentCount { .. } => 204,
            Self::UnknownVariable { .. } => 205,
            Self::NotYet { .. } => 206,
            Self::NotSupported { .. } => 207,
            Self::Type { .. } => 210,
            Self::Cast { .. } => 211,
            Self::DivisionByZero { .. } => 212,
            Self::Overflow { .. } => 213,
            Self::TooManySteps { .. } => 214,
            Self::ResultTooLarge { .. } => 215,
            Self::ResultTooDeep { .. } => 216,
            Self::ResultName { .. } => 217,
            Self::NotXml { .. } => 220,
            Self::Attribute { .. } => 221,
            Self::Namespace { .. } => 222,
            Self::DataTooLarge { .. } => 223,
            Self::DataTooDeep { .. } => 224,
            Self::NotCanonical { .. } => 225,
            Self::JsonName { .. } => 230,
            Self::JsonArray { .. } => 231,
            Self::JsonCharacter { .. } => 232,
            Self::JsonForm { .. } => 233,
        })
    }

    /// Returns what this failure means outside.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NotXml { .. }
            | Self::Attribute { .. }
            | Self::Namespace { .. }
            | Self::DataTooDeep { .. }
            | Self::JsonName { .. }
            | Self::JsonArray { .. }
            | Self::JsonCharacter { .. }
            | Self::JsonForm { .. } => Kind::Invalid,
            Self::DataTooLarge { .. } => Kind::TooLarge,
            Self::NotCanonical { .. } => Kind::Corrupt,
            _ => Kind::Unacceptable,
        }
    }

    /// Returns the byte offset in the expression that this failure is about, or 0 if it is about no single place.
    pub const fn offset(&self) -> u32 {
        match self {
            Self::Syntax { offset, .. }
            | Self::TooDeep { offset, .. }
            | Self::UnknownFunction { offset, .. }
            | Self::ArgumentCount { offset, .. }
            | Self::UnknownVariable { offset, .. }
            | Self::NotYet { offset, .. }
            | Self::NotSupported { offset, .. }
            | Self::Type { offset, .. }
            | Self::Cast { offset, .. }
            | Self::DivisionByZero { offset }
            | Self::Overflow { offset }
            | Self::TooManySteps { offset, .. } => *offset,
            _ => 0,
        }
    }

    /// Returns what the author can do about it, in one sentence.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Syntax { hint, .. } | Self::NotSupported { hint, .. } => hint,
            Self::TooLong { .. } => "split the mapping, or move the constant part into an initial value",
            Self::TooDeep { .. } => "split the expression over several mappings",
            Self::UnknownFunction { .. } => "docs/reference/expressions.md lists the functions",
            Self::ArgumentCount { .. } => "look at the commas and parentheses of this call",
            Self::UnknownVariable { .. } => {
                "variables of a net are reached by a path such as /Net/variable; $ is for `for` and `let`"
            }
            Self::NotYet { .. } => "leave it out for now; a later version will run it",
            Self::Type { .. } => "convert with number(), string() or boolean(), or pick one item",
            Self::Cast { .. } => "test the variable with exists() or compare it with '' first",
            Self::DivisionByZero { .. } => "test the divisor first: if ($n = 0) then ... else ...",
            Self::Overflow { .. } => "use number() to calculate with approximate numbers",
            Self::TooManySteps { .. } => "look for nested loops over long lists and for // paths",
            Self::ResultTooLarge { .. } | Self::DataTooLarge { .. } => {
                "keep large documents outside the case and pass a reference"
            }
            Self::ResultTooDeep { .. } | Self::DataTooDeep { .. } => {
                "flatten the data, or keep it outside the case and pass a reference"
            }
            Self::ResultName { .. } => {
                "name the variables in the mapping instead of copying the whole document"
            }
            Self::NotXml { .. } => {
                "check that every tag is closed and that < and & are written &lt; and &amp;"
            }
            Self::Attribute { .. } => "turn the attribute into a child element",
            Self::Namespace { .. } => "remove the prefix and the xmlns declaration",
            Self::NotCanonical { .. } => "run `knhk state verify`",
            Self::JsonName { .. } => "use letters, digits, _, - and ., starting with a letter or _",
            Self::JsonArray { .. } => "wrap the array in an object: {\"item\": [...]}",
            Self::JsonCharacter { .. } => "remove the control character",
            Self::JsonForm { .. } => "docs/reference/expressions.md shows the JSON form of case data",
        }
    }
}
