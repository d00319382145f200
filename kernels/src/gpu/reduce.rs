//! Reductions over the units of a cube, in a fixed order.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]

use cubecl::prelude::*;

/// The sum of every unit's `value`, told to all: halves are folded onto one another. `units` is the
/// size of the cube, a power of two.
#[cube]
pub fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.trailing_zeros()) {
        let half = comptime!(units >> (step + 1));
        if unit < half {
            values[unit] += values[unit + half];
        }
        sync_cube();
    }
    values[0]
}

/// The largest of every unit's `value`, told to all; no value may be NaN. `units` is the size of the
/// cube, a power of two.
#[cube]
pub fn cube_max(value: f32, #[comptime] units: usize) -> f32 {
    let mut values = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    values[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.trailing_zeros()) {
        let half = comptime!(units >> (step + 1));
        if unit < half {
            let other = values[unit + half];
            values[unit] = select(other > values[unit], other, values[unit]);
        }
        sync_cube();
    }
    values[0]
}
