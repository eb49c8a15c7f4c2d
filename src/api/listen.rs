//! Listening sockets: a TCP port, or a socket file for the command line.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{Backlog, Shutdown, listen, shutdown};

use super::Error;

/// Mode of the socket file: its owner and group may use it.
const SOCKET_MODE: u32 = 0o660;
/// Clients that may wait to be accepted. The system's own default drops more than 128 that come at once, and
/// each tries again only after a second.
const WAITING_MAX: i32 = 1_024;
/// State of a listening socket in /proc/net/tcp.
const LISTENING: &str = "0A";
/// Most processes that are looked at to find who has a port.
const PROCESSES_MAX: usize = 65_536;

/// A socket that clients can connect to.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener, SocketFile),
}

/// A socket file as it was made, so that only that one is removed.
#[derive(Debug, Clone)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Removes the file, if it is still the one that was made.
    pub(super) fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if is_ours {
            // Nothing depends on it: a stale file is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on a TCP address.
    pub fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                let holder = holder_of(address.port()).unwrap_or_else(|| "another process".to_owned());
                Error::AddressInUse { address: address.to_string(), holder }
            } else {
                failed(source)
            }
        })?;
        let_wait(&listener).map_err(failed)?;
        Ok(Self::Tcp(listener))
    }

    /// Listens on a socket file; one that a dead process left behind is replaced, a living one is an error.
    pub fn unix(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: path.display().to_string(), source };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "the file is not a socket")));
            }
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    return Err(Error::SocketInUse { path: path.to_owned() });
                }
            }
        }
        // Made beside its place and moved there, so that nobody ever sees it with other permissions.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // A machine without the unit, which makes the folder, still starts where it may.
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let listener = UnixListener::bind(&beside).map_err(failed)?;
        let_wait(&listener).map_err(failed)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        let made = fs::symlink_metadata(path).map_err(failed)?;
        Ok(Self::Unix(listener, SocketFile { path: path.to_owned(), device: made.dev(), inode: made.ino() }))
    }

    /// Returns a second handle of the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener, file) => Self::Unix(listener.try_clone()?, file.clone()),
        })
    }

    /// Ends listening, also for every other handle of the socket.
    pub(super) fn shut(&self) {
        let descriptor = match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener, file) => {
                file.remove();
                listener.as_raw_fd()
            }
        };
        // It fails only when it is shut already.
        let _ = shutdown(descriptor, Shutdown::Both);
    }
}

/// Lets more clients wait than the standard library does.
fn let_wait(listener: &impl AsFd) -> io::Result<()> {
    listen(listener, Backlog::new(WAITING_MAX)?)?;
    Ok(())
}

/// Tells which process listens on a port, as far as /proc lets us see.
fn holder_of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let name = process.file_name();
        let Some(id) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let has_it = descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|target| wanted.iter().any(|wanted| target.as_os_str() == wanted.as_str()))
        });
        if has_it {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", command.trim_end()));
        }
    }
    None
}

/// Returns the inode of a line of /proc/net/tcp that is about a socket listening on `port`.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (_, local) = fields.nth(1)?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    (u16::from_str_radix(local, 16).ok()? == port && state == LISTENING).then(|| inode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_socket_table_gives_its_inode() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100";
        assert_eq!(listening_inode(line, 8080), Some("4711".to_owned()));
        assert_eq!(listening_inode(line, 8081), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listening_inode("sl  local_address", 8080), None);
    }
}
