//! Some queries meet a tile of keys: scores, their softmax as far as it is known, and values.
//!
//! The order of each sum follows from the positions of keys alone: dot products in the sixteen lanes of
//! `linear`, weights and values from one key to the next.

use latent_kernels::cpu::{Kernel, LANES, Register, Simd, add_products, exp};

use super::state::{State, decay};
use crate::PAGE_TOKENS;

/// The keys of a tile: a page.
pub(super) const TILE: usize = PAGE_TOKENS;

/// Keys and values that follow one another, `[key, stride]`, zeros behind the keys up to whole vectors
/// and anything behind the values.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) keys: &'a [f32],
    pub(super) key_stride: usize,
    pub(super) values: &'a [f32],
    pub(super) value_stride: usize,
}

/// Lets queries `[query, stride]` see the first `seen[query]` of at most [`TILE`] keys.
pub(super) struct Meet<'a> {
    pub(super) queries: &'a [f32],
    pub(super) query_stride: usize,
    /// Neighbours are taken together, and best see about as many.
    pub(super) seen: &'a [usize],
    pub(super) tile: Keys<'a>,
    pub(super) key_dim: usize,
    pub(super) scale: f32,
    pub(super) state: &'a mut State,
    /// What is read next, asked for while scores are computed, some lines at a time.
    pub(super) ahead: *const u8,
    pub(super) ahead_at_once: usize,
}

impl Kernel for Meet<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // What a query does not see has no weight.
        self.state.scores.clear();
        self.state.scores.resize(self.seen.len() * TILE, f32::NEG_INFINITY);
        self.state.kept.clear();
        self.state.kept.resize(self.seen.len(), 1.0);
        self.prove();
        // Some queries stay in the nearest cache while all keys come by.
        let mut query = 0;
        while query < self.seen.len() {
            // SAFETY: by the contract of the trait; the slices were proved to be long enough.
            query += unsafe {
                match self.seen.len() - query {
                    8.. if S::Register::ROWS >= 6 => self.all_scores::<S, 8, 8, 2>(query),
                    4.. if S::Register::ROWS >= 6 => self.all_scores::<S, 4, 4, 4>(query),
                    4.. => self.all_scores::<S, 4, 2, 4>(query),
                    2.. => self.all_scores::<S, 2, 2, 4>(query),
                    _ => self.all_scores::<S, 1, 1, 4>(query),
                }
            };
        }
        for query in 0..self.seen.len() {
            if self.seen[query] > 0 {
                // SAFETY: as above.
                unsafe { self.weigh::<S>(query) };
            }
        }
        // A stripe of values stays there while all queries take their shares.
        let mut at = 0;
        while at < self.state.stride {
            let whole = self.state.stride - at >= S::COLUMNS * LANES;
            let stripe = if whole { S::COLUMNS } else { 1 };
            let mut query = 0;
            while query < self.seen.len() {
                // SAFETY: as above.
                query += unsafe {
                    match (self.seen.len() - query, stripe) {
                        (4.., 4) => self.add_values::<S, 4, 4>(query, at),
                        (2.., 4) => self.add_values::<S, 2, 4>(query, at),
                        (_, 4) => self.add_values::<S, 1, 4>(query, at),
                        (2.., 2) => self.add_values::<S, 2, 2>(query, at),
                        (_, 2) => self.add_values::<S, 1, 2>(query, at),
                        (4.., _) => self.add_values::<S, 4, 1>(query, at),
                        (2.., _) => self.add_values::<S, 2, 1>(query, at),
                        _ => self.add_values::<S, 1, 1>(query, at),
                    }
                };
            }
            at += stripe * LANES;
        }
    }
}

