//! What a request is for: path, query and host.

use std::net::Ipv6Addr;

/// The target of a request line, in origin form or in absolute form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Of an absolute form only.
    pub(crate) authority: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

impl<'a> Target<'a> {
    /// Reads a target. `None` when it is malformed; `*` and `host:port` are refused.
    pub(crate) fn of(target: &'a [u8]) -> Option<Target<'a>> {
        let text = std::str::from_utf8(target).ok()?;
        let (authority, rest) = if text.starts_with('/') { (None, text) } else { absolute(text)? };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.bytes().all(is_of_path) || !query.bytes().all(is_of_query) {
            return None;
        }
        let path = if path.is_empty() { "/" } else { path };
        Some(Target { authority, path, query })
    }
}

/// Takes `http://host/path` apart.
fn absolute(text: &str) -> Option<(Option<&str>, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_one = Host::of(authority).map_or(false, |host| !host.name.is_empty());
    is_one.then_some((Some(authority), rest))
}

/// `#` never belongs to a target; the others are refused because readers disagree about them.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`')
}

fn is_of_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'"')
}

/// The value of a `Host` header, whose form was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// Name or address as sent; an IPv6 address is without its brackets. Empty when the client names none.
    pub name: &'a str,
    /// `None` when none is given, which is the one of the scheme.
    pub port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads `name`, `name:port`, `address:port` or `[address]:port`; `None` when it is none of them (RFC 9110, 7.2).
    pub fn of(text: &'a str) -> Option<Host<'a>> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(inside) => {
                let (address, rest) = inside.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (address, rest)
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                if !name.bytes().all(is_of_name) {
                    return None;
                }
                (name, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some("") => None,
            // `+1` is a number for the parser.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        if name.is_empty() && !text.is_empty() {
            return None;
        }
        Some(Host { name, port })
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (text, name, port) in [
            ("", "", None),
            ("localhost", "localhost", None),
            ("a-b.example:8080", "a-b.example", Some(8080)),
            ("127.0.0.1:0", "127.0.0.1", Some(0)),
            ("x:", "x", None),
            ("[::1]", "::1", None),
            ("[::ffff:127.0.0.1]:65535", "::ffff:127.0.0.1", Some(65535)),
        ] {
            assert_eq!(Host::of(text), Some(Host { name, port }), "{text}");
        }
        for text in [
            "a b", "a/b", "a@b", "a:b", "a:+1", "a:65536", "a:1:2", "::1", "[::1", "[::1]x", "[x]", "[]", ":80", "a\t", "a,b/c",
            "a?b", "a#b", "\u{e4}",
        ] {
            assert_eq!(Host::of(text), None, "{text}");
        }
    }

    #[test]
    fn a_target_is_a_path_or_an_address() {
        let of = |text: &'static str| {
            Target::of(text.as_bytes()).map(|target| (target.authority, target.path, target.query))
        };
        assert_eq!(of("/a/b?c=d?e"), Some((None, "/a/b", "c=d?e")));
        assert_eq!(of("//a"), Some((None, "//a", "")));
        assert_eq!(of("/a|{b}\"^\\?{`}"), Some((None, "/a|{b}\"^\\", "{`}")));
        assert_eq!(of("http://x/a?b"), Some((Some("x"), "/a", "b")));
        assert_eq!(of("HTTPS://x:1"), Some((Some("x:1"), "/", "")));
        assert_eq!(of("http://[::1]:80?b"), Some((Some("[::1]:80"), "/", "b")));
        for wrong in [
            "", "*", "a", "a:1", "/a#b", "/a?b#c", "/<", "/>", "/`", "/?\"", "/?<", "/\u{e4}", "/a b", "/\u{7f}", "ftp://x/",
            "http:/x", "http:///a", "http://x y/", "http://a@x/", "http://x#a", "http://:1/", "ws://x/",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
