//! The softmax of a split: sixteen queries at once, one to a lane.

use latent_kernels::cpu::{Kernel, LANES, Simd, exp};

use super::super::blocks::SPLIT;
use super::lines::{Line, WIDTH};
use super::scores::Scores;

/// Turns the scores of sixteen queries into weights in bf16.
pub(super) struct Weigh<'a> {
    pub(super) scores: &'a mut Scores,
    pub(super) scale: f32,
    /// How many keys each query sees, and the most; weights are made up to a multiple of [`WIDTH`] keys.
    pub(super) seen: [usize; LANES],
    pub(super) limit: usize,
    /// `[key / 32, query, pair of keys]`
    pub(super) weights: &'a mut [Line],
    /// The largest score of each query, and the sum of its weights relative to it.
    pub(super) max: &'a mut [f32; LANES],
    pub(super) sum: &'a mut [f32; LANES],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Weigh { scores: Scores(scores), scale, seen, limit, weights, max, sum } = self;
        assert!(limit <= SPLIT, "keys of a split");
        let keys = limit.next_multiple_of(WIDTH);
        let mut all_see = keys;
        for l in 0..LANES {
            all_see = all_see.min(seen[l]);
        }
        // SAFETY: by the contract of the trait; each row of scores is a vector.
        unsafe {
            let mut largest = S::splat(f32::NEG_INFINITY);
            for key in 0..keys {
                let row = scores[key].as_mut_ptr();
                S::store(row, S::mul(S::load(row), S::splat(scale)));
                if key >= all_see {
                    for l in 0..LANES {
                        // What a query does not see has no weight, whatever it is.
                        let hidden = key >= seen[l];
                        scores[key][l] = if hidden { f32::NEG_INFINITY } else { scores[key][l] };
                    }
                }
                // A NaN is no maximum; it shows in the sum.
                largest = S::max(S::load(row), largest);
            }
            S::store(max.as_mut_ptr(), largest);
            // Relative to -∞, -∞ would be NaN.
            let mut shift = [0.0; LANES];
            for l in 0..LANES {
                shift[l] = if max[l] == f32::NEG_INFINITY { 0.0 } else { max[l] };
            }
            let shift = S::load(shift.as_ptr());
            let mut sums = [S::splat(0.0); 2];
            for block in 0..keys / WIDTH {
                let mut words = [Line::default(); LANES];
                for pair in 0..LANES {
                    let mut rounded = [S::splat(0.0); 2];
                    for i in 0..2 {
                        let score = S::load(scores[block * WIDTH + 2 * pair + i].as_ptr());
                        rounded[i] = S::round_bf16(exp::<S>(S::sub(score, shift)));
                        sums[i] = S::add(sums[i], rounded[i]);
                    }
                    let to = words[pair].0.as_mut_ptr().cast();
                    S::store_bf16_pairs(to, rounded[0], rounded[1]);
                }
                let to = &mut weights[block * LANES..][..LANES];
                S::transpose(words.as_ptr().cast(), LANES, to.as_mut_ptr().cast(), LANES);
            }
            S::store(sum.as_mut_ptr(), S::add(sums[0], sums[1]));
        }
    }
}
