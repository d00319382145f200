//! Seeded permutations.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a permutation is for: the same seed gives each use its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    /// Which documents validate, for each group of documents.
    Split,
    /// The documents of an epoch.
    Documents,
    /// The sequences of an epoch.
    Sequences,
    /// The documents that validate.
    Validation,
    /// Choices of experts that are dealt out again, for each layer.
    Dealing,
}

/// The permutation of `0..n` that belongs to `(seed, purpose, index)`, by Fisher and Yates.
///
/// The draws are words of the ChaCha8 stream, so that no version of a library changes them.
pub(crate) fn permutation(n: usize, seed: u64, purpose: Use, index: u64) -> Vec<usize> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16] = match purpose {
        Use::Split => 1,
        Use::Documents => 2,
        Use::Validation => 3,
        Use::Dealing => 4,
        Use::Sequences => 5,
    };
    let mut stream = ChaCha8Rng::from_seed(key);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut stream, last + 1));
    }
    order
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
