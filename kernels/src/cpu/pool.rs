//! Threads that wait for the next operation of a decode step without sleeping.
//!
//! An operation of a step takes tens of microseconds; waking a sleeping thread takes as long. So the
//! threads look for work in a loop for a while before they sleep.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How often a thread looks for work before it lets others run in between: tens of microseconds.
const BUSY_LOOKS: usize = 50_000;

/// How often it looks before it sleeps.
const LOOKS: usize = BUSY_LOOKS + 500;

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

struct Shared {
    /// Counts operations; its change says that there is one.
    epoch: AtomicUsize,
    /// The operation, valid while `working` is not 0.
    job: Mutex<Option<Job>>,
    /// The tasks that are each thread's own, the caller's first.
    shares: Vec<Share>,
    working: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    closing: AtomicBool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
}

// SAFETY: the task is `Sync`, and `Pool::run` keeps it alive until every thread is done with it.
unsafe impl Send for Job {}

impl Pool {
    /// A pool that runs on `threads` threads, the caller's among them.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: Mutex::new(None),
            shares: (0..threads.max(1)).map(|_| Share::default()).collect(),
            working: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            closing: AtomicBool::new(false),
        });
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
    /// when it is done with its own.
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
        // SAFETY: only the lifetime changes. No thread uses the task after `working` is 0, and this
        // function does not return before.
        let task: *const Task<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(task)) };
        let job = Job { task };
        *held(&shared.job) = Some(job);
        let threads = self.threads();
        for (thread, share) in shared.shares[..threads].iter().enumerate() {
            share.fill(thread * tasks / threads..(thread + 1) * tasks / threads);
        }
        shared.working.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            drop(held(&shared.sleep));
            shared.wake.notify_all();
        }
        shared.take_part(job, 0);
        wait_until(|| shared.working.load(Ordering::Acquire) == 0);
        let panic = held(&shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// What a thread does until the pool is dropped.
    fn work(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.epoch.load(Ordering::Acquire) == seen {
                looks += 1;
                if looks < LOOKS {
                    pause(looks);
                } else {
                    self.sleep_while(seen);
                }
            }
            seen = self.epoch.load(Ordering::Acquire);
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            let job = *held(&self.job);
            if let Some(job) = job {
                self.take_part(job, thread);
            }
            self.working.fetch_sub(1, Ordering::Release);
        }
    }

    fn sleep_while(&self, seen: usize) {
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let mut guard = held(&self.sleep);
        while self.epoch.load(Ordering::SeqCst) == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    /// Does tasks that nobody has taken until there is none: those of `thread`, then those of others.
    fn take_part(&self, job: Job, thread: usize) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (before, own) = self.shares.split_at(thread);
            let others = own[1..].iter().chain(before);
            let own_tasks = std::iter::from_fn(|| own[0].take_first());
            let last_of_others = others.flat_map(|share| std::iter::from_fn(|| share.take_last()));
            for i in own_tasks.chain(last_of_others) {
                // SAFETY: `Pool::run` waits for this thread before the task is gone.
                unsafe { (*job.task)(i) };
            }
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            for share in &self.shares {
                share.fill(0..0);
            }
            *held(&self.panic) = Some(panic);
        }
    }
}

/// Neighbouring tasks that nobody has taken: the first in the upper half, the end in the lower. On a cache line
/// of its own.
#[derive(Default)]
#[repr(align(64))]
struct Share(AtomicU64);

const FEWER: &str = "fewer than 2^32 tasks";

impl Share {
    /// # Panics
    /// When there are more than 2^32 - 1 tasks.
    fn fill(&self, tasks: Range<usize>) {
        self.0.store(Self::packed(tasks), Ordering::Relaxed);
    }

    fn take_first(&self) -> Option<usize> {
        self.take(|tasks| (tasks.start, tasks.start + 1..tasks.end))
    }

    fn take_last(&self) -> Option<usize> {
        self.take(|tasks| (tasks.end - 1, tasks.start..tasks.end - 1))
    }

    /// Takes the task that `split` chooses, and leaves the others.
    fn take(&self, split: impl Fn(Range<usize>) -> (usize, Range<usize>)) -> Option<usize> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let half = |n: u64| usize::try_from(n).expect(FEWER);
            let tasks = half(now >> 32)..half(now & u64::from(u32::MAX));
            if tasks.is_empty() {
                return None;
            }
            let (task, rest) = split(tasks);
            match self.0.compare_exchange_weak(
                now,
                Self::packed(rest),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(task),
                Err(other) => now = other,
            }
        }
    }

    fn packed(tasks: Range<usize>) -> u64 {
        let half = |n: usize| u64::from(u32::try_from(n).expect(FEWER));
        half(tasks.start) << 32 | half(tasks.end)
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

fn wait_until(done: impl Fn() -> bool) {
    let mut looks = 0;
    while !done() {
        pause(looks);
        looks += 1;
    }
}

/// What a lock holds, whatever happened to others that held it.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        drop(held(&self.shared.sleep));
        self.shared.wake.notify_all();
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
