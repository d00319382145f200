//! What this processor can do at best: bytes read from memory and multiply-adds, by all its threads.

use std::hint::black_box;
use std::time::Instant;

use super::simd::{Kernel, LANES, Simd};
use super::{Cpu, Rows};
use crate::Peaks;

/// The bytes that are read: more than any cache holds of them from one reading to the next.
const READ: usize = 1 << 30;

/// The bytes that a task reads.
const TASK: usize = 1 << 20;

/// The bytes from what is read to what is asked for.
const AHEAD: usize = 16 << 10;

/// The steps of arithmetic of a task.
const STEPS: usize = 1 << 18;

/// Sums that grow at once: as many as hide how long each addition takes.
const SUMS: usize = 12;

/// How often each is timed; the fastest counts.
const RUNS: usize = 5;

impl Cpu {
    /// Times plain reading and plain arithmetic with the instructions and threads of this backend.
    pub(super) fn measure(&self) -> Peaks {
        let mut memory = Rows::zeros(READ / TASK, TASK / 4);
        // Memory that was never written is one page of zeros, seen again and again.
        (0..memory.len()).for_each(|row| memory.row_mut(row).fill(1.0));
        let read = || {
            self.pool().run(memory.len(), &|task| {
                black_box(self.isa().run(Read(memory.row(task))));
            });
        };
        let add = || {
            self.pool().run(8 * self.threads(), &|_| {
                black_box(self.isa().run(Add));
            });
        };
        let adds = 8 * self.threads() * STEPS * SUMS * LANES;
        Peaks {
            read_bytes: (memory.len() * TASK) as f64 / fastest(read),
            multiply_adds: adds as f64 / fastest(add),
        }
    }
}

/// The seconds of the fastest of some runs, behind one that does not count.
fn fastest(run: impl Fn()) -> f64 {
    run();
    let timed = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| timed()).fold(f64::INFINITY, f64::min)
}

/// Adds up elements, as fast as they come.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: chunks are whole vectors.
        unsafe {
            let mut sums = [S::splat(0.0); 4];
            let mut at = 0;
            while at + 4 * LANES <= self.0.len() {
                let from = self.0.as_ptr().add(at);
                for i in 0..4 {
                    S::prefetch_far(from.cast::<u8>().wrapping_add(AHEAD + 64 * i));
                }
                for i in 0..4 {
                    sums[i] = S::add(sums[i], S::load(from.add(i * LANES)));
                }
                at += 4 * LANES;
            }
            S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])))
        }
    }
}

/// Multiply-adds on registers.
struct Add;

impl Kernel for Add {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: by the contract of the trait.
        unsafe {
            let (x, mut sums) = (S::splat(black_box(1e-9)), [S::splat(0.0); SUMS]);
            for _ in 0..STEPS {
                for i in 0..SUMS {
                    sums[i] = S::fma(x, x, sums[i]);
                }
            }
            let mut all = sums[0];
            for i in 1..SUMS {
                all = S::add(all, sums[i]);
            }
            S::sum(all)
        }
    }
}
