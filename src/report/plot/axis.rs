//! From where to where an axis goes, and where its ticks are.

use std::sync::Arc;

use crate::report::number;

/// How a tick is written.
pub(super) type Write = Arc<dyn Fn(f64) -> String + Send + Sync>;

/// An axis with ticks at the multiples of a step.
#[derive(Clone)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) step: f64,
    pub(super) write: Write,
}

impl Axis {
    /// Around all values, a few steps of 1, 2 or 5 long; `None` where no value is finite.
    pub(super) fn around(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(values)?;
        // Values that are all the same have no extent of their own.
        let least = (low.abs().max(high.abs()) * 1e-6).max(1e-9);
        let (low, high) = match high - low > least {
            true => (low, high),
            false => {
                let room = (0.05 * low.abs()).max(1e-3);
                (low - room, high + room)
            }
        };
        let step = nice((high - low) / 5.0);
        let (min, max) = ((low / step).floor() * step, (high / step).ceil() * step);
        let decimals = decimals(step);
        let write = Arc::new(move |value| number::fixed(value, decimals));
        Some(Self { label: label.into(), min, max, step, write })
    }

    /// The same, with 0 on it; up to 1 where no value is another.
    pub(super) fn from_zero(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(values)?;
        let high = if low.min(high) >= 0.0 && high < 1e-9 { 1.0 } else { high.max(0.0) };
        Self::around(label, [low.min(0.0), high])
    }

    /// From 0 to the largest value, which counts something.
    pub(super) fn counting(label: &str, values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (_, high) = extent(values)?;
        let high = if high > 0.0 { high } else { 1.0 };
        let step = nice(high / 5.0);
        let write = Arc::new(number::count);
        Some(Self { label: label.into(), min: 0.0, max: high, step, write })
    }

    /// The same, but from the least value where 0 is far away.
    pub(super) fn counting_from(
        label: &str,
        values: impl IntoIterator<Item = f64> + Clone,
    ) -> Option<Self> {
        let (low, high) = extent(values.clone())?;
        if low < 0.3 * high || low >= high {
            return Self::counting(label, values);
        }
        let write = Arc::new(number::count);
        Some(Self {
            label: label.into(),
            min: low,
            max: high,
            step: nice((high - low) / 4.0),
            write,
        })
    }

    /// The same with room at its end, as a part of it: a mark there is not cut.
    pub(super) fn with_room(mut self, part: f64) -> Self {
        self.max += part * (self.max - self.min);
        self
    }

    /// The same, half a step longer at each end.
    pub(super) fn with_steps_to_spare(mut self) -> Self {
        self.min -= 0.5 * self.step;
        self.max += 0.5 * self.step;
        self
    }

    /// The places 0 to `n - 1`, each in the middle of a cell.
    pub(super) fn cells(label: &str, n: usize) -> Self {
        let step = nice(n as f64 / 9.0).max(1.0);
        let write = Arc::new(|value: f64| number::fixed(value, 0));
        Self { label: label.into(), min: -0.5, max: n as f64 - 0.5, step, write }
    }

    pub(super) fn range(&self) -> (f64, f64) {
        (self.min, self.max)
    }
}

/// Whether a figure has room for a value: what is larger would leave the range of numbers on the way to its
/// place.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e30
}

/// The least and the largest of those that can be drawn.
pub(super) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| drawable(*value)).fold(None, |found, value| match found {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// 1, 2 or 5 times a power of ten, at least about `step`.
pub(super) fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= 0.999 * step);
    times.unwrap_or(10.0) * power
}

/// The decimals that multiples of a step need.
fn decimals(step: f64) -> usize {
    (0..8).find(|&n| step * 10_f64.powi(n) >= 0.999).unwrap_or(8).unsigned_abs() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_around_all_values_by_whole_steps() {
        let axis = Axis::around("loss", [2.13, f64::NAN, 3.4, f64::INFINITY]).unwrap();
        assert_eq!((axis.min, axis.max), (2.0, 3.5));
        assert_eq!((axis.write)(2.5), "2.5");
    }

    #[test]
    fn values_that_are_the_same_have_an_axis() {
        for value in [0.0, 3.0, -2.5, 1e-12, 1e20] {
            let axis = Axis::around("loss", [value, value]).unwrap();
            assert!(axis.min < value && value < axis.max && axis.step > 0.0, "{value}");
            assert!((axis.max - axis.min) / axis.step < 12.0, "{value}");
        }
        assert!(Axis::around("loss", [f64::NAN]).is_none());
        assert!(Axis::around("loss", []).is_none());
    }

    #[test]
    fn an_axis_from_zero_has_zero_on_it() {
        let range = |values: &[f64]| Axis::from_zero("share", values.to_vec()).map(|a| a.range());
        assert_eq!(range(&[40.0, 93.0]), Some((0.0, 100.0)));
        assert_eq!(range(&[-3.0, -1.0]), Some((-3.0, 0.0)));
        assert_eq!(range(&[0.0, 0.0]), Some((0.0, 1.0)));
        assert_eq!(range(&[0.0, 5e-5]), Some((0.0, 5e-5)));
        assert_eq!(range(&[f64::NAN]), None);
    }

    #[test]
    fn steps_are_one_two_or_five() {
        for (step, want) in [(0.13, 0.2), (0.2, 0.2), (3.0, 5.0), (51.0, 100.0), (1.0, 1.0)] {
            assert!((nice(step) - want).abs() < 1e-9 * want, "{step}");
        }
        assert_eq!([1.0, 0.5, 0.02, 100.0].map(decimals), [0, 1, 2, 0]);
    }
}
