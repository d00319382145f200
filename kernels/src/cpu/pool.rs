//! Threads that wait for the next operation of a decode step without sleeping.
//!
//! An operation of a step takes tens of microseconds; waking a sleeping thread takes as long. So the
//! threads look for work in a loop for a while before they sleep.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    next: AtomicUsize,
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
    tasks: usize,
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
            next: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            closing: AtomicBool::new(false),
        });
        let start = |_| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("latent".into()).spawn(move || shared.work()).ok()
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
        let job = Job { task, tasks };
        *held(&shared.job) = Some(job);
        shared.next.store(0, Ordering::Relaxed);
        shared.working.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            drop(held(&shared.sleep));
            shared.wake.notify_all();
        }
        shared.take_part(job);
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
    fn work(&self) {
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
                self.take_part(job);
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

    /// Does tasks that nobody has taken until there is none.
    fn take_part(&self, job: Job) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, Ordering::Relaxed);
                if i >= job.tasks {
                    break;
                }
                // SAFETY: `Pool::run` waits for this thread before the task is gone.
                unsafe { (*job.task)(i) };
            }
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            self.next.store(job.tasks, Ordering::Relaxed);
            *held(&self.panic) = Some(panic);
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
