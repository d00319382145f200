//! Threads that have looked for work in vain for long enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use super::held;

/// Where threads sleep, and are called from. Calling costs a look where none does.
#[derive(Default)]
pub(super) struct Sleepers {
    /// Whether somebody sleeps whom nobody has called; written with `lock` held.
    any: AtomicBool,
    lock: Mutex<()>,
    called: Condvar,
}

impl Sleepers {
    /// Sleeps till somebody calls, or for no reason a little less, unless there is something `to_do`.
    ///
    /// Who calls has made it so that there is, and then looks for sleepers; this says that it sleeps, and then looks
    /// for what is to do. Of the two, which are `SeqCst`, at least one sees the other.
    pub(super) fn sleep_unless(&self, to_do: impl Fn() -> bool) {
        let guard = held(&self.lock);
        self.any.store(true, Ordering::SeqCst);
        if !to_do() {
            drop(self.called.wait(guard));
        }
    }

    /// Wakes those that sleep.
    pub(super) fn call(&self) {
        if self.any.load(Ordering::SeqCst) {
            let guard = held(&self.lock);
            self.any.store(false, Ordering::SeqCst);
            drop(guard);
            self.called.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_call_wakes_who_sleeps() {
        let sleepers = Arc::new(Sleepers::default());
        let (tell, told) = mpsc::channel();
        let sleeper = Arc::clone(&sleepers);
        thread::spawn(move || {
            sleeper.sleep_unless(|| false);
            tell.send(()).expect("somebody listens");
        });
        while !sleepers.any.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        sleepers.call();
        told.recv_timeout(Duration::from_secs(10)).expect("awake");
    }

    #[test]
    fn who_has_something_to_do_does_not_sleep() {
        Sleepers::default().sleep_unless(|| true);
    }
}
