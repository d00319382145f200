//! [`rope`](crate::rope) on this processor: tokens are shared by the threads, with the bits of the definition.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use ndarray::ArrayD;

use crate::cpu::{Cpu, Parts, filled};
use crate::reference::{from_vec, rows};
use crate::{KernelError, PairLayout, RopeTable, Scalar};

/// The elements of a task.
const CHUNK: usize = 8 << 10;

pub(crate) fn rope(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    table: &RopeTable,
    positions: &[usize],
) -> Result<ArrayD<f32>, KernelError> {
    turned(cpu, x, table, positions, 1.0)
}

/// Turns each pair by its angle, or, where `sign` is -1, by the opposite one.
pub(super) fn turned(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    table: &RopeTable,
    positions: &[usize],
    sign: f64,
) -> Result<ArrayD<f32>, KernelError> {
    super::check(x.shape(), table, positions.len())?;
    let (width, pairs) = (x.shape()[2], table.frequencies().len());
    let of_token = x.shape()[1] * width;
    let x_rows = rows(x);
    if of_token == 0 || pairs == 0 {
        return from_vec(x_rows.to_vec(), x.shape());
    }
    let step = CHUNK.div_ceil(of_token);
    let fill = |parts: &Parts<'_, f32>| {
        cpu.pool().run(positions.len().div_ceil(step), &|task| {
            for token in task * step..positions.len().min((task + 1) * step) {
                let turns: Vec<(f32, f32)> = (0..pairs)
                    .map(|i| table.cos_sin(positions[token], i))
                    .map(|(cos, sin)| (f32::from_f64(cos), f32::from_f64(sign * sin)))
                    .collect();
                // SAFETY: each token belongs to one task.
                let heads = unsafe { parts.part(token * of_token..(token + 1) * of_token) };
                heads.copy_from_slice(&x_rows[token * of_token..][..of_token]);
                for head in heads.chunks_exact_mut(width) {
                    turn(&mut head[width - 2 * pairs..], &turns, table.layout());
                }
            }
        });
    };
    // SAFETY: tasks write all tokens.
    from_vec(unsafe { filled(x_rows.len(), fill) }, x.shape())
}

/// Turns each pair of a head by its cosine and sine.
fn turn(head: &mut [f32], turns: &[(f32, f32)], layout: PairLayout) {
    let turned = |a: f32, b: f32, (cos, sin): (f32, f32)| (a * cos - b * sin, b * cos + a * sin);
    match layout {
        PairLayout::Interleaved => {
            for (pair, &by) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                (pair[0], pair[1]) = turned(pair[0], pair[1], by);
            }
        }
        PairLayout::HalfSplit => {
            let (first, second) = head.split_at_mut(turns.len());
            for ((a, b), &by) in first.iter_mut().zip(second).zip(turns) {
                (*a, *b) = turned(*a, *b, by);
            }
        }
    }
}
