//! Values, the rules they keep, and the types they become.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::api::duration_us;
use crate::api::gate::Allow;
use crate::api::remote::Network;
use crate::telemetry::logs::LogLevel;

/// Most cores that a list may name. Source: the kernel's own `NR_CPUS` limit on this architecture.
pub const CORE_COUNT_MAX: u16 = 8_192;
/// Longest text of a value: longer than any path the system allows (`PATH_MAX`).
pub const TEXT_BYTES_MAX: usize = 4_096;
const HOUR_US: u64 = 3_600_000_000;

/// A value as the file gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Integer(u64),
    /// true or false.
    Flag(bool),
    /// Text.
    Text(Cow<'static, str>),
}

pub(super) const fn integer(value: u64) -> Value {
    Value::Integer(value)
}

pub(super) const fn flag(value: bool) -> Value {
    Value::Flag(value)
}

pub(super) const fn text(value: &'static str) -> Value {
    Value::Text(Cow::Borrowed(value))
}

impl fmt::Display for Value {
    /// Writes the value without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Flag(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// A whole number of hours up to this many, or a text that says another length of time.
    Hours(u64),
    /// true or false.
    Flag,
    /// An absolute path.
    Path,
    /// An IP address of this machine itself and a port.
    Loopback,
    /// An IP address and a port, or nothing.
    Address,
    /// An absolute path, or nothing.
    PathOrNone,
    /// Names of hosts and IP addresses separated by commas, or nothing.
    Names,
    /// IP addresses and networks separated by commas, or nothing.
    Networks,
    /// An address that begins with http:// or https://.
    Url,
    /// `auto`, `none` or a list of core numbers.
    Cores,
    /// A name of [`LogLevel::ALL`].
    LogLevel,
    /// A word of [`Allow::ALL`].
    Allow,
}

/// Why a value breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another type: says which one it must be.
    Type(&'static str),
    /// Outside the range: says the range.
    Range(String),
    /// The text is not what it must be: says what.
    Text(String),
    /// An address that other machines can reach.
    NotLoopback,
}

impl Rule {
    /// Returns the values in words, for the documentation and for messages.
    pub fn words(self) -> String {
        match self {
            Self::Integer(min, max) => format!("a number from {min} to {max}"),
            Self::Hours(max) => {
                format!("hours from 0 to {max}, or a length of time up to that such as \"20s\" or \"90m\"")
            }
            Self::Flag => "true or false".to_owned(),
            Self::Path => "an absolute path".to_owned(),
            Self::Loopback => "a loopback address and a port, such as 127.0.0.1:8080".to_owned(),
            Self::Address => "an address and a port, such as 0.0.0.0:8443, or \"\" for none".to_owned(),
            Self::PathOrNone => "an absolute path, or \"\" for none".to_owned(),
            Self::Names => {
                "names and addresses such as knhk.example.com,192.0.2.7, or \"\" for none".to_owned()
            }
            Self::Networks => {
                "addresses and networks such as 192.0.2.7,2001:db8::/32, or \"\" for none".to_owned()
            }
            Self::Url => "an address such as http://127.0.0.1:4317".to_owned(),
            Self::Cores => "auto, none, or core numbers such as 2,3 or 2-5".to_owned(),
            Self::LogLevel => {
                let names: Vec<_> = LogLevel::ALL.iter().map(|(_, name)| *name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Allow => format!("one of {}", Allow::ALL.map(|(_, word)| word).join(", ")),
        }
    }

    /// Checks one value.
    pub fn check(self, value: &Value) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Integer(min, max), Value::Integer(value)) => {
                if (min..=max).contains(value) {
                    Ok(())
                } else {
                    Err(Refusal::Range(self.words()))
                }
            }
            (Self::Hours(max), Value::Integer(_) | Value::Text(_)) => match hours_us(value) {
                Some(us) if us <= max * HOUR_US => Ok(()),
                _ => Err(Refusal::Range(self.words())),
            },
            (Self::Hours(_), _) => Err(Refusal::Type("a whole number, or text in quotes")),
            (Self::Flag, Value::Flag(_)) => Ok(()),
            (Self::Integer(..), _) => Err(Refusal::Type("a whole number")),
            (Self::Flag, _) => Err(Refusal::Type("true or false")),
            (_, Value::Text(text)) => self.check_text(text),
            _ => Err(Refusal::Type("text in quotes")),
        }
    }

    fn check_text(self, text: &str) -> Result<(), Refusal> {
        let fits = match self {
            _ if text.len() > TEXT_BYTES_MAX => {
                return Err(Refusal::Text(format!("text of at most {TEXT_BYTES_MAX} bytes")));
            }
            Self::Path => Path::new(text).is_absolute() && !text.contains('\0'),
            Self::Loopback => match text.parse::<SocketAddr>() {
                Ok(address) if is_loopback(address.ip()) => true,
                Ok(_) => return Err(Refusal::NotLoopback),
                Err(_) => false,
            },
            Self::Address => text.is_empty() || text.parse::<SocketAddr>().is_ok(),
            Self::PathOrNone => text.is_empty() || Self::Path.check_text(text).is_ok(),
            Self::Names => text.is_empty() || text.split(',').all(|name| is_name(name.trim())),
            Self::Networks => {
                let wrong = text.split(',').find_map(|one| one.trim().parse::<Network>().err());
                match wrong {
                    Some(why) if !text.is_empty() => {
                        return Err(Refusal::Text(format!("{}: {why}", self.words())));
                    }
                    _ => true,
                }
            }
            Self::Url => url_host(text).is_some_and(|host| !host.is_empty()),
            Self::Cores => Cores::parse(text).is_some(),
            Self::LogLevel => log_level(text).is_some(),
            Self::Allow => allow(text).is_some(),
            Self::Integer(..) | Self::Hours(_) | Self::Flag => false,
        };
        if fits { Ok(()) } else { Err(Refusal::Text(self.words())) }
    }
}

