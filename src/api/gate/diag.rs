//! Messages of the kernel's socket diagnostics, `sock_diag(7)`: the question for one TCP connection, and its answer. Pure.
//!
//! Layout: `struct nlmsghdr`, then `struct inet_diag_req_v2` one way and `struct inet_diag_msg` the other
//! (`linux/netlink.h`, `linux/inet_diag.h`). Numbers are in the machine's order, ports and addresses in the network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a question: header, 8 bytes, the ends.
const QUESTION_BYTES: u32 = 16 + 8 + 48;
/// Most bytes of an answer that are read: the message with every attribute that was not asked for is far smaller.
pub(super) const ANSWER_BYTES_MAX: usize = 4_096;

const HEADER_BYTES: usize = 16;
const ID_BYTES: usize = 48;
/// `struct inet_diag_msg`.
const MESSAGE_BYTES: usize = 4 + ID_BYTES + 20;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// Both connections of the loopback interface and sockets that are bound to it: its number is always 1.
const LOOPBACK_INTERFACE: u32 = 1;
/// States of a socket that a process may still have: established, sending its end, having sent it, having received
/// one. Not: listening, waiting after the end (no process has those), being opened.
const STATES: [u8; 4] = [1, 4, 5, 8];

/// What the kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It belongs to a process of this user, which has it open.
    User(u32),
    /// There is no such connection, or no process has it any more.
    Nobody,
}

/// Returns the question which user has the end `from` of the connection to `to`.
pub(super) fn question(sequence: u32, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (from, to) = (canonical(from), canonical(to));
    let family = if from.is_ipv4() { AF_INET } else { AF_INET6 };
    let states: u32 = STATES.iter().map(|state| 1 << state).sum();
    let mut out = Vec::with_capacity(QUESTION_BYTES as usize);
    out.extend(native(QUESTION_BYTES));
    out.extend(native_short(SOCK_DIAG_BY_FAMILY));
    out.extend(native_short(NLM_F_REQUEST));
    out.extend(native(sequence));
    // Sender id: the kernel fills it in.
    out.extend(native(0));
    out.extend([family, IPPROTO_TCP, 0, 0]);
    out.extend(native(states));
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(address_bytes(from.ip()));
    out.extend(address_bytes(to.ip()));
    out.extend(native(LOOPBACK_INTERFACE));
    // No cookie: we know none.
    out.extend([0xff; 8]);
    out
}

/// Reads an answer to the question of this number for these ends; `None` when it answers another one.
pub(super) fn answer(bytes: &[u8], sequence: u32, from: SocketAddr, to: SocketAddr) -> Option<Answer> {
    let header = Part(bytes.get(..HEADER_BYTES)?);
    if header.number(8) != sequence {
        return None;
    }
    match header.short(4) {
        SOCK_DIAG_BY_FAMILY => {}
        NLMSG_ERROR => return Some(Answer::Nobody),
        _ => return None,
    }
    let Some(message) = bytes.get(HEADER_BYTES..HEADER_BYTES + MESSAGE_BYTES).map(Part) else {
        return Some(Answer::Nobody);
    };
    let (family, state) = (message.0[0], message.0[1]);
    let end = |port: usize, address: usize| {
        let port = u16::from_be_bytes([message.0[port], message.0[port + 1]]);
        Some(SocketAddr::new(address_of(family, &message.0[address..address + 16])?, port))
    };
    // Without an exact match the kernel returns a listening socket; another process's listener must not count.
    let is_it = end(4, 8) == Some(canonical(from)) && end(6, 24) == Some(canonical(to));
    let (user, inode) = (message.number(64), message.number(68));
    // A socket without an inode is one that its process has closed; its user then reads 0, as root's would.
    let has_holder = STATES.contains(&state) && inode != 0;
    Some(if is_it && has_holder { Answer::User(user) } else { Answer::Nobody })
}

/// Returns an address as the kernel keeps it: one of IPv4 as such.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match address {
        IpAddr::V4(address) => out[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => out = address.octets(),
    }
    out
}

fn address_of(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical()),
        _ => None,
    }
}

#[expect(clippy::host_endian_bytes, reason = "netlink has the machine's order")]
fn native(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

#[expect(clippy::host_endian_bytes, reason = "netlink has the machine's order")]
fn native_short(number: u16) -> [u8; 2] {
    number.to_ne_bytes()
}

/// A part of a message of known length.
struct Part<'a>(&'a [u8]);

