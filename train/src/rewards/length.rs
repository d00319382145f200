//! What becomes of completions that are too long.

use serde::{Deserialize, Serialize};

/// What becomes of completions that are too long: `reward.overlong`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlongKind {
    /// Nothing: they are judged as they stand.
    Judged,
    /// [`soft_overlong`] is added to the reward.
    Soft,
    /// One that was cut off gets 0 and is to be masked: it takes no part in the loss.
    Hard,
}

/// DAPO's soft punishment of a completion of `tokens` tokens, from 0 to -1.
///
/// | tokens | punishment |
/// | --- | --- |
/// | up to `max - cache` | 0 |
/// | up to `max` | `((max - cache) - tokens) / cache` |
/// | more | -1 |
///
/// A `cache` of 0 leaves nothing between; one above `max` begins at no tokens.
///
/// ```
/// use latent_train::rewards::soft_overlong;
/// assert_eq!([60, 80, 90, 100, 101].map(|n| soft_overlong(n, 100, 40)), [0.0, -0.5, -0.75, -1.0, -1.0]);
/// ```
///
/// # Source
/// DAPO (arXiv 2503.14476), section 3.4, equation 13.
#[must_use]
pub fn soft_overlong(tokens: u64, max: u64, cache: u64) -> f64 {
    let free = max.saturating_sub(cache);
    if tokens <= free {
        0.0
    } else if tokens <= max {
        // Below it are more than `free` tokens and at most `max`, so `max - free` is not 0.
        -((tokens - free) as f64 / (max - free) as f64)
    } else {
        -1.0
    }
}
