//! Drives a service over many connections from one thread: by closed loop, or at a fixed rate of arrivals.
//!
//! At a fixed rate a latency counts from when the request should have been sent, so that waiting is not hidden.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;

use super::Outcome;
use super::http::Client;
use super::work::Stepper;

/// Longest wait for an answer that is out when the time is up.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(150);

/// What a run brought.
#[derive(Default)]
pub(crate) struct Run {
    /// Steps that were answered.
    pub(crate) steps: u64,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Of each request.
    pub(crate) latencies_us: Vec<f64>,
}

impl Run {
    /// Returns steps a second.
    pub(crate) fn rate(&self) -> f64 {
        self.steps as f64 / self.seconds
    }

    /// Returns the latency that this share of requests, in percent, did not exceed.
    pub(crate) fn latency_us(&self, percent: f64) -> f64 {
        super::figures::percentile(&self.latencies_us, percent)
    }
}

/// How requests come.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// The next one as soon as one is answered.
    Closed,
    /// So many a second, whatever has been answered.
    Rate(f64),
}

/// One client, one request after the other, without any waiting but for the answer.
pub(crate) fn alone(client: &mut Client, stepper: &mut Stepper, steps: u64) -> Outcome<Run> {
    let mut run = Run { latencies_us: Vec::with_capacity(usize::try_from(steps)?), ..Run::default() };
    let mut request = Vec::new();
    let began = Instant::now();
    for _ in 0..steps {
        stepper.request(&mut request);
        let sent = Instant::now();
        client.send(&request)?;
        expect_good(client.status()?)?;
        run.latencies_us.push(sent.elapsed().as_secs_f64() * 1e6);
        run.steps += stepper.steps_each();
    }
    run.seconds = began.elapsed().as_secs_f64();
    Ok(run)
}

fn expect_good(status: u16) -> Outcome<()> {
    if status == 200 { Ok(()) } else { Err(format!("a step was answered with {status}").into()) }
}

/// Connections that last over many runs.
pub(crate) struct Driver {
    epoll: Epoll,
    clients: Vec<Client>,
}

impl Driver {
    /// Connects.
    pub(crate) fn new(address: SocketAddr, connections: usize) -> Outcome<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let clients: Vec<Client> = (0..connections).map(|_| Client::new(address)).collect::<Outcome<_>>()?;
        for (at, client) in clients.iter().enumerate() {
            epoll.add(client.stream(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        }
        Ok(Self { epoll, clients })
    }

    /// Runs for so long; each connection takes its requests from its own stepper.
    pub(crate) fn run(&mut self, steppers: &mut [Stepper], time: Duration, pace: Pace) -> Outcome<Run> {
        let mut run = Run::default();
        let began = Instant::now();
        let mut schedule = Schedule::new(pace, time, self.clients.len());
        let mut due = vec![Duration::ZERO; self.clients.len()];
        let mut out_count = 0;
        let mut request = Vec::new();
        let mut events = vec![EpollEvent::empty(); self.clients.len()];
        loop {
            let now = began.elapsed();
            while let Some((at, since)) = schedule.next(now) {
                steppers[at].request(&mut request);
                // Preparing a request is no part of its latency in a closed loop.
                due[at] = since.unwrap_or_else(|| began.elapsed());
                self.clients[at].send(&request)?;
                out_count += 1;
            }
            if out_count == 0 && schedule.is_over(now) {
                break;
            }
            if now > time + LAST_ANSWER_MAX {
                return Err(format!("{out_count} requests are not answered").into());
            }
            let ready = self.wait(&mut events, schedule.pause(began.elapsed()))?;
            for event in &events[..ready] {
                let at = usize::try_from(event.data())?;
                let Some(status) = self.clients[at].progress()? else { continue };
                expect_good(status)?;
                run.latencies_us.push(began.elapsed().saturating_sub(due[at]).as_secs_f64() * 1e6);
                run.steps += steppers[at].steps_each();
                out_count -= 1;
                schedule.idle.push(at);
            }
        }
        run.seconds = began.elapsed().as_secs_f64();
        Ok(run)
    }

    /// Waits for answers, or until something is to be sent.
    fn wait(&self, events: &mut [EpollEvent], pause: Option<Duration>) -> Outcome<usize> {
        let Some(pause) = pause else { return Ok(self.epoll.wait(events, EpollTimeout::from(100_u16))?) };
        // Milliseconds are too coarse for a rate.
        let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        if ppoll(&mut fds, Some(TimeSpec::from_duration(pause)), None)? == 0 {
            return Ok(0);
        }
        Ok(self.epoll.wait(events, EpollTimeout::ZERO)?)
    }
}

/// When which connection sends.
struct Schedule {
    pace: Pace,
    time: Duration,
    idle: Vec<usize>,
    sent: u64,
}

impl Schedule {
    fn new(pace: Pace, time: Duration, connections: usize) -> Self {
        Self { pace, time, idle: (0..connections).collect(), sent: 0 }
    }

    fn due(&self, rate: f64) -> Duration {
        Duration::from_secs_f64(self.sent as f64 / rate)
    }

    /// Returns a connection that sends now, and since when it should have, if not from now.
    fn next(&mut self, now: Duration) -> Option<(usize, Option<Duration>)> {
        match self.pace {
            Pace::Closed if now >= self.time => None,
            Pace::Closed => Some((self.idle.pop()?, None)),
            Pace::Rate(rate) => {
                let due = self.due(rate);
                if due > now || due >= self.time {
                    return None;
                }
                let at = self.idle.pop()?;
                self.sent += 1;
                Some((at, Some(due)))
            }
        }
    }

    /// Returns how long nothing is to be sent; `None` when only an answer makes something to send.
    fn pause(&self, now: Duration) -> Option<Duration> {
        match self.pace {
            Pace::Rate(rate) if !self.idle.is_empty() => Some(self.due(rate).saturating_sub(now)),
            _ => None,
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        match self.pace {
            Pace::Closed => now >= self.time,
            Pace::Rate(rate) => self.due(rate) >= self.time,
        }
    }
}
