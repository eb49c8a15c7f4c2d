//! How other threads tell the server's own that an answer is there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::slots::Token;

/// Connections that there is news for.
pub(crate) struct Mailbox {
    woken: Mutex<Vec<Token>>,
    /// Whether the server's thread sleeps, or is about to, so that the bell has to be rung.
    is_asleep: AtomicBool,
    /// Waited for by its edges, so that it is never read.
    bell: EventFd,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<Mailbox> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Mailbox { woken: Mutex::new(Vec::new()), is_asleep: AtomicBool::new(false), bell })
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Token>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether there is no news.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Says that the thread is about to sleep; `false` when it must not, because there is news.
    pub(crate) fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, SeqCst);
        let may = self.lock().is_empty();
        if !may {
            self.is_asleep.store(false, SeqCst);
        }
        may
    }

    /// Says that the thread is awake.
    pub(crate) fn is_awake(&self) {
        self.is_asleep.store(false, SeqCst);
    }

    /// Takes what came; `into` is empty and its memory is used again.
    pub(crate) fn take(&self, into: &mut Vec<Token>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// Wakes the thread if it sleeps.
    pub(crate) fn ring(&self) {
        if self.is_asleep.swap(false, SeqCst) {
            // It fails only when it was rung 2^64 times.
            let _ = self.bell.write(1);
        }
    }
}

/// Wakes one connection.
struct Caller {
    mailbox: Arc<Mailbox>,
    token: Token,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.lock().push(self.token);
        self.mailbox.ring();
    }
}

/// Returns who wakes this connection.
pub(crate) fn waker(mailbox: &Arc<Mailbox>, token: Token) -> Waker {
    Waker::from(Arc::new(Caller { mailbox: Arc::clone(mailbox), token }))
}
