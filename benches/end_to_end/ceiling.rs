//! What the machine allows: appends to a file made durable one by one, and the smallest honest server.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Outcome;
use super::drive::Run;

/// Size of the file that is appended to, filled with zeros beforehand; at its end it begins anew.
const FILE_BYTES: usize = 64 << 20;
/// Bytes that an operation of the smallest server has, and that it makes durable for it.
pub(crate) const OPERATION_BYTES: usize = 128;
/// Bytes of its answer.
const ANSWER_BYTES: usize = 16;
/// Longest wait for the server to stand.
const START_MAX: Duration = Duration::from_secs(60);

/// A file that is appended to.
pub(crate) struct Appends {
    file: File,
    offset: usize,
}

impl Appends {
    /// Makes the file.
    pub(crate) fn new(folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join("appends");
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in 0..FILE_BYTES / zeros.len() {
            file.write_all_at(&zeros, (at * zeros.len()) as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, offset: 0 })
    }

    /// Appends once and waits until it is durable.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Outcome<()> {
        if self.offset + bytes.len() > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset as u64)?;
        self.file.sync_data()?;
        // As frames do, so that no page is written twice for two appends less often than theirs.
        self.offset += bytes.len().next_multiple_of(512);
        Ok(())
    }

    /// Appends `count` times; `steps` is what one append stands for.
    pub(crate) fn repeat(&mut self, bytes: usize, steps: u64, count: u64) -> Outcome<Run> {
        self.until(bytes, steps, |done, _| done == count)
    }

    /// Appends for so long.
    pub(crate) fn run(&mut self, bytes: usize, steps: u64, time: Duration) -> Outcome<Run> {
        self.until(bytes, steps, |_, elapsed| elapsed >= time)
    }

    fn until(&mut self, bytes: usize, steps: u64, end: impl Fn(u64, Duration) -> bool) -> Outcome<Run> {
        let bytes = vec![1; bytes];
        let mut run = Run::default();
        let began = Instant::now();
        let mut done = 0;
        while !end(done, began.elapsed()) {
            let before = Instant::now();
            self.append(&bytes)?;
            run.latencies_us.push(before.elapsed().as_secs_f64() * 1e6);
            run.steps += steps;
            done += 1;
        }
        run.seconds = began.elapsed().as_secs_f64();
        Ok(run)
    }
}

/// The smallest honest server: TCP, an operation a request, one write and fdatasync for all that have come, then the
/// answers. It runs as a process of its own, as the service does.
pub(crate) fn serve(folder: &Path) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let mut appends = Appends::new(folder)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX))?;
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut events = vec![EpollEvent::empty(); 1024];
    let (mut group, mut waiting) = (Vec::new(), Vec::new());
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        group.clear();
        waiting.clear();
        for event in &events[..ready] {
            let Ok(at) = usize::try_from(event.data()) else { return Err("an impossible event".into()) };
            let Some(mut stream) = streams.get(at) else {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, streams.len() as u64))?;
                streams.push(stream);
                continue;
            };
            let mut operation = [0; OPERATION_BYTES];
            match stream.read(&mut operation)? {
                0 => epoll.delete(stream.as_fd())?,
                OPERATION_BYTES => {
                    group.extend_from_slice(&operation);
                    waiting.push(at);
                }
                _ => return Err("half an operation".into()),
            }
        }
        if waiting.is_empty() {
            continue;
        }
        appends.append(&group)?;
        for at in &waiting {
            (&streams[*at]).write_all(&[1; ANSWER_BYTES])?;
        }
    }
}

/// The smallest server as a process, and connections to it.
pub(crate) struct Ceiling {
    child: Child,
    epoll: Epoll,
    streams: Vec<TcpStream>,
}

impl Ceiling {
    /// Starts this very program as the server.
    pub(crate) fn start(folder: &Path, connections: usize) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("smallest-server")
            .arg("--folder")
            .arg(folder)
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        let mut child = command.spawn()?;
        let mut stdout = std::io::BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line)?;
        let address: SocketAddr = line.trim().parse()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut streams = Vec::new();
        for at in 0..connections {
            let stream = TcpStream::connect_timeout(&address, START_MAX)?;
            stream.set_nodelay(true)?;
            epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
            streams.push(stream);
        }
        let mut ceiling = Self { child, epoll, streams };
        // The first operation waits until the file is made.
        ceiling.run(Duration::from_millis(1))?;
        Ok(ceiling)
    }

    /// Drives it by closed loop for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Outcome<Run> {
        let mut run = Run::default();
        let mut sent = vec![Instant::now(); self.streams.len()];
        let mut events = vec![EpollEvent::empty(); self.streams.len()];
        let began = Instant::now();
        for (at, mut stream) in self.streams.iter().enumerate() {
            sent[at] = Instant::now();
            stream.write_all(&[1; OPERATION_BYTES])?;
        }
        let mut out_count = self.streams.len();
        while out_count > 0 {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..ready] {
                let at = usize::try_from(event.data())?;
                let mut stream = &self.streams[at];
                stream.read_exact(&mut [0; ANSWER_BYTES])?;
                run.latencies_us.push(sent[at].elapsed().as_secs_f64() * 1e6);
                run.steps += 1;
                if began.elapsed() < time {
                    sent[at] = Instant::now();
                    stream.write_all(&[1; OPERATION_BYTES])?;
                } else {
                    out_count -= 1;
                }
            }
        }
        run.seconds = began.elapsed().as_secs_f64();
        Ok(run)
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
