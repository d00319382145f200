//! A seeded permutation of a range that is too large to be written down.

use rand::Rng;

use crate::random::{Use, stream};

/// The rounds of the network: four make it look random in both directions (Luby and Rackoff 1988).
const ROUNDS: u8 = 4;

/// A permutation of `0..size`, computed one place at a time.
///
/// A Feistel network permutes the numbers of an even count of bits, whatever its rounds compute:
/// each round `(l, r) → (r, l ⊕ f(r))` can be undone. Where it leads out of the range it is followed
/// on until it is back; as it runs in a cycle it comes back, and two that start apart end apart.
///
/// # Source
/// Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002: cycle walking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shuffle {
    size: u128,
    /// The bits of half a number, at most 63.
    half: u32,
    seed: u64,
}

impl Shuffle {
    /// The permutation of a seed; `size` is at least 1 and below 2^126.
    pub(super) fn new(size: u128, seed: u64) -> Self {
        let bits = u128::BITS - (size - 1).leading_zeros();
        Self { size, half: bits.div_ceil(2).max(1), seed }
    }

    /// What stands at a place below `size`.
    pub(super) fn at(&self, place: u128) -> u128 {
        let mut value = self.network(place);
        while value >= self.size {
            value = self.network(value);
        }
        value
    }

    fn network(&self, value: u128) -> u128 {
        let mask = (1_u64 << self.half) - 1;
        let low = |value: u128| u64::try_from(value & u128::from(mask)).expect("a mask of 63 bits");
        let (mut left, mut right) = (low(value >> self.half), low(value));
        for round in 0..ROUNDS {
            let drawn = stream(self.seed, Use::Round(round), right).next_u64();
            (left, right) = (right, left ^ (drawn & mask));
        }
        u128::from(left) << self.half | u128::from(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_there_once() {
        for size in [1, 2, 3, 4, 5, 16, 17, 100, 1000, 1024, 1025] {
            let shuffle = Shuffle::new(size, 7);
            let mut found: Vec<u128> = (0..size).map(|place| shuffle.at(place)).collect();
            assert!(size < 100 || found != (0..size).collect::<Vec<_>>());
            found.sort_unstable();
            assert_eq!(found, (0..size).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seeds_have_permutations_of_their_own() {
        let of = |seed| (0..50).map(|p| Shuffle::new(1000, seed).at(p)).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn the_largest_range_is_permuted() {
        let size = (1 << 125) + 3;
        let shuffle = Shuffle::new(size, 0);
        let found: std::collections::BTreeSet<u128> = (0..200).map(|p| shuffle.at(p)).collect();
        assert!(found.len() == 200 && found.iter().all(|&value| value < size));
    }

    #[test]
    fn the_bits_stay() {
        // By the formulas, with another implementation of ChaCha8.
        let shuffle = Shuffle::new(1_000_000, 3);
        assert_eq!([0, 1, 2].map(|place| shuffle.at(place)), [687_700, 832_420, 230_742]);
    }
}
