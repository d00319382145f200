//! Where all chance comes from.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What chance is for: the same seed gives each use its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    /// Which documents validate, for each group of documents.
    Split,
    /// The documents of an epoch.
    Documents,
    /// The documents that validate.
    Validation,
    /// Choices of experts that are dealt out again, for each layer.
    Dealing,
    /// The sequences of an epoch.
    Sequences,
    /// The first values of a weight, by the hash of its name.
    Weight,
    /// A round of a permutation that is computed one place at a time.
    Round(u8),
    /// What a problem leaves open: the order of its numbers, a target.
    Problem,
    /// How an example of a problem is worked or guessed, and whether its form is broken.
    Example,
    /// The part of a problem that was read.
    Part,
    /// A continuation of a prompt.
    Continuation,
    /// The questions of an epoch.
    Questions,
    /// The continuations of a step.
    Rollout,
    /// Those of an evaluation.
    Evaluation,
}

impl Use {
    /// Its number, and one of its own.
    fn code(self) -> [u8; 2] {
        match self {
            Self::Split => [1, 0],
            Self::Documents => [2, 0],
            Self::Validation => [3, 0],
            Self::Dealing => [4, 0],
            Self::Sequences => [5, 0],
            Self::Weight => [16, 0],
            Self::Round(round) => [32, round],
            Self::Problem => [33, 0],
            Self::Example => [36, 0],
            Self::Part => [34, 0],
            Self::Continuation => [35, 0],
            Self::Questions => [37, 0],
            Self::Rollout => [38, 0],
            Self::Evaluation => [39, 0],
        }
    }
}

/// The stream of random words that belongs to `(seed, purpose, index)`.
///
/// They are those of ChaCha8, so that no version of a library changes them.
pub(crate) fn stream(seed: u64, purpose: Use, index: impl Into<u128>) -> ChaCha8Rng {
    let index = index.into().to_le_bytes();
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index[..8]);
    key[16..18].copy_from_slice(&purpose.code());
    key[24..].copy_from_slice(&index[8..]);
    ChaCha8Rng::from_seed(key)
}

/// A number below `n`, each as probable as the others: draws that would favour some are dropped.
pub(crate) fn below(stream: &mut ChaCha8Rng, n: usize) -> usize {
    let n = n as u64;
    let fair = u64::MAX - u64::MAX % n;
    loop {
        let draw = stream.next_u64();
        if draw < fair {
            return usize::try_from(draw % n).expect("it is below a usize");
        }
    }
}

/// As [`below`], where `n` may be larger than any length.
pub(crate) fn below_u128(stream: &mut ChaCha8Rng, n: u128) -> u128 {
    let fair = u128::MAX - u128::MAX % n;
    loop {
        let draw = u128::from(stream.next_u64()) << 64 | u128::from(stream.next_u64());
        if draw < fair {
            return draw % n;
        }
    }
}

/// A number from 0 on, below 1: a multiple of 2^-53.
pub(crate) fn unit(stream: &mut ChaCha8Rng) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Puts items in an order that is drawn, by Fisher and Yates.
pub(crate) fn reorder<T>(items: &mut [T], stream: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(stream, last + 1));
    }
}

/// The permutation of `0..n` that belongs to `(seed, purpose, index)`.
pub(crate) fn permutation(n: usize, seed: u64, purpose: Use, index: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    reorder(&mut order, &mut stream(seed, purpose, index));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_there_once() {
        let mut order = permutation(100, 3, Use::Documents, 0);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn seed_use_and_index_each_give_another() {
        let order = permutation(100, 3, Use::Documents, 0);
        assert_eq!(order, permutation(100, 3, Use::Documents, 0));
        assert_ne!(order, permutation(100, 4, Use::Documents, 0));
        assert_ne!(order, permutation(100, 3, Use::Split, 0));
        assert_ne!(order, permutation(100, 3, Use::Documents, 1));
    }

    #[test]
    fn all_permutations_are_equally_probable() {
        let mut found = std::collections::BTreeMap::new();
        for index in 0..6000 {
            *found.entry(permutation(3, 0, Use::Documents, index)).or_insert(0) += 1;
        }
        // Six standard deviations of a count of mean 1000.
        assert_eq!(found.len(), 6);
        assert!(found.values().all(|&n| (820..1180).contains(&n)), "{found:?}");
    }
}
