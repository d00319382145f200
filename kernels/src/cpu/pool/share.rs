//! The tasks of an operation that are one thread's own, as long as nobody takes them over.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Neighbouring tasks that nobody has taken: the first in the upper half, the end in the lower. On a cache line
/// of its own.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Share(AtomicU64);

const FEWER: &str = "fewer than 2^32 tasks";

impl Share {
    /// # Panics
    /// When there are more than 2^32 - 1 tasks.
    pub(super) fn fill(&self, tasks: Range<usize>) {
        self.0.store(Self::packed(tasks), Ordering::Relaxed);
    }

    pub(super) fn take_first(&self) -> Option<usize> {
        self.take(|tasks| (tasks.start, tasks.start + 1..tasks.end))
    }

    pub(super) fn take_last(&self) -> Option<usize> {
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
