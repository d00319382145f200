//! How much of an attention one cube takes.

use latent_kernels::gpu::Limits;

use crate::RowLayout;

/// The keys of a split: a part of the keys that a cube takes alone. A fixed number, so that a
/// token's sums are cut at the same positions in every batch.
pub const SPLIT_KEYS: usize = 256;

/// The elements of keys and queries that lie in shared memory at once.
pub(super) const CHUNK: usize = 16;

/// The most queries of a cube.
const QUERIES: usize = 16;

/// The most sums that a unit keeps in registers.
const SUMS: usize = 64;

/// What one cube of the attention kernel takes: some heads of one group, for some tokens in a row,
/// over one split of keys.
///
/// Each cached row that a cube reads serves all its queries. The order of a sum follows from
/// `units` alone, and these from the layout alone: the number of heads and tokens changes no bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttendPlan {
    /// The units of a cube, and the keys of a tile: a unit scores one key.
    pub units: usize,
    /// The heads.
    pub heads: usize,
    /// The tokens, one after another.
    pub tokens: usize,
    /// The columns of a value that a unit sums.
    pub columns: usize,
}

impl AttendPlan {
    /// The plan for `heads` query heads over rows of `layout`, one token a cube.
    ///
    /// ```
    /// use latent_kernels::gpu::Limits;
    /// use latent_mla::gpu::AttendPlan;
    /// use latent_mla::RowLayout;
    /// let limits = Limits {
    ///     units: 1024, cubes: [65535; 3], shared_bytes: 32768, buffer_bytes: 1 << 27, bindings: 8
    /// }; let v3 = RowLayout { kv_heads: 1, key_dim: 576, value_dim: 512, value_offset: 0 };
    /// let plan = AttendPlan::new(v3, 128, limits);
    /// assert_eq!((plan.units, plan.heads, plan.columns), (128, 16, 4));
    /// ```
    #[must_use]
    pub fn new(layout: RowLayout, heads: usize, limits: Limits) -> Self {
        let units = if layout.value_dim > 64 { 128 } else { 64 };
        let columns = layout.value_dim.div_ceil(units).max(1);
        let group = heads.checked_div(layout.kv_heads).unwrap_or(1).max(1);
        let mut plan = Self { units, heads: group.next_power_of_two(), tokens: 1, columns };
        while plan.heads > 1 && !plan.fits(limits) {
            plan.heads /= 2;
        }
        plan
    }

    /// The same with as many of `tokens` tokens a cube as fit.
    #[must_use]
    pub fn with_tokens(self, tokens: usize, limits: Limits) -> Self {
        let mut plan = Self { tokens: tokens.max(1).next_power_of_two(), ..self };
        while plan.tokens > 1 && !plan.fits(limits) {
            plan.tokens /= 2;
        }
        plan
    }

    /// The pairs of head and token.
    #[must_use]
    pub const fn queries(self) -> usize {
        self.heads * self.tokens
    }

    /// The queries that lie side by side in a vector.
    #[must_use]
    pub const fn lanes(self) -> usize {
        if self.queries() < 4 { self.queries() } else { 4 }
    }

    /// The vectors of queries.
    #[must_use]
    pub const fn vectors(self) -> usize {
        self.queries() / self.lanes()
    }

    /// The bytes of shared memory of a cube: a chunk of each key and each query, every key's weight
    /// for each query, where each key lies, and the cube's bounds.
    #[must_use]
    pub const fn shared_bytes(self) -> usize {
        let keys = self.units * (CHUNK + 1);
        let queries = CHUNK * self.queries();
        let weights = self.units * self.queries();
        4 * (keys + queries + weights + self.units + 4)
    }

    fn fits(self, limits: Limits) -> bool {
        self.queries() <= QUERIES
            && self.queries() * self.columns <= SUMS
            && self.shared_bytes() <= limits.shared_bytes
    }
}
