//! The score of one logit, and whether it has one.

use cubecl::prelude::*;

use crate::ScoringFunc;

/// 2 where a logit or a bias is none, 1 where there is a score above 0, 0 at a logit of -∞.
#[cube]
pub(super) fn state(logit: f32, bias: f32) -> f32 {
    let infinite = logit.is_inf();
    let no_logit = logit.is_nan() || (infinite && logit > 0.0);
    let bad = no_logit || bias.is_nan() || bias.is_inf();
    select(bad, f32::new(2.0), select(infinite, f32::new(0.0), f32::new(1.0)))
}

/// The score of a logit that has one; with a softmax, before it is divided by the sum of all.
#[cube]
pub(super) fn score(x: f32, max: f32, #[comptime] scoring_func: ScoringFunc) -> f32 {
    if comptime!(scoring_func == ScoringFunc::Softmax) {
        let none = x.is_inf();
        select(none, f32::new(0.0), f32::exp(select(none, max, x) - max))
    } else {
        // The exponential of a negative number: no overflow, and small scores keep their digits. It
        // is 0 long before -1e4, which stands for all below and for -∞.
        let e = f32::exp(-f32::min(f32::abs(x), 1e4));
        if comptime!(scoring_func == ScoringFunc::Sigmoid) {
            select(x >= 0.0, f32::new(1.0), e) / (e + 1.0)
        } else {
            f32::sqrt(f32::max(x, 0.0) + ln_1p(e))
        }
    }
}

/// `ln(1 + e)` for `e` of `[0, 1]`, to the last digits however small `e` is.
///
/// `ln(1 + e) = 2 artanh(s)` with `s = e / (2 + e)`, at most 1/3, whose series is left after s¹⁵: the
/// rest is below 2⁻²⁹ of the whole. Not every shading language has this function.
#[cube]
fn ln_1p(e: f32) -> f32 {
    let s = e / (e + 2.0);
    let square = s * s;
    let mut series = f32::new(0.0);
    #[unroll]
    for i in 0..8u32 {
        series = fma(series, square, comptime!(1.0 / (15 - 2 * i) as f32));
    }
    2.0 * s * series
}
