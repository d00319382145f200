//! Threads that wait for the next operation of a decode step without sleeping.
//!
//! An operation of a step takes tens of microseconds; waking a sleeping thread takes as long. So the
//! threads look for work in a loop for a while before they sleep. Nor does an operation wait for a thread that
//! the system lets wait: those that run do all of its tasks.

mod door;
mod share;
mod sleepers;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use door::{Door, State};
use share::Share;
use sleepers::Sleepers;

/// How often a thread looks for work before it lets others run in between: tens of microseconds.
const BUSY_LOOKS: usize = if cfg!(miri) { 30 } else { 50_000 };

/// How often it looks before it sleeps.
const LOOKS: usize = BUSY_LOOKS + BUSY_LOOKS / 100;

thread_local! {
    /// Whether this thread runs a task of some pool: what it starts, it does alone.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads that share the tasks of one operation after another.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by who runs an operation: one at a time.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Shared {
    /// Open while an operation may have tasks that nobody has taken.
    door: Door,
    /// The tasks that are each thread's own, the caller's first.
    shares: Vec<Share>,
    thrown: Thrown,
    sleepers: Sleepers,
    closing: AtomicBool,
}

/// What a task panicked with. On a cache line of its own: callers lock it, and what lies beside it others read.
#[derive(Default)]
#[repr(align(64))]
struct Thrown(Mutex<Option<Box<dyn Any + Send>>>);

impl Pool {
    /// A pool that runs on `threads` threads, the caller's among them.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::of(threads));
        let start = |thread| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("latent".into()).spawn(move || shared.work(thread)).ok()
        };
        // Where the system gives fewer threads, fewer work: the result is the same.
        let workers = (1..threads).map_while(start).collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// The threads that work.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` with every number below `tasks`, each once, on any of the threads, and returns
    /// when all are done. A task that calls `run` itself does that work alone.
    ///
    /// Each thread goes through neighbouring tasks from front to back, and takes over the last ones of others
    /// when it is done with its own. A thread that does not come before all are taken is not waited for.
    ///
    /// # Panics
    /// When a task does.
    pub fn run(&self, tasks: usize, task: &Task<'_>) {
        if tasks < 2 || self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        let turn = held(&self.turn);
        let shared = &*self.shared;
        let threads = self.threads();
        for (thread, share) in shared.shares[..threads].iter().enumerate() {
            share.fill(thread * tasks / threads..(thread + 1) * tasks / threads);
        }
        let meanwhile = || {
            shared.sleepers.call();
            shared.take_part(0, task);
        };
        // SAFETY: one caller at a time has the turn.
        unsafe { shared.door.open_for(task, meanwhile) };
        let panic = held(&shared.thrown.0).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    fn of(threads: usize) -> Self {
        let shares = (0..threads.max(1)).map(|_| Share::default()).collect();
        Self { shares, ..Self::default() }
    }

    /// What a thread does until the pool is dropped.
    fn work(&self, thread: usize) {
        let mut state = State::default();
        loop {
            state = self.next(state);
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            if let Some(inside) = self.door.enter(state) {
                self.take_part(thread, inside.task());
            }
        }
    }

    /// Waits till the door is in another state than `seen`.
    fn next(&self, seen: State) -> State {
        let mut looks = 0;
        loop {
            let state = self.door.state();
            if state != seen {
                return state;
            }
            looks += 1;
            if looks < LOOKS {
                pause(looks);
            } else {
                self.sleepers.sleep_unless(|| self.door.state() != seen);
                looks = 0;
            }
        }
    }

    /// Does tasks that nobody has taken until there is none: those of `thread`, then those of others.
    fn take_part(&self, thread: usize, task: &Task<'_>) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (before, own) = self.shares.split_at(thread);
            let others = own[1..].iter().chain(before);
            let own_tasks = std::iter::from_fn(|| own[0].take_first());
            let last_of_others = others.flat_map(|share| std::iter::from_fn(|| share.take_last()));
            own_tasks.chain(last_of_others).for_each(task);
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            for share in &self.shares {
                share.fill(0..0);
            }
            *held(&self.thrown.0) = Some(panic);
        }
    }
}

/// Waits a moment; after many looks, lets other threads run.
///
/// No pause instruction: on virtual machines it can cost as much as a whole operation.
fn pause(looks: usize) {
    if looks >= BUSY_LOOKS {
        thread::yield_now();
    }
}

/// What a lock holds, whatever happened to others that held it.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.door.rattle();
        self.shared.sleepers.call();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, mpsc};
    use std::time::Duration;

    #[test]
    fn an_operation_waits_for_no_thread_that_does_not_come() {
        let shared = Arc::new(Shared::of(2));
        let came = Arc::new(AtomicBool::new(false));
        let (call, called) = mpsc::channel::<()>();
        let worker = {
            let (shared, came) = (Arc::clone(&shared), Arc::clone(&came));
            thread::spawn(move || {
                // If nobody calls, it comes in the end, and the test fails rather than hangs.
                let _ = called.recv_timeout(Duration::from_secs(5));
                came.store(true, Ordering::SeqCst);
                shared.work(1);
            })
        };
        let pool = Pool { shared, workers: vec![worker], turn: Mutex::new(()) };
        let caller = thread::current().id();
        pool.run(9, &|_| assert_eq!(thread::current().id(), caller));
        assert!(!came.load(Ordering::SeqCst));

        // The next operation has both: neither task ends without the other.
        drop(call);
        let both = Barrier::new(2);
        pool.run(2, &|_| {
            both.wait();
        });
    }
}
