//! Numbers that may repeat and have no order, counted.

/// The multisets of `count` whole numbers from `low` to `high`, each with a rank of its own.
///
/// A multiset is written in rising order, `a₁ ≤ … ≤ aₖ`. Then `cᵢ = aᵢ − low + i − 1` rises strictly,
/// and `Σ C(cᵢ, i)` counts all strictly rising sequences in the combinatorial number system: a
/// bijection between multisets and `0..C(m + k − 1, k)`, with `m = high − low + 1`.
///
/// # Source
/// Knuth, The Art of Computer Programming 4A, section 7.2.1.3.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multisets {
    low: u64,
    count: u64,
    /// `m + k − 1`: the `cᵢ` are below it.
    places: u64,
    size: u128,
}

impl Multisets {
    /// All multisets of `count` numbers; nothing when there are 2^120 or more.
    ///
    /// `low` is at most `high`.
    pub(super) fn new(count: usize, low: u64, high: u64) -> Option<Self> {
        let count = count as u64;
        let places = (high - low).checked_add(count)?;
        let size = binomial(places, count).filter(|&size| size < 1 << 120)?;
        Some(Self { low, count, places, size })
    }

    /// How many there are.
    pub(super) fn size(&self) -> u128 {
        self.size
    }

    /// The multiset of a rank below [`Multisets::size`], in rising order.
    pub(super) fn of_rank(&self, mut rank: u128) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut end = self.places;
        for chosen in (1..=self.count).rev() {
            // The largest c with C(c, chosen) <= rank: it is at least chosen - 1, where that is 0.
            let (mut c, mut above) = (chosen - 1, end);
            while above - c > 1 {
                let middle = c + (above - c) / 2;
                match binomial(middle, chosen) {
                    Some(below) if below <= rank => c = middle,
                    _ => above = middle,
                }
            }
            rank -= binomial(c, chosen).unwrap_or(0);
            numbers.push(self.low + c - (chosen - 1));
            end = c;
        }
        numbers.reverse();
        numbers
    }
}

/// How many subsets of `k` a set of `n` has; nothing when a number on the way is 2^128 or more.
fn binomial(n: u64, k: u64) -> Option<u128> {
    if k > n {
        return Some(0);
    }
    (0..u128::from(k)).try_fold(1_u128, |product, i| {
        // Of i + 1 numbers in a row one is divisible by i + 1, so nothing is lost.
        Some(product.checked_mul(u128::from(n) - i)? / (i + 1))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_multiset_has_one_rank() {
        for (count, low, high, size) in [(1, 5, 5, 1), (2, 1, 9, 45), (3, 0, 4, 35), (5, 7, 9, 21)]
        {
            let all = Multisets::new(count, low, high).unwrap();
            assert_eq!(all.size(), size);
            let found: BTreeSet<Vec<u64>> = (0..size).map(|rank| all.of_rank(rank)).collect();
            assert_eq!(found.len() as u128, size, "{count} of {low} to {high}");
            for numbers in found {
                assert_eq!(numbers.len(), count);
                assert!(numbers.is_sorted() && low <= numbers[0] && numbers[count - 1] <= high);
            }
        }
    }

    #[test]
    fn the_last_rank_of_a_large_space_is_its_largest_multiset() {
        let high = 999_999_999_999_999_999;
        let pairs = Multisets::new(2, 1, high).unwrap();
        assert_eq!(pairs.of_rank(0), [1, 1]);
        assert_eq!(pairs.of_rank(pairs.size() - 1), [high, high]);
    }

    #[test]
    fn too_many_are_nothing() {
        assert!(Multisets::new(16, 1, 999_999_999).is_none());
        assert!(Multisets::new(2, 0, u64::MAX).is_none());
    }
}
