//! The two products of all experts, each one operation of the threads: a task is a block of an
//! expert's outputs, for all of its rows.
//!
//! Few rows stream weights: a task reads its block of weights once from memory. The block never changes
//! a sum, and neither do the expert's other rows: see [`linear::cpu`](latent_kernels::linear::cpu).

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use std::ops::Range;

use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs, Parts, Rows};
use latent_kernels::swiglu::cpu::silu_in_place;
use latent_kernels::{Cost, Matrix};
use ndarray::ArrayD;

use super::{CpuExpert, CpuExperts};
use crate::Dispatch;
use crate::dispatch::cpu::elements_mut;

/// What a thread does at a time: a block of outputs of an expert's `N` weights, for its rows.
struct Task<'a, const N: usize> {
    weights: [&'a CpuMatrix; N],
    rows: Range<usize>,
    outputs: Range<usize>,
}

/// The tasks of the experts that have rows, and what they cost: `of` takes the weights of an expert,
/// which are of one shape.
fn plan<'a, const N: usize>(
    cpu: &Cpu,
    experts: &'a CpuExperts,
    dispatch: &Dispatch,
    of: fn(&'a CpuExpert) -> [&'a CpuMatrix; N],
) -> (Vec<Task<'a, N>>, Cost) {
    let (mut tasks, mut cost) = (Vec::new(), Cost::default());
    for (e, expert) in experts.experts.iter().enumerate() {
        let (weights, rows) = (of(expert), dispatch.rows_of_expert(e));
        if rows.is_empty() {
            continue;
        }
        let (outputs, width) = (weights[0].rows(), weights[0].cols());
        let block = weights[0].outputs_of_a_task(cpu, rows.len());
        for first in (0..outputs).step_by(block) {
            let outputs = first..outputs.min(first + block);
            tasks.push(Task { weights, rows: rows.clone(), outputs });
        }
        let stored: usize = weights.map(Matrix::bytes).iter().sum();
        cost += Cost {
            multiply_adds: (N * rows.len() * outputs * width) as u64,
            ..Cost::streaming(stored + 4 * rows.len() * (outputs + width))
        };
    }
    (tasks, cost)
}

/// `silu(x gate_projᵀ) * (x up_projᵀ)` of each row and its expert, `[row, inner]`.
pub(super) fn up(
    cpu: &Cpu,
    experts: &CpuExperts,
    x: &Inputs,
    rows: usize,
    dispatch: &Dispatch,
) -> Rows {
    let mut inner = Rows::zeros(rows, experts.inner);
    let (parts, stride) = inner.parts();
    let (tasks, cost) = plan(cpu, experts, dispatch, |w| [&w.gate_proj, &w.up_proj]);
    cpu.record("experts_up", cost);
    cpu.pool().run(tasks.len(), &|task| {
        let Task { weights: [gate_proj, up_proj], rows, outputs } = &tasks[task];
        gate_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = row * stride + output;
            // SAFETY: here and below, an output of a row belongs to one task, which is done with a part
            // before it takes the next.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
        for row in rows.clone() {
            let block = row * stride + outputs.start..row * stride + outputs.end;
            // SAFETY: as above.
            silu_in_place(cpu, unsafe { parts.part(block) });
        }
        up_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = row * stride + output;
            // SAFETY: as above.
            let gates = unsafe { parts.part(at..at + sums.len()) };
            for (gate, up) in gates.iter_mut().zip(sums) {
                *gate *= up;
            }
        });
    });
    inner
}

/// `inner down_projᵀ` of each row and its expert, `[row, hidden]`.
pub(super) fn down(
    cpu: &Cpu,
    experts: &CpuExperts,
    inner: &Inputs,
    rows: usize,
    dispatch: &Dispatch,
) -> ArrayD<f32> {
    let hidden = experts.hidden;
    let mut y = ArrayD::zeros(vec![rows, hidden]);
    let parts = Parts::new(elements_mut(&mut y));
    let (tasks, cost) = plan(cpu, experts, dispatch, |w| [&w.down_proj]);
    cpu.record("experts_down", cost);
    cpu.pool().run(tasks.len(), &|task| {
        let Task { weights: [down_proj], rows, outputs } = &tasks[task];
        down_proj.product(cpu, inner, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = row * hidden + output;
            // SAFETY: an output of a row belongs to one task.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
    });
    y
}
