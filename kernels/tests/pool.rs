//! What a pool promises whoever calls it, with more threads than cores so that many come late or are held up.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use latent_kernels::cpu::Pool;

/// How often callers run something: an interpreter has less patience.
const ROUNDS: usize = if cfg!(miri) { 8 } else { 1000 };

/// How often each task of an operation was done, and whether the operation is over.
struct Operation {
    done: Vec<AtomicUsize>,
    over: AtomicBool,
}

impl Operation {
    fn of(tasks: usize) -> Self {
        Self { done: (0..tasks).map(|_| 0.into()).collect(), over: false.into() }
    }

    /// Runs it, and holds the pool to its word for as long as the operation is kept.
    fn run(&self, pool: &Pool, seed: usize) {
        pool.run(self.done.len(), &|i| {
            assert!(!self.over.load(Ordering::SeqCst), "task {i} runs after its operation");
            dawdle(seed + i);
            self.done[i].fetch_add(1, Ordering::Relaxed);
        });
        self.over.store(true, Ordering::SeqCst);
        self.assert_done();
    }

    fn assert_done(&self) {
        assert!(self.done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }
}

/// Takes no time mostly, some microseconds often, and seldom lets the thread wait.
fn dawdle(seed: usize) {
    match seed.wrapping_mul(0x9e37_79b9) >> 7 & 63 {
        0 => thread::sleep(Duration::from_micros(50)),
        n @ 1..20 if !cfg!(miri) => {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_nanos(500 * n as u64) {}
        }
        _ => {}
    }
}

#[test]
fn a_pool_does_each_task_once_and_survives_a_panic() {
    let pool = Pool::new(4);
    for tasks in [0, 1, 2, 3, 100, if cfg!(miri) { 101 } else { 1000 }] {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| 0.into()).collect();
        pool.run(tasks, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
            // What a task starts, it does itself.
            pool.run(2, &|_| {});
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.run(50, &|i| assert!(i != 30, "task 30"));
    }));
    assert!(panicked.is_err());
    Operation::of(9).run(&pool, 0);
    // Long enough for its threads to sleep.
    thread::sleep(Duration::from_millis(50));
    Operation::of(8).run(&pool, 0);
}

#[test]
fn no_task_runs_twice_or_after_its_operation() {
    for threads in [2, 3, 8, 16] {
        let pool = Pool::new(threads);
        let call = |caller: usize| {
            let sizes = (0..ROUNDS / threads).map(|round| 2 + (round + caller) % 19);
            let operations: Vec<_> = sizes.map(Operation::of).collect();
            for (round, operation) in operations.iter().enumerate() {
                operation.run(&pool, 31 * round + caller);
            }
            // By now whoever was late has come.
            operations.iter().for_each(Operation::assert_done);
        };
        thread::scope(|scope| (0..3).for_each(|caller| drop(scope.spawn(move || call(caller)))));
    }
}

#[test]
fn run_returns_when_the_slowest_task_is_done() {
    let pool = Pool::new(4);
    for slow in 0..4 {
        let done = AtomicUsize::new(0);
        pool.run(4, &|i| {
            thread::sleep(Duration::from_millis(if i == slow { 20 } else { 2 }));
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 4, "task {slow} is slow");
    }
}

#[test]
fn a_panic_reaches_its_own_caller_alone() {
    let pool = Pool::new(8);
    let call = |caller: usize| {
        for round in 0..ROUNDS {
            let bad = (round % 3 == 0).then_some(round % 11);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(11, &|i| {
                    dawdle(round + i);
                    if Some(i) == bad {
                        // Not `panic!`, which would print it.
                        std::panic::resume_unwind(Box::new((caller, round)));
                    }
                });
            }));
            let want = bad.map(|_| (caller, round));
            let got = outcome.err().map(|panic| *panic.downcast().expect("what was thrown"));
            assert_eq!(got, want);
        }
    };
    thread::scope(|scope| (0..3).for_each(|caller| drop(scope.spawn(move || call(caller)))));
    Operation::of(100).run(&pool, 0);
}

#[test]
fn a_dropped_pool_has_ended_its_threads() {
    /// Counts the ends of threads.
    struct End;
    static ENDS: AtomicUsize = AtomicUsize::new(0);
    impl Drop for End {
        fn drop(&mut self) {
            ENDS.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static OF_THREAD: RefCell<Option<End>> = const { RefCell::new(None) });

    let pool = Pool::new(3);
    let all = std::sync::Barrier::new(3);
    pool.run(3, &|_| {
        OF_THREAD.set(Some(End));
        all.wait();
    });
    assert_eq!(ENDS.load(Ordering::Relaxed), 0);
    drop(pool);
    assert_eq!(ENDS.load(Ordering::Relaxed), 2, "the caller's goes on");
}
