//! The names under which the local port may be asked.

use std::net::IpAddr;

/// Names that lead to this machine by what they are, whatever a name server says (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// Names and addresses that a request's `Host` may be besides those of the loopback interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Hosts {
    /// Reads names and addresses without port that are separated by commas.
    pub fn of_list(list: &str) -> Self {
        let mut hosts = Self::default();
        for host in list.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            match host.parse::<IpAddr>() {
                Ok(address) => hosts.addresses.push(address.to_canonical()),
                Err(_) => hosts.names.push(host.trim_end_matches('.').to_ascii_lowercase()),
            }
        }
        hosts
    }

    /// Returns whether a value of the header `Host` names this service, on whatever port: `ssh -L 9000:localhost:8080`
    /// and a proxy are asked on theirs.
    pub(super) fn have(&self, value: &str) -> bool {
        let Some(host) = without_port(value.trim()) else { return false };
        let address = match host.strip_prefix('[') {
            Some(inside) => inside.strip_suffix(']').and_then(|text| text.parse().ok()).map(IpAddr::V6),
            None => host.parse().ok().map(IpAddr::V4),
        };
        if let Some(address) = address {
            let address = address.to_canonical();
            return address.is_loopback() || self.addresses.contains(&address);
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_localhost = name
            .strip_suffix(LOCALHOST)
            .is_some_and(|before| before.is_empty() || (before.ends_with('.') && before.len() > 1));
        is_localhost || self.names.contains(&name)
    }
}

/// Returns the host of `host[:port]`; `None` when what follows the colon is no port.
fn without_port(value: &str) -> Option<&str> {
    let end = value.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = value[end..].find(':') else { return Some(value) };
    let port = &value[end + colon + 1..];
    port.bytes().all(|byte| byte.is_ascii_digit()).then(|| &value[..end + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_the_loopback_interface_are_this_service() {
        for host in [
            "localhost",
            "LocalHost",
            "localhost.",
            "localhost:8080",
            "localhost:9000",
            "localhost:",
            "a.localhost",
            "a.b.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]",
            "[::1]:8080",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]:8080",
            " localhost ",
        ] {
            assert!(Hosts::default().have(host), "{host}");
        }
    }

    #[test]
    fn nothing_else_is_without_being_listed() {
        for host in [
            "",
            ".",
            ":8080",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "notlocalhost",
            ".localhost",
            "xlocalhost",
            "localhost:8080x",
            "localhost:-1",
            "user@localhost",
            "localhost/",
            "localhost localhost",
            "localhost,evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1%25lo]",
            "[127.0.0.1]",
            "10.0.0.1",
            "[::127.0.0.1]",
            "localhost..",
            "[localhost]",
            "1270.0.0.1",
            "127.0.0.1.",
            "[::1].",
            "a]:1:localhost",
        ] {
            assert!(!Hosts::default().have(host), "{host}");
        }
    }

    #[test]
    fn what_is_listed_is_found_in_whatever_case_and_on_every_port() {
        let hosts = Hosts::of_list("Knhk.Example.com, 192.0.2.7 ,2001:db8::1,two.example.");
        for host in [
            "knhk.example.com",
            "KNHK.example.COM:443",
            "knhk.example.com.",
            "192.0.2.7:8080",
            "[2001:db8::1]:1",
            "[::ffff:192.0.2.7]",
            "two.example",
            "two.example.:8",
            "localhost",
        ] {
            assert!(hosts.have(host), "{host}");
        }
        for host in
            ["example.com", "a.knhk.example.com", "192.0.2.8", "[2001:db8::2]", "knhk.example.com.evil"]
        {
            assert!(!hosts.have(host), "{host}");
        }
    }
}
