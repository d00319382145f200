//! What queries know of their softmax: of some keys, of more of them, of all.

use std::cell::RefCell;

use latent_kernels::cpu::{Kernel, LANES, Simd, exp};

thread_local! {
    /// Memory that former states left: clearing it costs as much as some keys.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// The states whose memory is kept.
const KEPT: usize = 64;

/// What some queries know of their softmax after some keys.
#[derive(Debug)]
pub(super) struct State {
    /// The largest score of each query.
    pub(super) max: Vec<f32>,
    /// The sum of its weights, relative to the largest score.
    pub(super) sum: Vec<f32>,
    /// The sum of its weighted values, `[query, stride]`.
    pub(super) values: Vec<f32>,
    pub(super) stride: usize,
    /// Of the last tile, `[query, TILE]`.
    pub(super) scores: Vec<f32>,
    /// What each query keeps of the sums before the last tile.
    pub(super) kept: Vec<f32>,
}

impl State {
    /// Room for so many queries, whatever it holds, and for the values of whole [`LANES`] of them.
    pub(super) fn new(queries: usize, stride: usize) -> Self {
        let mut values = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        values.resize(queries.next_multiple_of(LANES) * stride, 0.0);
        Self {
            max: vec![f32::NEG_INFINITY; queries],
            sum: vec![0.0; queries],
            values,
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

impl Drop for State {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(values);
            }
        });
    }
}

/// What weights relative to `from` are times, relative to `to`.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn decay<S: Simd>(from: f32, to: f32) -> f32 {
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
    /// Which of its queries is the first of these.
    pub(super) from: usize,
    /// Whether each query saw one of the later keys; what saw none stays as it is.
    pub(super) saw: &'a [bool],
}

impl Kernel for Fold<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Fold { former, later, from, saw } = self;
        let stride = former.stride;
        assert!(stride == later.stride && stride.is_multiple_of(LANES), "vectors of a row");
        for query in 0..saw.len() {
            if !saw[query] {
                continue;
            }
            let (a, b) = (former.max[query], later.max[from + query]);
            let max = if b > a { b } else { a };
            let to = former.values[query * stride..][..stride].as_mut_ptr();
            let new = later.values[(from + query) * stride..][..stride].as_ptr();
            // SAFETY: by the contract of the trait; rows are whole vectors.
            unsafe {
                let (kept, added) = (decay::<S>(a, max), decay::<S>(b, max));
                former.max[query] = max;
                former.sum[query] = former.sum[query] * kept + later.sum[from + query] * added;
                let mut at = 0;
                while at < stride {
                    let new = S::mul(S::load(new.add(at)), S::splat(added));
                    S::store(to.add(at), S::fma(S::load(to.add(at)), S::splat(kept), new));
                    at += LANES;
                }
            }
        }
    }
}

/// The weighted mean of values: their sum over that of weights.
pub(super) struct Mean<'a> {
    /// The sums of a query, up to a multiple of 32 elements where they are `paired`.
    pub(super) values: &'a [f32],
    pub(super) sum: f32,
    /// Whether the even ones of 32 elements lie before the odd ones.
    pub(super) paired: bool,
    pub(super) o: &'a mut [f32],
}

impl Kernel for Mean<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Mean { values, sum, paired, o } = self;
        // A token that sees no key gives 0.
        if sum == 0.0 {
            o.fill(0.0);
            return;
        }
        let step = if paired { 2 * LANES } else { LANES };
        let mut at = 0;
        while at < o.len() {
            let from = &values[at..at + step];
            let mut means = [0.0; 2 * LANES];
            // SAFETY: by the contract of the trait; these are whole vectors.
            unsafe {
                let mut i = 0;
                while i < step {
                    let mean = S::div(S::load(from.as_ptr().add(i)), S::splat(sum));
                    // The sign of a zero may be that of a key not seen.
                    S::store(means.as_mut_ptr().add(i), S::add(mean, S::splat(0.0)));
                    i += LANES;
                }
            }
            if paired {
                let halves = means;
                for l in 0..LANES {
                    (means[2 * l], means[2 * l + 1]) = (halves[l], halves[LANES + l]);
                }
            }
            let here = (o.len() - at).min(step);
            o[at..at + here].copy_from_slice(&means[..here]);
            at += step;
        }
    }
}
