//! Some queries meet a tile of keys: scores, their softmax as far as it is known, and values.
//!
//! The order of each sum follows from the positions of keys alone: dot products in the sixteen lanes of
//! `linear`, weights and values from one key to the next.

use latent_kernels::cpu::{Kernel, LANES, Simd, add_products, exp};

use crate::PAGE_TOKENS;

/// The keys of a tile: a page.
pub(super) const TILE: usize = PAGE_TOKENS;

/// What some queries know of their softmax after some keys.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The largest score of each query.
    pub(super) max: Vec<f32>,
    /// The sum of its weights, relative to the largest score.
    pub(super) sum: Vec<f32>,
    /// The sum of its weighted values, `[query, stride]`.
    pub(super) values: Vec<f32>,
    pub(super) stride: usize,
    /// `[query, TILE]`
    scores: Vec<f32>,
}

impl State {
    /// Of queries that saw no key.
    pub(super) fn new(queries: usize, value_dim: usize) -> Self {
        let stride = value_dim.next_multiple_of(LANES);
        Self {
            max: vec![f32::NEG_INFINITY; queries],
            sum: vec![0.0; queries],
            values: vec![0.0; queries * stride],
            stride,
            scores: vec![0.0; queries * TILE],
        }
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }
}

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
    /// Ascending in runs: neighbours that see as many are taken together.
    pub(super) seen: &'a [usize],
    pub(super) tile: Keys<'a>,
    pub(super) key_dim: usize,
    pub(super) scale: f32,
    pub(super) state: &'a mut State,
}

impl Kernel for Meet<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // What a query does not see has no weight.
        self.state.scores.fill(f32::NEG_INFINITY);
        self.prove();
        let mut query = 0;
        while query < self.seen.len() {
            let seen = self.seen[query];
            let mut alike = 1;
            while alike < 4 && query + alike < self.seen.len() && self.seen[query + alike] == seen {
                alike += 1;
            }
            // SAFETY: by the contract of the trait; the slices were proved to be long enough.
            query += unsafe {
                match alike {
                    4 if S::COLUMNS >= 4 => self.queries::<S, 4, 4>(query, seen),
                    2.. => self.queries::<S, 2, 2>(query, seen),
                    _ => self.queries::<S, 1, 2>(query, seen),
                }
            };
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
        assert_eq!(self.state.values.len(), self.seen.len() * value, "state");
    }

    /// `R` queries that see as many keys.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows, and [`prove`](Self::prove)
    /// found the slices long enough.
    #[inline(always)]
    unsafe fn queries<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
        seen: usize,
    ) -> usize {
        if seen == 0 {
            return R;
        }
        // SAFETY: by the contract of this function.
        unsafe {
            let mut key = 0;
            while key < seen {
                key += if seen - key >= C {
                    self.scores::<S, R, C>(query, key)
                } else {
                    self.scores::<S, R, 1>(query, key)
                };
            }
            let mut kept = [1.0; R];
            for r in 0..R {
                kept[r] = self.weigh::<S>(query + r);
            }
            let mut at = 0;
            while at < self.state.stride {
                at += if self.state.stride - at >= C * LANES {
                    self.add_values::<S, R, C>(query, seen, at, &kept)
                } else {
                    self.add_values::<S, R, 1>(query, seen, at, &kept)
                };
            }
        }
        R
    }

    /// The scores of `R` queries and `C` keys.
    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
        key: usize,
    ) -> usize {
        // SAFETY: by the contract of `queries`.
        unsafe {
            let mut q = [std::ptr::null(); R];
            for r in 0..R {
                q[r] = self.queries.as_ptr().add((query + r) * self.query_stride);
            }
            let mut sums = [[S::splat(0.0); C]; R];
            let mut keys = [S::splat(0.0); C];
            for at in 0..self.key_dim.div_ceil(LANES) {
                for c in 0..C {
                    let row = self.tile.keys.as_ptr().add((key + c) * self.tile.key_stride);
                    keys[c] = S::load(row.add(at * LANES));
                }
                add_products::<S, R, C>(&q, at, &keys, &mut sums);
            }
            for r in 0..R {
                for c in 0..C {
                    self.state.scores[(query + r) * TILE + key + c] =
                        S::sum(sums[r][c]) * self.scale;
                }
            }
        }
        C
    }

    /// Turns a query's scores into weights, adds these up, and gives what is kept of former sums.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(&mut self, query: usize) -> f32 {
        let scores = &mut self.state.scores[query * TILE..][..TILE];
        let before = self.state.max[query];
        // A NaN is no maximum; it shows in the sum.
        let mut max = before;
        for &score in &*scores {
            max = if score > max { score } else { max };
        }
        let mut lanes = [0.0; LANES];
        if max == f32::NEG_INFINITY {
            for (l, score) in scores.iter_mut().enumerate() {
                *score = if score.is_nan() { *score } else { 0.0 };
                lanes[l % LANES] += *score;
            }
        }
        // SAFETY: by the contract of `queries`; a tile is whole vectors.
        unsafe {
            let mut sum = S::load(lanes.as_ptr());
            if max > f32::NEG_INFINITY {
                let mut at = 0;
                while at < TILE {
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
            kept
        }
    }

    /// Adds the weighted values of `C` vectors from element `at` on to the sums of `R` queries.
    #[inline(always)]
    unsafe fn add_values<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
        seen: usize,
        at: usize,
        kept: &[f32; R],
    ) -> usize {
        // SAFETY: by the contract of `queries`.
        unsafe {
            let to = self.state.values.as_mut_ptr().add(query * self.state.stride + at);
            let mut sums = [[S::splat(0.0); C]; R];
            for r in 0..R {
                for c in 0..C {
                    let sum = S::load(to.add(r * self.state.stride + c * LANES));
                    sums[r][c] = S::mul(sum, S::splat(kept[r]));
                }
            }
            let mut values = [S::splat(0.0); C];
            for key in 0..seen {
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
                for c in 0..C {
                    S::store(to.add(r * self.state.stride + c * LANES), sums[r][c]);
                }
            }
        }
        C * LANES
    }
}

