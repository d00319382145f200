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
    /// Of the last tile, `[query, TILE]`.
    scores: Vec<f32>,
    /// What each query keeps of the sums before the last tile.
    kept: Vec<f32>,
}

impl State {
    /// Of queries that saw no key; values have a place for `rows` queries, `stride` elements each.
    pub(super) fn new(queries: usize, rows: usize, stride: usize) -> Self {
        Self {
            max: vec![f32::NEG_INFINITY; queries],
            sum: vec![0.0; queries],
            values: vec![0.0; rows * stride],
            stride,
            scores: Vec::new(),
            kept: Vec::new(),
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
                match self.alike(query, 2 * S::COLUMNS) {
                    8 => self.all_scores::<S, 8, 2>(query),
                    4 => self.all_scores::<S, 4, 4>(query),
                    2 => self.all_scores::<S, 2, 4>(query),
                    _ => self.all_scores::<S, 1, 4>(query),
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
            let stripe = if self.state.stride - at >= 4 * LANES { 4 } else { 1 };
            let mut query = 0;
            while query < self.seen.len() {
                // SAFETY: as above.
                query += unsafe {
                    match (self.alike(query, S::COLUMNS), stripe) {
                        (4, 4) => self.add_values::<S, 4, 4>(query, at),
                        (2.., 4) => self.add_values::<S, 2, 4>(query, at),
                        (_, 4) => self.add_values::<S, 1, 4>(query, at),
                        (4, _) => self.add_values::<S, 4, 1>(query, at),
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
        assert_eq!(self.state.values.len(), self.seen.len() * value, "state");
    }

    /// How many queries from `query` on see as many keys: 8, 4, 2 or 1, and up to `most`.
    #[inline(always)]
    fn alike(&self, query: usize, most: usize) -> usize {
        let mut alike = 1;
        while alike < most
            && query + alike < self.seen.len()
            && self.seen[query + alike] == self.seen[query]
        {
            alike += 1;
        }
        match alike {
            8.. => 8,
            4.. => 4,
            2.. => 2,
            _ => 1,
        }
    }

    /// The scores of `R` queries that see as many keys.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows, and
    /// [`prove`](Self::prove) found the slices long enough.
    #[inline(always)]
    unsafe fn all_scores<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
    ) -> usize {
        let mut key = 0;
        while key < self.seen[query] {
            // SAFETY: by the contract of this function.
            unsafe { self.scores::<S, R, C>(query, key) };
            key += C;
        }
        R
    }

    /// The scores of `R` queries and up to `C` keys from `key` on.
    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize, const C: usize>(&mut self, query: usize, key: usize) {
        let seen = self.seen[query];
        // SAFETY: by the contract of `all_scores`.
        unsafe {
            let (mut q, mut k) = ([std::ptr::null(); R], [std::ptr::null(); C]);
            for r in 0..R {
                q[r] = self.queries.as_ptr().add((query + r) * self.query_stride);
            }
            for c in 0..C {
                // Behind the last key, the last is taken once more, and not kept.
                let row = if key + c < seen { key + c } else { seen - 1 };
                k[c] = self.tile.keys.as_ptr().add(row * self.tile.key_stride);
            }
            let mut sums = [[S::splat(0.0); C]; R];
            let mut keys = [S::splat(0.0); C];
            for at in 0..self.key_dim.div_ceil(LANES) {
                for c in 0..C {
                    keys[c] = S::load(k[c].add(at * LANES));
                }
                add_products::<S, R, C>(&q, at, &keys, &mut sums);
            }
            for _ in 0..self.ahead_at_once {
                S::prefetch(self.ahead);
                self.ahead = self.ahead.wrapping_add(64);
            }
            let mut lanes = [0.0; LANES * LANES];
            for r in 0..R {
                for c in 0..C {
                    S::store(lanes.as_mut_ptr().add((r * C + c) * LANES), sums[r][c]);
                }
            }
            let mut scores = [0.0; LANES];
            let scaled = S::mul(S::sums(lanes.as_ptr()), S::splat(self.scale));
            S::store(scores.as_mut_ptr(), scaled);
            for r in 0..R {
                for c in 0..C {
                    if key + c < seen {
                        self.state.scores[(query + r) * TILE + key + c] = scores[r * C + c];
                    }
                }
            }
        }
    }

    /// Turns a query's scores into weights, adds these up, and notes what is kept of former sums.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(&mut self, query: usize) {
        let scores = &mut self.state.scores[query * TILE..][..TILE];
        let before = self.state.max[query];
        // A NaN is no maximum; it shows in the sum.
        let mut lanes = [f32::NEG_INFINITY; LANES];
        // SAFETY: by the contract of `all_scores`; a tile is whole vectors.
        unsafe {
            let mut max = S::splat(before);
            let mut at = 0;
            while at < TILE {
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
        // SAFETY: by the contract of `all_scores`; a tile is whole vectors.
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
            self.state.kept[query] = kept;
        }
    }

    /// Adds the weighted values of `C` vectors from element `at` on to the sums of `R` queries that see as
    /// many keys.
    #[inline(always)]
    unsafe fn add_values<S: Simd, const R: usize, const C: usize>(
        &mut self,
        query: usize,
        at: usize,
    ) -> usize {
        let seen = self.seen[query];
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
        R
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