impl Part<'_> {
    #[expect(clippy::host_endian_bytes, reason = "netlink has the machine's order")]
    fn number(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    #[expect(clippy::host_endian_bytes, reason = "netlink has the machine's order")]
    fn short(&self, at: usize) -> u16 {
        u16::from_ne_bytes([self.0[at], self.0[at + 1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: u32 = 7;

    fn ends() -> (SocketAddr, SocketAddr) {
        ("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:8080".parse().unwrap())
    }

    /// Returns what the kernel would answer.
    fn message(family: u8, state: u8, ends: (SocketAddr, SocketAddr), user: u32, inode: u32) -> Vec<u8> {
        let bytes = |address: IpAddr| match (family, address) {
            (AF_INET6, IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            _ => address_bytes(address),
        };
        let mut out = Vec::new();
        out.extend(native(u32::try_from(HEADER_BYTES + MESSAGE_BYTES).unwrap()));
        out.extend(native_short(SOCK_DIAG_BY_FAMILY));
        out.extend(native_short(0));
        out.extend(native(SEQUENCE));
        out.extend(native(4_711));
        out.extend([family, state, 0, 0]);
        out.extend(ends.0.port().to_be_bytes());
        out.extend(ends.1.port().to_be_bytes());
        out.extend(bytes(ends.0.ip()));
        out.extend(bytes(ends.1.ip()));
        out.extend([0; 12]);
        for number in [0, 0, 0, user, inode] {
            out.extend(native(number));
        }
        out
    }

    fn read(bytes: &[u8]) -> Option<Answer> {
        let (from, to) = ends();
        answer(bytes, SEQUENCE, from, to)
    }

    #[test]
    fn a_question_names_one_connection_as_the_kernel_reads_it() {
        let (from, to) = ends();
        let bytes = question(SEQUENCE, from, to);
        assert_eq!(bytes.len(), 72);
        let header = Part(&bytes);
        assert_eq!((header.number(0), header.short(4), header.short(6)), (72, 20, 1));
        assert_eq!((header.number(8), header.number(12)), (SEQUENCE, 0));
        assert_eq!(bytes[16..20], [2, 6, 0, 0]);
        assert_eq!(header.number(20), 0b1_0011_0010);
        assert_eq!(bytes[24..28], [0x9c, 0x40, 0x1f, 0x90]);
        assert_eq!(bytes[28..44], [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[44..48], [127, 0, 0, 1]);
        assert_eq!((header.number(60), &bytes[64..]), (1, &[0xff; 8][..]));
        let six = question(SEQUENCE, "[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!((six[16], &six[28..44]), (10, &Ipv6Addr::LOCALHOST.octets()[..]));
        // One of IPv4 that an IPv6 listener accepted is asked for as the kernel has it.
        let mapped = "[::ffff:127.0.0.1]:40000".parse().unwrap();
        assert_eq!(question(SEQUENCE, mapped, to), bytes);
    }

    #[test]
    fn a_socket_that_a_process_has_open_gives_its_user() {
        for state in STATES {
            assert_eq!(
                read(&message(AF_INET, state, ends(), 1_001, 9)),
                Some(Answer::User(1_001)),
                "{state}"
            );
        }
        assert_eq!(read(&message(AF_INET6, 1, ends(), 0, 9)), Some(Answer::User(0)), "a mapped address");
    }

    #[test]
    fn whatever_else_is_nobody() {
        let nobody = |bytes: &[u8]| assert_eq!(read(bytes), Some(Answer::Nobody));
        // Closed by its process: user and inode read 0.
        nobody(&message(AF_INET, 4, ends(), 0, 0));
        // Listening, waiting after the end, being opened, closed.
        for state in [2, 3, 6, 7, 9, 10, 11, 12] {
            nobody(&message(AF_INET, state, ends(), 0, 9));
        }
        let (from, to) = ends();
        for other in [
            ("127.0.0.2:40000".parse().unwrap(), to),
            ("127.0.0.1:40001".parse().unwrap(), to),
            (from, "127.0.0.1:8081".parse().unwrap()),
            (from, "127.0.0.2:8080".parse().unwrap()),
            (to, from),
        ] {
            nobody(&message(AF_INET, 1, other, 0, 9));
        }
        nobody(&message(1, 1, ends(), 0, 9));
        let mut error = message(AF_INET, 1, ends(), 0, 9);
        error[4..6].copy_from_slice(&native_short(NLMSG_ERROR));
        nobody(&error);
        nobody(&message(AF_INET, 1, ends(), 0, 9)[..HEADER_BYTES + MESSAGE_BYTES - 1]);
    }

    #[test]
    fn an_answer_to_another_question_is_passed_over() {
        let bytes = message(AF_INET, 1, ends(), 0, 9);
        let (from, to) = ends();
        assert_eq!(answer(&bytes, SEQUENCE + 1, from, to), None);
        assert_eq!(read(&bytes[..HEADER_BYTES - 1]), None);
        assert_eq!(read(&[]), None);
    }
}