/// What weights relative to `from` are times, relative to `to`.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn decay<S: Simd>(from: f32, to: f32) -> f32 {
    // Of two infinities the difference would be NaN.
    if from.to_bits() == to.to_bits() {
        return 1.0;
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: by the contract of this function.
    unsafe { S::store(lanes.as_mut_ptr(), exp::<S>(S::splat(from - to))) };
    lanes[0]
}

/// Adds what queries know of later keys to what they know of former ones.
pub(super) struct Fold<'a> {
    pub(super) former: &'a mut State,
    pub(super) later: &'a State,
    /// How many of the later keys each query saw; what saw none stays as it is.
    pub(super) saw: &'a [bool],
}

impl Kernel for Fold<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Fold { former, later, saw } = self;
        assert_eq!((former.values.len(), saw.len()), (later.values.len(), later.max.len()));
        let stride = former.stride;
        for query in 0..saw.len() {
            if !saw[query] {
                continue;
            }
            let (a, b) = (former.max[query], later.max[query]);
            let max = if b > a { b } else { a };
            // SAFETY: by the contract of the trait; rows are whole vectors.
            unsafe {
                let (kept, added) = (decay::<S>(a, max), decay::<S>(b, max));
                former.max[query] = max;
                former.sum[query] = former.sum[query] * kept + later.sum[query] * added;
                let mut at = query * stride;
                while at < (query + 1) * stride {
                    let to = former.values.as_mut_ptr().add(at);
                    let new = S::mul(S::load(later.values.as_ptr().add(at)), S::splat(added));
                    S::store(to, S::fma(S::load(to), S::splat(kept), new));
                    at += LANES;
                }
            }
        }
    }
}
