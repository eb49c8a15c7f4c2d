//! What can be wrong with a request, or with the place where requests should arrive.

use std::path::PathBuf;

use crate::error::{Code, Kind};

/// A request that cannot be carried out, or a listener that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is served at this path.
    #[error("nothing is served at {path}")]
    NoRoute {
        /// The path as sent.
        path: String,
    },
    /// The path exists, but not with this method.
    #[error("{method} is not possible here, only {allow}")]
    Method {
        /// The method as sent.
        method: String,
        /// The methods that are.
        allow: String,
    },
    /// The body is larger than the service accepts.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is no JSON.
    #[error("the body is not JSON: {message} at line {line}, column {column}")]
    Json {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The body nests too deep.
    #[error("the body nests deeper than {limit} levels at line {line}, column {column}")]
    JsonTooDeep {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
        /// The limit in levels.
        limit: usize,
    },
    /// An object names a member twice.
    #[error("member {member:?} stands twice in one object, the second time at line {line}, column {column}")]
    JsonTwice {
        /// The member.
        member: String,
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
    },
    /// The body has a member that means nothing here.
    #[error("there is no member {member:?} here")]
    UnknownMember {
        /// The member.
        member: String,
        /// What may have been meant, or all that may stand here.
        hint: String,
    },
    /// The body lacks a member.
    #[error("member {member:?} is missing")]
    MissingMember {
        /// The member.
        member: &'static str,
    },
    /// A member has the wrong type or value.
    #[error("member {member:?} must be {wanted}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it must be.
        wanted: String,
    },
    /// The query has a parameter that means nothing here.
    #[error("there is no query parameter {parameter:?} here")]
    UnknownParameter {
        /// The parameter.
        parameter: String,
        /// What may have been meant, or all that may stand here.
        hint: String,
    },
    /// A query parameter has an impossible value.
    #[error("query parameter {parameter} must be {wanted}, not {value:?}")]
    Parameter {
        /// The parameter.
        parameter: &'static str,
        /// What it must be.
        wanted: String,
        /// The value, shortened.
        value: String,
    },
    /// The body is of a type that this route does not read.
    #[error("a body of type {media_type:?} is not read here")]
    MediaType {
        /// The type as sent, shortened.
        media_type: String,
        /// The types that are.
        wanted: &'static str,
    },
    /// The client accepts none of the types that this route can give.
    #[error("none of the types in Accept can be given here")]
    NotAcceptable {
        /// The types that can be given.
        offered: &'static str,
    },
    /// A key is not of the form that keys have.
    #[error("{name} must be 1 to {limit} visible ASCII characters")]
    Key {
        /// Header or member that holds it.
        name: &'static str,
        /// The limit in characters.
        limit: usize,
    },
    /// A business key is not of the form that they have.
    #[error("{name} must be 1 to {limit} characters without control characters")]
    BusinessKey {
        /// Member that holds it.
        name: &'static str,
        /// The limit in characters.
        limit: usize,
    },
    /// A header's value is longer than the limit.
    #[error("header {name} has {bytes} bytes, the limit is {limit}")]
    HeaderTooLong {
        /// The header, shortened.
        name: String,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Path and query are longer than the limit.
    #[error("path and query have {bytes} bytes, the limit is {limit}")]
    PathTooLong {
        /// Their length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A part of the path or query is not percent-encoded UTF-8.
    #[error("{what} is not percent-encoded UTF-8")]
    Encoding {
        /// Which part.
        what: &'static str,
    },
    /// The text cannot be an id.
    #[error("{text:?} is not the id of a {what}")]
    Id {
        /// The text, shortened.
        text: String,
        /// `case` or `work item`.
        what: &'static str,
    },
    /// A batch has too many lines.
    #[error("the batch has more than {limit} lines")]
    BatchTooLong {
        /// The limit in lines.
        limit: usize,
    },
    /// A batch line names an operation that does not exist.
    #[error("there is no operation {op:?}")]
    Operation {
        /// The operation as sent, shortened.
        op: String,
        /// What may have been meant, or all there are.
        hint: String,
    },
    /// The header key was given for a batch, whose lines have keys of their own.
    #[error("Idempotency-Key is not possible for a batch")]
    BatchKey,
    /// A value cannot be case data.
    #[error("the value of {name:?} cannot be case data: {message}")]
    Data {
        /// Name of the parameter.
        name: String,
        /// Code of the reason.
        code: Code,
        /// Kind of the reason.
        kind: Kind,
        /// The reason.
        message: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// An XML body is not one element with a child element a parameter.
    #[error("the XML body {message}")]
    XmlShape {
        /// What is wrong.
        message: String,
    },
    /// The service cannot do its work.
    #[error("the service cannot do its work: {reasons}")]
    Failing {
        /// Why, joined.
        reasons: String,
    },
    /// The request is not HTTP as this service reads it.
    #[error("{what} cannot be read")]
    Http {
        /// Which part.
        what: &'static str,
    },
    /// A header that means something only once stands twice.
    #[error("the header {name} stands twice")]
    HeaderTwice {
        /// The header, in lower case.
        name: &'static str,
    },
    /// The request does not say for which host it is, or that is not a valid host.
    #[error("the header Host is missing, or is no name or address with perhaps a port")]
    Host,
    /// The client expects something that this service does not do.
    #[error("the header Expect asks for something else than 100-continue")]
    Expectation,
    /// The sizes of chunks take more bytes than they may.
    #[error("the body comes in chunks that are too small")]
    ChunksTooSmall,
    /// Request line and headers are larger than the limit.
    #[error("request line and headers are more than {bytes_limit} bytes or {count_limit} headers")]
    HeadTooLarge {
        /// The limit in bytes.
        bytes_limit: usize,
        /// The limit in headers.
        count_limit: usize,
    },
    /// More connections, or more bytes of bodies, than the service holds at a time.
    #[error("too many requests at once")]
    TooManyAtOnce,
    /// A client has its share of what all requests have together.
    #[error("this client has its share of the {what} that are held at a time")]
    ShareUsed {
        /// Of what.
        what: &'static str,
    },
    /// The log takes no more lines about changes in this second.
    #[error("the log has no room for a line about this change before the next second")]
    AuditFull,
    /// A page of another site asks a browser to change something here.
    #[error("a page of {origin:?} may not change anything here")]
    Origin {
        /// The site, shortened.
        origin: String,
    },
    /// The request was meant for another host: its sender believes that a name which is not ours leads there.
    #[error("{host:?} is not a name of this service")]
    OtherHost {
        /// The host as sent, shortened.
        host: String,
    },
    /// The user who asks may not use the local port.
    #[error(
        "user {user} may not use this port: only root, the service's own user and members of group {group} may"
    )]
    User {
        /// The user's number.
        user: u32,
        /// Name of the group, or its number.
        group: String,
    },
    /// Which user asks is not known.
    #[error("which user of this machine asks cannot be found out")]
    NoUser,
    /// Headers or body did not come in time.
    #[error("the request did not come in time: {limit}")]
    Slow {
        /// The limit that ended it, with its unit and what it is for.
        limit: String,
    },
    /// The body ended early or its chunks make no sense.
    #[error("the body is not as long as its headers say, or not in chunks as they say")]
    BodyBroken,
    /// Somebody else has the address.
    #[error("cannot listen on {address}: {holder} has it")]
    AddressInUse {
        /// The address.
        address: String,
        /// Who has it, as far as can be told.
        holder: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another service answers at the socket.
    #[error("another service answers at {}", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// A server could not be started on a listener.
    #[error("cannot start the server: {message}")]
    Start {
        /// Why.
        message: String,
    },
    /// The engine left an operation of a batch without an answer.
    #[error("an operation was left without an answer")]
    NoAnswer,
    /// The body is compressed.
    #[error("a body in the encoding {encoding:?} is not read here")]
    ContentEncoding {
        /// The encoding as sent, shortened.
        encoding: String,
    },
    /// The request shows no token, or several.
    #[error("a token is needed here")]
    NoBearer,
    /// The token is none, or was revoked.
    #[error("the token is not known")]
    UnknownToken,
    /// The token has ended.
    #[error("the token has expired")]
    ExpiredToken,
    /// The token may not do this.
    #[error("the token has the scope {has}, this takes {needs}")]
    Scope {
        /// What the token may do.
        has: &'static str,
        /// What it would have to.
        needs: &'static str,
    },
    /// A file or folder of the remote side cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    RemoteFile {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the remote side does not hold what it should.
    #[error("{} {what}", path.display())]
    RemoteContent {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence.
        what: String,
    },
    /// A token cannot have this name.
    #[error("the name of a token has 1 to {limit} letters, digits, dots, dashes and underlines")]
    TokenName {
        /// The limit in characters.
        limit: usize,
    },
    /// There is a token of this name.
    #[error("there is a token {name:?} already")]
    TokenExists {
        /// The name.
        name: String,
    },
    /// There is no token of this name.
    #[error("there is no token {name:?}")]
    NoToken {
        /// The name.
        name: String,
    },
    /// There are as many tokens as there may be.
    #[error("there are {limit} tokens already")]
    TokensFull {
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// The code of [`Error::Scope`].
    pub(super) const SCOPE: Code = Code(554);
    /// The code of [`Error::Origin`].
    pub(super) const ORIGIN: Code = Code(528);

    /// Returns the permanent code.
    pub fn code(&self) -> Code {
        Code(match self {
            Self::NoRoute { .. } => 500,
            Self::Method { .. } => 501,
            Self::BodyTooLarge { .. } => 502,
            Self::Json { .. } => 503,
            Self::JsonTooDeep { .. } => 504,
            Self::JsonTwice { .. } => 505,
            Self::UnknownMember { .. } => 506,
            Self::MissingMember { .. } => 507,
            Self::Member { .. } => 508,
            Self::UnknownParameter { .. } => 509,
            Self::Parameter { .. } => 510,
            Self::MediaType { .. } => 511,
            Self::NotAcceptable { .. } => 512,
            Self::Key { .. } => 513,
            Self::BusinessKey { .. } => 529,
            Self::HeaderTooLong { .. } => 514,
            Self::PathTooLong { .. } => 515,
            Self::Encoding { .. } => 516,
            Self::Id { .. } => 517,
            Self::BatchTooLong { .. } => 518,
            Self::Operation { .. } => 519,
            Self::BatchKey => 520,
            Self::XmlShape { .. } => 521,
            Self::Failing { .. } => 522,
            Self::Slow { .. } => 523,
            Self::BodyBroken => 524,
            Self::Http { .. } => 525,
            Self::HeadTooLarge { .. } => 526,
            Self::TooManyAtOnce => 527,
            Self::ShareUsed { .. } => 375,
            Self::AuditFull => 376,
            Self::Origin { .. } => 528,
            Self::HeaderTwice { .. } => 366,
            Self::Host => 367,
            Self::Expectation => 368,
            Self::ChunksTooSmall => 369,
            Self::OtherHost { .. } => 370,
            Self::User { .. } => 371,
            Self::NoUser => 372,
            Self::AddressInUse { .. } => 530,
            Self::Listen { .. } => 531,
            Self::SocketInUse { .. } => 532,
            Self::Start { .. } => 533,
            Self::NoAnswer => 540,
            Self::ContentEncoding { .. } => 550,
            Self::NoBearer => 551,
            Self::UnknownToken => 552,
            Self::ExpiredToken => 553,
            Self::Scope { .. } => 554,
            Self::RemoteFile { .. } => 555,
            Self::RemoteContent { .. } => 556,
            Self::TokenName { .. } => 557,
            Self::TokenExists { .. } => 558,
            Self::NoToken { .. } => 559,
            Self::TokensFull { .. } => 560,
            Self::Data { code, .. } => return *code,
        })
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoRoute { .. } | Self::Id { .. } | Self::NoToken { .. } => Kind::NotFound,
            Self::BodyTooLarge { .. } | Self::BatchTooLong { .. } => Kind::TooLarge,
            Self::Failing { .. } => Kind::Unavailable,
            Self::TooManyAtOnce | Self::ShareUsed { .. } | Self::AuditFull => Kind::Busy,
            Self::AddressInUse { .. }
            | Self::Listen { .. }
            | Self::SocketInUse { .. }
            | Self::Start { .. }
            | Self::RemoteFile { .. } => Kind::Io,
            Self::RemoteContent { .. } => Kind::Configuration,
            Self::TokenName { .. } => Kind::Usage,
            Self::TokenExists { .. } | Self::TokensFull { .. } => Kind::Conflict,
            Self::NoAnswer => Kind::Internal,
            Self::Data { kind, .. } => *kind,
            _ => Kind::Invalid,
        }
    }

    /// Returns the status of the answer: that of the kind, except where HTTP has a word of its own.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoBearer | Self::UnknownToken | Self::ExpiredToken => 401,
            Self::Origin { .. } | Self::Scope { .. } | Self::User { .. } | Self::NoUser => 403,
            Self::Method { .. } => 405,
            Self::NotAcceptable { .. } => 406,
            Self::Slow { .. } => 408,
            Self::PathTooLong { .. } => 414,
            Self::MediaType { .. } | Self::ContentEncoding { .. } => 415,
            Self::Expectation => 417,
            Self::OtherHost { .. } => 421,
            Self::HeaderTooLong { .. } | Self::HeadTooLarge { .. } => 431,
            _ => self.kind().outside().http,
        }
    }

    /// Returns what the client can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRoute { .. } => "GET /openapi.json lists the routes; an id is percent-encoded",
            Self::Method { .. } | Self::Failing { .. } | Self::Listen { .. } | Self::Start { .. } => {
                return None;
            }
            Self::BodyTooLarge { .. } => "send less, or raise body_bytes_max in the configuration",
            Self::Json { .. } => "send one JSON object",
            Self::JsonTooDeep { .. } => "flatten the data, or keep it outside the case and pass a reference",
            Self::JsonTwice { .. } => "an array as the member's value repeats an element",
            Self::UnknownMember { hint, .. }
            | Self::UnknownParameter { hint, .. }
            | Self::Operation { hint, .. } => return Some(hint.clone()),
            Self::MissingMember { .. } | Self::Member { .. } | Self::Parameter { .. } => {
                "GET /openapi.json says what each route takes"
            }
            Self::MediaType { wanted, .. } => return Some(format!("set Content-Type to {wanted}")),
            Self::NotAcceptable { offered } => return Some(format!("set Accept to {offered}")),
            Self::Key { .. } => "a UUID is a good key",
            Self::BusinessKey { .. } => "take the number or name that people know the case by",
            Self::HeaderTooLong { .. } => "send a shorter header",
            Self::PathTooLong { .. } => "send shorter filters",
            Self::Encoding { .. } => "write every other byte as % and two hexadecimal digits",
            Self::Id { .. } => "a case id has 12 characters; a work item id is CASE-NUMBER",
            Self::BatchTooLong { .. } => {
                "send several batches, or raise batch_lines_max in the configuration"
            }
            Self::BatchKey => "give each line a member \"key\"",
            Self::XmlShape { .. } => "send one root element with one child element for each parameter",
            Self::Slow { .. } => "send the request without pauses",
            Self::Http { .. } => "send HTTP/1.1 with lines that end in CR LF",
            Self::HeaderTwice { .. } => "send it once",
            Self::Host => "send one header Host with the name or address that you connected to",
            Self::Expectation => "leave Expect out",
            Self::ChunksTooSmall => "send chunks of a kilobyte or more, or Content-Length",
            Self::HeadTooLarge { .. } => "send fewer or shorter headers",
            Self::TooManyAtOnce => "reuse connections, and ask again in a second",
            Self::ShareUsed { .. } => "wait for some of the answers, then ask again",
            Self::AuditFull => "ask again in a second; many changes go by one POST /batch",
            Self::BodyBroken => "let the HTTP library set Content-Length",
            Self::AddressInUse { .. } => "stop it, or set listen to another port in the configuration",
            Self::SocketInUse { .. } => "stop the other service, or set socket in the configuration",
            Self::NoAnswer => "ask for the case or item before asking again; please report this",
            Self::ContentEncoding { .. } => "send the body as it is",
            Self::Data { hint, .. } => hint,
            _ => return self.access_hint(),
        };
        Some(hint.to_owned())
    }

    /// Returns what to do about an error that concerns who may ask.
    fn access_hint(&self) -> Option<String> {
        let hint = match self {
            Self::Origin { .. } => {
                "send it from a program, or through a proxy that serves both from one address"
            }
            Self::OtherHost { .. } => {
                "ask for localhost or 127.0.0.1, or add the name to allowed_hosts in the configuration"
            }
            Self::User { group, .. } => {
                return Some(format!(
                    "use sudo, or let an administrator add the user to group {group} in /etc/group; whoever a directory \
                     service alone knows takes the Unix socket, or a token with listen_allow = \"token\""
                ));
            }
            Self::NoUser => {
                "keep the connection open until the answer has come; take the Unix socket, or a token with listen_allow = \
                 \"token\""
            }
            Self::NoBearer => "send the header Authorization: Bearer TOKEN; knhk token create makes one",
            Self::UnknownToken => "knhk token list shows which there are; a lost one is made anew",
            Self::ExpiredToken => "revoke it, and make another by knhk token create",
            Self::Scope { .. } => "make a token of that scope by knhk token create",
            Self::RemoteFile { .. } => "use sudo; the folder is remote_dir, and the service's own",
            Self::RemoteContent { .. } => "knhk explain KN0556 says what belongs into which file",
            Self::TokenName { .. } => "take the name of the program or person that will have it",
            Self::TokenExists { .. } => "take another name, or revoke that one first",
            Self::NoToken { .. } => "knhk token list shows them",
            Self::TokensFull { .. } => "revoke those that nobody uses",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
