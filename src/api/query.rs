//! The query part of an address: `a=b&c=d`, percent-encoded.

use super::{Error, PAGE_ITEMS_DEFAULT, nearest};
use crate::engine::service::{CaseState, PAGE_ITEMS_MAX, PageOf};

/// The parameters of a request that its route knows.
#[derive(Debug)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads a query; all names must be among `known`, each once at most.
    pub(super) fn read(query: &str, known: &[&'static str]) -> Result<Self, Error> {
        let mut found = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let what = "the query";
            let name = decode(&name.replace('+', " ")).ok_or(Error::Encoding { what })?;
            let value = decode(&value.replace('+', " ")).ok_or(Error::Encoding { what })?;
            let Some(&name) = known.iter().find(|known| **known == name) else {
                let hint = nearest::hint(&name, known);
                return Err(Error::UnknownParameter { parameter: shorten(&name), hint });
            };
            if found.iter().any(|&(already, _)| already == name) {
                let wanted = "given once".to_owned();
                return Err(Error::Parameter { parameter: name, wanted, value: shorten(&value) });
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// Returns a parameter that is given and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// Returns a parameter that is true or false.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Error> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(value) => Err(wrong(name, "true or false", value)),
        }
    }

    /// Returns which page is asked for.
    pub(super) fn page(&self) -> Result<PageOf, Error> {
        let limit = match self.get("limit") {
            None => PAGE_ITEMS_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_ITEMS_MAX).contains(limit))
                .ok_or_else(|| wrong("limit", &format!("a number from 1 to {PAGE_ITEMS_MAX}"), text))?,
        };
        Ok(PageOf { after: self.get("after").map(str::to_owned), limit })
    }

    /// Returns the state of a case that is asked for.
    pub(super) fn case_state(&self) -> Result<Option<CaseState>, Error> {
        let Some(text) = self.get("state") else { return Ok(None) };
        let found = CaseState::ALL.into_iter().find(|state| state.name() == text);
        let names = CaseState::ALL.map(CaseState::name).join(", ");
        found.map(Some).ok_or_else(|| wrong("state", &format!("one of {names}"), text))
    }

    /// Returns a length of time in microseconds.
    pub(super) fn duration_us(&self, name: &'static str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        duration_us(text)
            .map(Some)
            .ok_or_else(|| wrong(name, "a length of time such as 90d, 12h or 30m", text))
    }
}

/// Returns the error of a value that cannot be.
pub(super) fn wrong(parameter: &'static str, wanted: &str, value: &str) -> Error {
    Error::Parameter { parameter, wanted: wanted.to_owned(), value: shorten(value) }
}

/// Returns the beginning of a text of the client's, for a message.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Decodes percent-encoding; `None` when it is broken or gives no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Reads `90d`, `1h30m`: whole numbers, each with its unit, as microseconds; `None` when it is anything else.
pub fn duration_us(text: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000;
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ms" => 1_000,
            "s" => SECOND,
            "m" | "min" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => 86_400 * SECOND,
            "w" => 7 * 86_400 * SECOND,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units_and_no_other_form() {
        assert_eq!(duration_us("90d"), Some(90 * 86_400_000_000));
        assert_eq!(duration_us("1h30m"), Some(5_400_000_000));
        assert_eq!(duration_us("0s"), Some(0));
        for wrong in
            ["", "90", "d", "-1d", "1.5h", "1y", "18446744073709551616s", "99999999999999d", "1d ", "ä"]
        {
            assert_eq!(duration_us(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn broken_percent_encoding_is_seen() {
        assert_eq!(decode("a%2Fb%C3%A4"), Some("a/bä".to_owned()));
        for wrong in ["%", "%1", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
