//! Asks the kernel which user is at the other end of a TCP connection of this machine.
//!
//! The kernel answers within the call that asks, so nothing here waits. Whatever goes wrong, the answer is that the user
//! is not known, and with that no right.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

use super::diag::{ANSWER_BYTES_MAX, Answer, answer, question};

/// Most messages that are read for one question: an answer to an earlier one may still lie there.
const MESSAGES_MAX: usize = 4;

/// A socket to the kernel's diagnostics, made when it is first needed.
#[derive(Debug)]
pub(super) struct Lookup(Mutex<State>);

#[derive(Debug)]
struct State {
    socket: Option<OwnedFd>,
    sequence: u32,
}

impl Lookup {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { socket: None, sequence: 0 }))
    }

    /// Makes the socket, so that it is there when descriptors are short.
    ///
    /// # Errors
    /// The system has no such sockets, or forbids them.
    pub(super) fn open(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.socket = Some(open()?);
        Ok(())
    }

    /// Returns the user who has the end `theirs` of the connection to `ours`; `None` when nobody has, or on any error.
    pub(super) fn user_of(&self, ours: SocketAddr, theirs: SocketAddr) -> Option<u32> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.ask(ours, theirs) {
            Ok(Answer::User(user)) => Some(user),
            Ok(Answer::Nobody) => None,
            Err(_) => {
                // A new socket has no old answers in it.
                state.socket = None;
                None
            }
        }
    }
}

impl State {
    fn ask(&mut self, ours: SocketAddr, theirs: SocketAddr) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open()?,
        };
        let descriptor = self.socket.insert(socket).as_raw_fd();
        send(descriptor, &question(self.sequence, theirs, ours), MsgFlags::MSG_DONTWAIT)?;
        let mut bytes = [0; ANSWER_BYTES_MAX];
        for _ in 0..MESSAGES_MAX {
            let length = recv(descriptor, &mut bytes, MsgFlags::MSG_DONTWAIT)?;
            if let Some(answer) = answer(&bytes[..length], self.sequence, theirs, ours) {
                return Ok(answer);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    // Connected to the kernel, so that no other process can answer.
    connect(made.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn met(listen: &str, act: impl FnOnce(TcpStream) -> Option<TcpStream>) -> Option<u32> {
        let listener = TcpListener::bind(listen).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, theirs) = listener.accept().unwrap();
        let _kept = act(client);
        Lookup::new().user_of(server.local_addr().unwrap(), theirs)
    }

    #[test]
    fn the_user_of_a_connection_is_ours_by_ipv4_by_ipv6_and_by_a_mapped_address() {
        let us = nix::unistd::geteuid().as_raw();
        for address in ["127.0.0.1:0", "127.3.2.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert_eq!(met(address, Some), Some(us), "{address}");
        }
    }

    #[test]
    fn whoever_has_sent_all_and_waits_is_still_known() {
        let us = nix::unistd::geteuid().as_raw();
        let send_all = |mut client: TcpStream| {
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            Some(client)
        };
        assert_eq!(met("127.0.0.1:0", send_all), Some(us));
    }

    #[test]
    fn whoever_has_closed_is_nobody() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            assert_eq!(met(address, |_| None), None, "{address}");
        }
    }

    #[test]
    fn a_socket_that_listens_where_a_closed_one_was_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, theirs) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
        assert_eq!(Lookup::new().user_of(ours, theirs), None);
    }

    #[test]
    fn one_lookup_answers_many_questions() {
        let us = nix::unistd::geteuid().as_raw();
        let lookup = Lookup::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        for _ in 0..20 {
            let client = TcpStream::connect(ours).unwrap();
            let theirs = client.local_addr().unwrap();
            assert_eq!(lookup.user_of(ours, theirs), Some(us));
            drop(client);
            assert_eq!(lookup.user_of(ours, theirs), None);
        }
    }
}
