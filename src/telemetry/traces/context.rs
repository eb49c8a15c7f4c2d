//! W3C Trace Context: the header `traceparent`, read and written. <https://www.w3.org/TR/trace-context/>

use std::fmt;

/// Bytes of the header in version 00.
const LENGTH: usize = 55;
/// The flag of a caller that traces.
const SAMPLED: u8 = 1;

/// A span's place in the world. Displayed as the header `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// Id of the trace, not 0.
    pub trace: u128,
    /// Id of the span, not 0.
    pub span: u64,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{SAMPLED:02x}", self.trace, self.span)
    }
}

/// The span that another belongs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Which.
    pub context: Context,
    /// Whether it is traced itself.
    pub is_sampled: bool,
    /// Whether it is of another process.
    pub is_remote: bool,
}

impl Parent {
    /// Reads the header `traceparent` of a caller; `None` when it is not as it must be, as the standard asks. A version
    /// later than 00 may have more behind what is known.
    pub fn read(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let known = bytes.get(..LENGTH)?;
        let [version, trace, span, flags] =
            [&known[..2], &known[3..35], &known[36..52], &known[53..]].map(number);
        let (version, trace, span, flags) = (version?, trace?, span?, flags?);
        let has_dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        let is_long = bytes.len() > LENGTH;
        let is_known = version != 0xff && !(is_long && (version == 0 || bytes[LENGTH] != b'-'));
        if !has_dashes || !is_known || trace == 0 || span == 0 {
            return None;
        }
        let span = u64::try_from(span).expect("invariant: 16 digits are 64 bits");
        let is_sampled = flags & u128::from(SAMPLED) != 0;
        Some(Self { context: Context { trace, span }, is_sampled, is_remote: true })
    }
}

/// Reads lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_read_again() {
        let parent = Parent::read(GOOD).unwrap();
        assert!(parent.is_sampled && parent.is_remote);
        assert_eq!(parent.context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parent.context.span, 0xb7ad_6b71_6920_3331);
        assert_eq!(parent.context.to_string(), GOOD);
    }

    #[test]
    fn flags_and_later_versions_are_read() {
        let with = |at: usize, new: &str| format!("{}{new}{}", &GOOD[..at], &GOOD[at + new.len()..]);
        assert_eq!(Parent::read(&with(53, "00")).map(|parent| parent.is_sampled), Some(false));
        assert_eq!(Parent::read(&with(53, "03")).map(|parent| parent.is_sampled), Some(true));
        assert!(Parent::read(&with(0, "cc")).is_some());
        assert!(Parent::read(&format!("{}-what-the-future-will-be-like", with(0, "cc"))).is_some());
    }

    #[test]
    fn what_is_wrong_is_ignored() {
        let with = |at: usize, new: &str| format!("{}{new}{}", &GOOD[..at], &GOOD[at + new.len()..]);
        let wrong = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("{}.more", with(0, "cc")),
            with(0, "ff"),
            with(2, "_"),
            with(3, "0AF7"),
            with(3, "00000000000000000000000000000000"),
            with(36, "0000000000000000"),
            with(53, "0x"),
            GOOD.replace('7', "\u{e9}"),
        ];
        for header in wrong {
            assert_eq!(Parent::read(&header), None, "{header}");
        }
    }
}