impl Meet<'_> {
    /// Proves that every slice holds what is read of it.
    fn prove(&self) {
        let keys = self.seen.iter().copied().max().unwrap_or(0);
        let (key, value) = (self.key_dim.next_multiple_of(LANES), self.state.stride);
        let holds = |slice: &[f32], rows: usize, stride: usize, width: usize| {
            stride >= width && (rows == 0 || slice.len() >= (rows - 1) * stride + width)
        };
        assert!(keys <= TILE, "keys of a tile");
        assert!(holds(self.queries, self.seen.len(), self.query_stride, key), "queries");
        assert!(holds(self.tile.keys, keys, self.tile.key_stride, key), "keys");
        assert!(holds(self.tile.values, keys, self.tile.value_stride, value), "values");
        assert!(self.state.values.len() >= self.seen.len() * value, "state");
    }

    /// The scores of `R` queries, of which `B` times `C` fit into registers.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows, and
    /// [`prove`](Self::prove) found the slices long enough.
    #[inline(always)]
    unsafe fn all_scores<S: Simd, const R: usize, const B: usize, const C: usize>(
        &mut self,
        query: usize,
    ) -> usize {
        let mut most = 0;
        for &seen in &self.seen[query..query + R] {
            most = if seen > most { seen } else { most };
        }
        let mut key = 0;
        while key < most {
            // SAFETY: by the contract of this function.
            unsafe { self.scores::<S, R, B, C>(query, key, most) };
            key += C;
        }
        R
    }

    /// The scores of `R` queries and up to `C` keys from `key` on, of the `most` that any of them sees.
    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize, const B: usize, const C: usize>(
        &mut self,
        query: usize,
        key: usize,
        most: usize,
    ) {
        let (mut k, mut lanes) = ([std::ptr::null(); C], [0.0; LANES * LANES]);
        // SAFETY: by the contract of `all_scores`; there are lanes for every score.
        unsafe {
            for c in 0..C {
                // Behind the last key, the last is taken once more, and not kept.
                let row = if key + c < most { key + c } else { most - 1 };
                k[c] = self.tile.keys.as_ptr().add(row * self.tile.key_stride);
            }
            for first in (0..R).step_by(B) {
                let q = self.queries.as_ptr().add((query + first) * self.query_stride);
                for part in (0..LANES).step_by(S::Register::WIDTH) {
                    let to = lanes.as_mut_ptr().add(first * C * LANES + part);
                    self.dots::<S::Register, B, C>(q.add(part), &k, part, to);
                }
            }
            for _ in 0..self.ahead_at_once {
                S::prefetch(self.ahead);
                self.ahead = self.ahead.wrapping_add(64);
            }
            let mut scores = [0.0; LANES];
            let scaled = S::mul(S::sums(lanes.as_ptr()), S::splat(self.scale));
            S::store(scores.as_mut_ptr(), scaled);
            for r in 0..R {
                let seen = self.seen[query + r];
                let to = &mut self.state.scores[(query + r) * TILE + key..];
                if key + C <= seen {
                    to[..C].copy_from_slice(&scores[r * C..][..C]);
                    continue;
                }
                for c in 0..C {
                    if key + c < seen {
                        to[c] = scores[r * C + c];
                    }
                }
            }
        }
    }

    /// Some lanes, from `part` on, of the sums of `B` queries and `C` keys.
    #[inline(always)]
    unsafe fn dots<V: Register, const B: usize, const C: usize>(
        &self,
        queries: *const f32,
        keys: &[*const f32; C],
        part: usize,
        to: *mut f32,
    ) {
        // SAFETY: by the contract of `all_scores`.
        unsafe {
            let mut sums = [[V::splat(0.0); C]; B];
            for at in (0..self.key_dim).step_by(LANES) {
                let mut terms = [V::splat(0.0); B];
                for r in 0..B {
                    terms[r] = V::load(queries.add(r * self.query_stride + at));
                }
                add_products(&terms, keys, at + part, &mut sums);
            }
            for r in 0..B {
                for c in 0..C {
                    sums[r][c].store(to.add((r * C + c) * LANES));
                }
            }
        }
    }

    /// Turns a query's scores into weights, adds these up, and notes what is kept of former sums.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(&mut self, query: usize) {
        let seen = self.seen[query].next_multiple_of(LANES);
        let scores = &mut self.state.scores[query * TILE..][..seen];
        let before = self.state.max[query];
        // A NaN is no maximum; it shows in the sum.
        let mut lanes = [f32::NEG_INFINITY; LANES];
        // SAFETY: by the contract of `all_scores`; so many are whole vectors.
        unsafe {
            let mut max = S::splat(before);
            let mut at = 0;
            while at < seen {
                max = S::max(S::load(scores.as_ptr().add(at)), max);
                at += LANES;
            }
            S::store(lanes.as_mut_ptr(), max);
        }
        let mut max = before;
        for l in 0..LANES {
            max = if lanes[l] > max { lanes[l] } else { max };
        }
        let mut lanes = [0.0; LANES];
        if max == f32::NEG_INFINITY {
            for (l, score) in scores.iter_mut().enumerate() {
                *score = if score.is_nan() { *score } else { 0.0 };
                lanes[l % LANES] += *score;
            }
        }
        // SAFETY: by the contract of `all_scores`; so many are whole vectors.
        unsafe {
            let mut sum = S::load(lanes.as_ptr());
            if max > f32::NEG_INFINITY {
                let mut at = 0;
                while at < seen {
                    let to = scores.as_mut_ptr().add(at);
                    let weights = exp::<S>(S::sub(S::load(to), S::splat(max)));
                    S::store(to, weights);
                    sum = S::add(sum, weights);
                    at += LANES;
                }
            }
            let kept = decay::<S>(before, max);
            self.state.max[query] = max;
            self.state.sum[query] = self.state.sum[query] * kept + S::sum(sum);
            self.state.kept[query] = kept;
        }
    }

    /// Adds the weighted values of `C` vectors from element `at` on to the sums of `R` queries.
    #[inline(always)]
    unsafe fn add_values<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
        at: usize,
    ) -> usize {
        let seen = &self.seen[query..query + R];
        let mut shared = seen[0];
        for &seen in seen {
            shared = if seen < shared { seen } else { shared };
        }
        // SAFETY: by the contract of `all_scores`.
        unsafe {
            let to = self.state.values.as_mut_ptr().add(query * self.state.stride + at);
            let mut sums = [[S::splat(0.0); C]; R];
            for r in 0..R {
                for c in 0..C {
                    let sum = S::load(to.add(r * self.state.stride + c * LANES));
                    sums[r][c] = S::mul(sum, S::splat(self.state.kept[query + r]));
                }
            }
            let mut values = [S::splat(0.0); C];
            for key in 0..shared {
                let row = self.tile.values.as_ptr().add(key * self.tile.value_stride + at);
                for c in 0..C {
                    values[c] = S::load(row.add(c * LANES));
                }
                for r in 0..R {
                    let weight =
                        S::splat(*self.state.scores.as_ptr().add((query + r) * TILE + key));
                    for c in 0..C {
                        sums[r][c] = S::fma(weight, values[c], sums[r][c]);
                    }
                }
            }
            for r in 0..R {
                for key in shared..seen[r] {
                    let row = self.tile.values.as_ptr().add(key * self.tile.value_stride + at);
                    let weight =
                        S::splat(*self.state.scores.as_ptr().add((query + r) * TILE + key));
                    for c in 0..C {
                        sums[r][c] = S::fma(weight, S::load(row.add(c * LANES)), sums[r][c]);
                    }
                }
                for c in 0..C {
                    S::store(to.add(r * self.state.stride + c * LANES), sums[r][c]);
                }
            }
        }
        R
    }
}