/// Tells whether a certificate may be for this name or address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
        }
    }
}

/// Returns what lies between the scheme and the path; `None` when the text holds what no address holds.
fn url_host(text: &str) -> Option<&str> {
    if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return None;
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    rest.split('/').next()
}

fn log_level(text: &str) -> Option<LogLevel> {
    LogLevel::ALL.iter().find(|(_, name)| *name == text).map(|(level, _)| *level)
}

fn allow(text: &str) -> Option<Allow> {
    Allow::ALL.iter().find(|(_, word)| *word == text).map(|(allow, _)| *allow)
}

fn hours_us(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(hours) => hours.checked_mul(HOUR_US),
        Value::Flag(_) => None,
        Value::Text(text) => duration_us(text),
    }
}

/// A length of time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u64);

/// Which cores the hot threads are pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cores {
    /// As many as the machine suggests: exclusive from 4 cores on.
    Auto,
    /// Not pinned.
    None,
    /// These, in order, none twice.
    List(Vec<u16>),
}

impl Cores {
    /// Reads `auto`, `none`, or numbers and ranges separated by commas; `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => return Some(Self::Auto),
            "none" => return Some(Self::None),
            _ => {}
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (core(first)?, core(last)?);
            if first > last {
                return None;
            }
            cores.extend(first..=last);
            if cores.len() > usize::from(CORE_COUNT_MAX) {
                return None;
            }
        }
        cores.sort_unstable();
        let count = cores.len();
        cores.dedup();
        (cores.len() == count).then_some(Self::List(cores))
    }
}

fn core(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&core| digits && core < CORE_COUNT_MAX)
}

/// A type that a checked value becomes.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Self;
}

const CHECKED: &str = "invariant: the value keeps the rule of its key";

impl FromValue for u64 {
    fn from_value(value: &Value) -> Self {
        match value {
            Value::Integer(value) => *value,
            _ => unreachable!("{CHECKED}"),
        }
    }
}

impl FromValue for Span {
    fn from_value(value: &Value) -> Self {
        Self(hours_us(value).expect(CHECKED))
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Self {
        match value {
            Value::Flag(value) => *value,
            _ => unreachable!("{CHECKED}"),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Self {
        match value {
            Value::Text(text) => text.clone().into_owned(),
            _ => unreachable!("{CHECKED}"),
        }
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Self {
        Self::from(String::from_value(value))
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Self {
        String::from_value(value).parse().expect(CHECKED)
    }
}

impl FromValue for Option<SocketAddr> {
    fn from_value(value: &Value) -> Self {
        let text = String::from_value(value);
        (!text.is_empty()).then(|| text.parse().expect(CHECKED))
    }
}

impl FromValue for Option<PathBuf> {
    fn from_value(value: &Value) -> Self {
        let text = String::from_value(value);
        (!text.is_empty()).then(|| PathBuf::from(text))
    }
}

impl FromValue for Cores {
    fn from_value(value: &Value) -> Self {
        Self::parse(&String::from_value(value)).expect(CHECKED)
    }
}

impl FromValue for LogLevel {
    fn from_value(value: &Value) -> Self {
        log_level(&String::from_value(value)).expect(CHECKED)
    }
}

impl FromValue for Allow {
    fn from_value(value: &Value) -> Self {
        allow(&String::from_value(value)).expect(CHECKED)
    }
}
