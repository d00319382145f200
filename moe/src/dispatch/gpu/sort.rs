//! A stable counting sort of choices by expert, on a device and without atomics.
//!
//! A cube lists the rows of one expert. Each of its units counts the choices of this expert, and of
//! those before it, in one stretch of the list; from the counts of all units follows where each of
//! them writes.

#![expect(clippy::cast_possible_truncation, reason = "devices count in 32 bits")]

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu};
use latent_kernels::{Cost, KernelError};

/// The units of a cube.
const UNITS: usize = 64;

/// Where each choice lies when rows are sorted by expert.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) offsets: Buffer, // [expert + 1]
    pub(crate) choices: Buffer, // [row]
    pub(crate) rows: Buffer,    // [choice]
}

/// Sorts `choices` choices of one of `n` experts each.
///
/// Every cube reads all choices, from a cache that they fit in: for 4096 tokens of V3, 128 KiB.
pub(crate) fn sort(
    gpu: &Gpu,
    experts: &Buffer,
    choices: usize,
    n: usize,
) -> Result<Order, KernelError> {
    let order = Order {
        offsets: gpu.buffer(4 * (n + 1))?,
        choices: gpu.buffer(4 * choices)?,
        rows: gpu.buffer(4 * choices)?,
    };
    let written = 8 * choices + 4 * (n + 1);
    let cost = Cost {
        floor_bytes: (4 * choices + written) as u64,
        moved_bytes: (2 * n * 4 * choices + written) as u64,
        ..Cost::default()
    };
    let cubes = Cubes { cubes: n, units: UNITS, shared_bytes: 8 * UNITS };
    gpu.launch("sort_choices", cubes, cost, |client, count, dim| {
        let (offsets, of_rows, rows) = (&order.offsets, &order.choices, &order.rows);
        let (offsets, of_rows, rows) = (offsets.arg(4), of_rows.arg(4), rows.arg(4));
        sort_kernel::launch(client, count, dim, experts.arg(4), offsets, of_rows, rows, choices, n);
    })?;
    Ok(order)
}

#[cube(launch)]
fn sort_kernel(
    experts: &[u32],             // [choice]
    offsets: &mut [u32],         // [expert + 1]
    choices_of_rows: &mut [u32], // [row]
    rows: &mut [u32],            // [choice]
    choices: usize,
    n: usize,
) {
    // Cubes behind the last expert do that expert once more.
    let expert = usize::min(CUBE_POS, n - 1);
    let unit = UNIT_POS as usize;
    let stretch = choices.div_ceil(UNITS);
    let first = usize::min(unit * stretch, choices);
    let end = usize::min(first + stretch, choices);

    let mut own = Shared::<[u32]>::new_slice(UNITS);
    let mut lower = Shared::<[u32]>::new_slice(UNITS);
    let mut own_count = 0u32;
    let mut lower_count = 0u32;
    for choice in first..end {
        let chosen = experts[choice] as usize;
        own_count += select(chosen == expert, 1u32, 0u32);
        lower_count += select(chosen < expert, 1u32, 0u32);
    }
    own[unit] = own_count;
    lower[unit] = lower_count;
    sync_cube();

    let mut offset = 0u32;
    for u in 0..UNITS {
        offset += lower[u];
    }
    let mut row = offset;
    for u in 0..unit {
        row += own[u];
    }
    if unit == 0 {
        offsets[expert] = offset;
        if expert == n - 1 {
            offsets[n] = choices as u32;
        }
    }
    for choice in first..end {
        if experts[choice] as usize == expert {
            choices_of_rows[row as usize] = choice as u32;
            rows[choice] = row;
            row += 1;
        }
    }
}
