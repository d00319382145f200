//! What several seeds say together.

/// The finite ones of some values: a run that diverged has no say in a mean.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sample(Vec<f64>);

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().filter(|value| value.is_finite()).collect())
    }
}

impl Sample {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        // Divided before they are added, so that no sum is too large.
        let n = self.0.len() as f64;
        (!self.0.is_empty()).then(|| self.0.iter().map(|value| value / n).sum())
    }

    /// The standard deviation, of a sample: by `n - 1`. `None` of fewer than two, and where it is no number.
    pub(crate) fn deviation(&self) -> Option<f64> {
        let mean = self.mean().filter(|_| self.len() > 1)?;
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        Some((squares / (self.len() - 1) as f64).sqrt()).filter(|deviation| deviation.is_finite())
    }

    pub(crate) fn min(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::min)
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::max)
    }

    /// Whether all values lie on one side of 0, and there are at least three.
    pub(crate) fn agrees(&self) -> bool {
        self.len() >= 3
            && (self.0.iter().all(|value| *value > 0.0) || self.0.iter().all(|value| *value < 0.0))
    }
}

/// What each seed of `values` has more than the same seed of `base`.
pub(crate) fn paired(values: &[(u64, f64)], base: &[(u64, f64)]) -> Sample {
    let other = |seed: u64| base.iter().find(|(found, _)| *found == seed);
    values.iter().filter_map(|(seed, value)| Some(value - other(*seed)?.1)).collect()
}

/// A point of several curves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) x: f64,
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Several curves as one with its spread, at the places of the first that has any. Between two points a
/// curve is a line, and beyond its ends it has no say.
pub(crate) fn spread(curves: &[Vec<(f64, f64)>]) -> Vec<Spread> {
    let finite = |curve: &Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        curve.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let curves: Vec<Vec<(f64, f64)>> = curves.iter().map(finite).collect();
    let Some(first) = curves.iter().max_by_key(|curve| curve.len()) else { return Vec::new() };
    let at = |x: f64| {
        let sample: Sample = curves.iter().filter_map(|curve| value_at(curve, x)).collect();
        Some(Spread { x, mean: sample.mean()?, low: sample.min()?, high: sample.max()? })
    };
    first.iter().filter_map(|(x, _)| at(*x)).collect()
}

fn value_at(curve: &[(f64, f64)], x: f64) -> Option<f64> {
    let next = curve.iter().position(|(at, _)| *at >= x)?;
    let (x1, y1) = curve[next];
    if x1 <= x || next == 0 {
        // Only at the point itself is there a value at the front.
        return (x1 <= x).then_some(y1);
    }
    let (x0, y0) = curve[next - 1];
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

/// Each value as the mean of it and of `reach` on both sides. At the front, where a loss falls, of as few on
/// both sides as there are; at the end of those before it, so that the last values are no less smooth.
pub(crate) fn smoothed(curve: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let around = |i: usize| {
        let before = reach.min(i);
        let after = before.min(curve.len() - 1 - i);
        let near: Sample = curve[i - before..=i + after].iter().map(|(_, y)| *y).collect();
        (curve[i].0, near.mean().unwrap_or(f64::NAN))
    };
    (0..curve.len()).map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_of_a_sample() {
        let sample: Sample = [2.0, f64::NAN, 4.0, f64::INFINITY, 9.0].into_iter().collect();
        assert_eq!((sample.len(), sample.mean()), (3, Some(5.0)));
        assert_eq!(sample.deviation(), Some(13.0_f64.sqrt()));
        assert_eq!((sample.min(), sample.max()), (Some(2.0), Some(9.0)));
    }

    #[test]
    fn one_value_has_no_deviation_and_none_has_no_mean() {
        let one: Sample = [7.0].into_iter().collect();
        assert_eq!((one.mean(), one.deviation()), (Some(7.0), None));
        let none: Sample = [f64::NAN].into_iter().collect();
        assert_eq!((none.mean(), none.deviation(), none.min()), (None, None, None));
    }

    #[test]
    fn a_sum_that_is_too_large_is_no_reason_to_have_no_mean() {
        let sample: Sample = [1e308, 1.2e308, -1e308].into_iter().collect();
        assert!(sample.mean().is_some_and(f64::is_finite));
        assert_eq!(sample.deviation(), None);
    }

    #[test]
    fn a_difference_is_of_the_same_seed() {
        let found =
            paired(&[(3, 1.5), (1, 2.0), (9, 4.0), (5, f64::NAN)], &[(1, 1.0), (3, 1.0), (5, 1.0)]);
        assert_eq!(found, [0.5, 1.0].into_iter().collect());
        assert!(!found.agrees());
        assert!(paired(&[(1, 0.5), (2, 0.5), (3, 0.0)], &[(1, 1.0), (2, 1.0), (3, 1.0)]).agrees());
    }

    #[test]
    fn curves_of_other_places_meet_on_lines_between_points() {
        let long = vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 3.0)];
        let short = vec![(0.5, 4.0), (2.5, 8.0)];
        let found = spread(&[short, long]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], Spread { x: 0.0, mean: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(found[1], Spread { x: 1.0, mean: 3.0, low: 1.0, high: 5.0 });
        assert_eq!(found[2], Spread { x: 3.0, mean: 3.0, low: 3.0, high: 3.0 });
        assert!(spread(&[]).is_empty());
        assert!(spread(&[vec![(1.0, f64::NAN)]]).is_empty());
    }

    #[test]
    fn smoothing_keeps_a_line_and_its_front() {
        let line: Vec<_> = (0..9).map(|i| (f64::from(i), f64::from(2 * i))).collect();
        assert_eq!(smoothed(&line, 3)[..6], line[..6]);
        assert_eq!(smoothed(&line, 3)[8], (8.0, (10.0 + 12.0 + 14.0 + 16.0) / 4.0));
        assert!(smoothed(&[], 3).is_empty());
        assert_eq!(smoothed(&[(0.0, 0.0), (1.0, 9.0), (2.0, 0.0)], 1)[1], (1.0, 3.0));
    }
}
