//! What launches cost: the bytes and operations that follow from their plans.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// The bytes and operations of one launch of a kernel, or of many.
///
/// Counted from the plan, by no counter of the hardware: what a kernel asks memory for, before any
/// cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// The launches.
    pub launches: u64,
    /// The bytes that any kernel for this must move: each operand once.
    pub floor_bytes: u64,
    /// The bytes that this kernel's units ask for.
    pub moved_bytes: u64,
    /// The multiply-adds.
    pub multiply_adds: u64,
}

impl Cost {
    /// A kernel that moves `bytes` once and hardly computes.
    #[must_use]
    pub fn streaming(bytes: usize) -> Self {
        let bytes = bytes as u64;
        Self { floor_bytes: bytes, moved_bytes: bytes, ..Self::default() }
    }

    /// The product of so many rows with a weight of so many bytes, `[outputs, width]`, that comes from
    /// memory once.
    ///
    /// ```
    /// use latent_kernels::Cost;
    /// let cost = Cost::product(2, [3, 8], 2 * 24);
    /// assert_eq!((cost.floor_bytes, cost.multiply_adds), (2 * 24 + 4 * 2 * (8 + 3), 2 * 24));
    /// ```
    #[must_use]
    pub fn product(rows: usize, [outputs, width]: [usize; 2], weight_bytes: usize) -> Self {
        let activations = 4 * rows * (width + outputs);
        let multiply_adds = (rows * outputs * width) as u64;
        Self { multiply_adds, ..Self::streaming(weight_bytes + activations) }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.launches += other.launches;
        self.floor_bytes += other.floor_bytes;
        self.moved_bytes += other.moved_bytes;
        self.multiply_adds += other.multiply_adds;
    }
}

/// What a machine can do at best, in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Bytes read from memory.
    pub read_bytes: f64,
    /// Multiply-adds.
    pub multiply_adds: f64,
}

/// The costs of everything that a backend launched, by kernel: see
/// [`Backend::take_ledger`](crate::Backend::take_ledger).
///
/// ```
/// use latent_kernels::{Cost, Ledger};
/// let mut ledger = Ledger::default();
/// ledger.record("add", Cost::streaming(12));
/// ledger.record("add", Cost::streaming(12));
/// assert_eq!((ledger.total().launches, ledger.total().floor_bytes), (2, 24));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The costs of each kernel.
    pub kernels: BTreeMap<&'static str, Cost>,
    /// How often the host waited for the device.
    pub synchronisations: u64,
}

impl Ledger {
    /// The costs of all kernels together.
    #[must_use]
    pub fn total(&self) -> Cost {
        let mut total = Cost::default();
        for &cost in self.kernels.values() {
            total += cost;
        }
        total
    }

    /// Adds one launch of `kernel`.
    pub fn record(&mut self, kernel: &'static str, cost: Cost) {
        *self.kernels.entry(kernel).or_default() += Cost { launches: 1, ..cost };
    }
}
