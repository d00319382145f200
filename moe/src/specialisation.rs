//! How much an expert tells of what a token is.

/// The mutual information of two labels in bits, from how often each pair was counted:
/// `Σ p(a, b) log2( p(a, b) / (p(a) p(b)) )`.
///
/// Rows may be kinds of text and columns experts, or the other way round. It is 0 where one label says
/// nothing of the other and at most the entropy of either. Nothing counted, or a single row: 0. Rows that
/// are shorter than others count as ending in zeros.
///
/// Few counts make it too large, by about `(rows - 1) (columns - 1) / (2 n ln 2)` bits for `n` counts that
/// are independent of each other (Miller, 1955); compare it with that of labels that were dealt out at
/// random.
///
/// ```
/// use latent_moe::specialisation::mutual_information;
/// assert_eq!(mutual_information(&[vec![5, 0], vec![0, 5]]), 1.0); // an expert for each kind
/// assert_eq!(mutual_information(&[vec![2, 4], vec![3, 6]]), 0.0); // the same shares of each
/// ```
///
/// # Source
/// Shannon, *A Mathematical Theory of Communication* (1948), section 12.
#[must_use]
pub fn mutual_information(counts: &[Vec<u64>]) -> f64 {
    let columns = counts.iter().map(Vec::len).max().unwrap_or(0);
    let rows: Vec<f64> = counts.iter().map(|row| sum(row.iter())).collect();
    let column = |b: usize| sum(counts.iter().filter_map(|row| row.get(b)));
    let columns: Vec<f64> = (0..columns).map(column).collect();
    let total: f64 = rows.iter().sum();
    let mut bits = 0.0;
    for (row, of_row) in counts.iter().zip(&rows) {
        for (&count, of_column) in row.iter().zip(&columns) {
            if count > 0 {
                let n = count as f64;
                bits += n / total * (n * total / (of_row * of_column)).log2();
            }
        }
    }
    // Rounding may leave a little less than nothing.
    bits.max(0.0)
}

fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> f64 {
    counts.map(|&n| n as f64).sum()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "nothing is rounded there")]
mod tests {
    use proptest::prelude::*;

    use super::mutual_information;

    fn entropy(counts: impl Iterator<Item = u64>) -> f64 {
        let counts: Vec<f64> = counts.map(|n| n as f64).collect();
        let total: f64 = counts.iter().sum();
        counts.iter().filter(|n| **n > 0.0).map(|n| n / total * (total / n).log2()).sum()
    }

    #[test]
    fn nothing_counted_says_nothing() {
        for counts in [vec![], vec![vec![]], vec![vec![0, 0], vec![0, 0]], vec![vec![3, 9]]] {
            assert_eq!(mutual_information(&counts), 0.0, "{counts:?}");
        }
    }

    #[test]
    fn a_short_row_ends_in_zeros() {
        let long = mutual_information(&[vec![4, 0], vec![1, 5]]);
        assert_eq!(mutual_information(&[vec![4], vec![1, 5]]), long);
        assert!(long > 0.0);
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_entropies_less_that_of_the_pairs(
            counts in prop::collection::vec(prop::collection::vec(0_u64..50, 5), 1..5),
        ) {
            prop_assume!(counts.iter().flatten().any(|&n| n > 0));
            let rows = entropy(counts.iter().map(|row| row.iter().sum()));
            let columns = entropy((0..5).map(|b| counts.iter().map(|row| row[b]).sum()));
            let pairs = entropy(counts.iter().flatten().copied());
            let found = mutual_information(&counts);
            prop_assert!((found - (rows + columns - pairs)).abs() < 1e-9);
            prop_assert!(found <= rows.min(columns) + 1e-9);
        }

        #[test]
        fn rows_and_columns_are_alike(
            counts in prop::collection::vec(prop::collection::vec(0_u64..50, 3), 4),
        ) {
            let turned: Vec<Vec<u64>> =
                (0..3).map(|b| counts.iter().map(|row| row[b]).collect()).collect();
            let (found, other) = (mutual_information(&counts), mutual_information(&turned));
            prop_assert!((found - other).abs() < 1e-12);
        }
    }
}
