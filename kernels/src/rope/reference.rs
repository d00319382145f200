//! The definition of [`rope`](crate::rope).

use ndarray::{ArrayD, Axis, Slice};

use crate::{KernelError, PairLayout, RopeTable, Scalar};

pub(crate) fn rope<T: Scalar>(
    x: &ArrayD<T>,
    table: &RopeTable,
    positions: &[usize],
) -> Result<ArrayD<T>, KernelError> {
    turned(x, table, positions, |angle| angle)
}

/// Turns each pair by what `angle` makes of its cosine and sine.
pub(super) fn turned<T: Scalar>(
    x: &ArrayD<T>,
    table: &RopeTable,
    positions: &[usize],
    angle: impl Fn((f64, f64)) -> (f64, f64),
) -> Result<ArrayD<T>, KernelError> {
    super::check(x.shape(), table, positions.len())?;
    let pairs = table.frequencies().len();
    let mut y = x.clone();
    for (mut heads, &position) in y.outer_iter_mut().zip(positions) {
        heads.slice_axis_inplace(Axis(1), Slice::from(x.shape()[2] - table.dim()..));
        for i in 0..pairs {
            let (cos, sin) = angle(table.cos_sin(position, i));
            let (cos, sin) = (T::from_f64(cos), T::from_f64(sin));
            let (first, second) = match table.layout() {
                PairLayout::Interleaved => (2 * i, 2 * i + 1),
                PairLayout::HalfSplit => (i, i + pairs),
            };
            for mut head in heads.outer_iter_mut() {
                let (a, b) = (head[first], head[second]);
                head[first] = a * cos - b * sin;
                head[second] = b * cos + a * sin;
            }
        }
    }
    Ok(y)
}
