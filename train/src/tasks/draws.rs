//! Where the chance of problems comes from.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::data::order::below;

/// What is drawn: the same seed gives each its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// A round of a permutation.
    Shuffle {
        /// Which, from 0.
        round: u8,
    },
    /// What a problem leaves open: the order of its numbers, a target.
    Problem,
    /// The part of a problem that was read.
    Part,
}

/// The stream of random words that belongs to `(seed, purpose, index)`.
///
/// They are those of ChaCha8, so that no version of a library changes them.
pub(super) fn draws(seed: u64, purpose: Purpose, index: u128) -> ChaCha8Rng {
    let index = index.to_le_bytes();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index[..8]);
    key[24..].copy_from_slice(&index[8..]);
    // Permutations of documents and first weights have smaller numbers there.
    (key[16], key[17]) = match purpose {
        Purpose::Shuffle { round } => (32, round),
        Purpose::Problem => (33, 0),
        Purpose::Part => (34, 0),
    };
    ChaCha8Rng::from_seed(key)
}

/// Puts numbers in an order that is drawn, by Fisher and Yates.
pub(super) fn reorder<T>(items: &mut [T], stream: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(stream, last + 1));
    }
}
