//! The two products of all blocks, experts and shared ones, each one operation of the threads: a task is a part
//! of a block's outputs, for all of its rows.
//!
//! Few rows stream weights: a task reads its part of the weights once from memory. The part never changes
//! a sum, and neither do the block's other rows: see [`linear::cpu`](latent_kernels::linear::cpu).

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use std::ops::Range;

use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs, Parts, filled};
use latent_kernels::swiglu::cpu::silu_in_place;
use latent_kernels::{Cost, Matrix};

use crate::Mlp;

/// A block and the rows that go through it, at least one.
pub(super) struct Job<'a> {
    pub(super) mlp: &'a Mlp<Cpu>,
    pub(super) rows: Vec<&'a [f32]>,
}

/// What a thread does at a time: some outputs of a job's `N` weights, for its rows.
struct Task<'a, const N: usize> {
    job: usize,
    weights: [&'a CpuMatrix; N],
    outputs: Range<usize>,
}

/// The results of all rows, job after job.
pub(super) fn run(cpu: &Cpu, jobs: &[Job<'_>]) -> Vec<f32> {
    if jobs.is_empty() {
        return Vec::new();
    }
    let ups = jobs.iter().flat_map(|job| [&job.mlp.gate_proj, &job.mlp.up_proj]);
    let ups: Vec<&CpuMatrix> = ups.collect();
    let rows: Vec<&[f32]> = jobs.iter().flat_map(|job| &job.rows).copied().collect();
    // A token alone is the one row of each.
    let one = rows.iter().all(|row| std::ptr::eq(*row, rows[0]));
    let x = if one {
        Inputs::new(cpu, &ups, &rows[..1])
    } else {
        let bounds: Vec<usize> = places(jobs).map(|rows| rows.start).collect();
        Inputs::bounded(cpu, &ups, &rows, &bounds)
    };
    let widths = Width::of(jobs);
    let inner = up(cpu, jobs, &x, one, &widths);
    down(cpu, jobs, &inner, &widths, rows.len())
}

/// Blocks whose inner activations are as wide: all experts, and shared ones.
struct Width {
    width: usize,
    /// Which jobs, and the rows of each among those of all of them.
    jobs: Vec<(usize, Range<usize>)>,
}

impl Width {
    fn of(jobs: &[Job<'_>]) -> Vec<Self> {
        let mut widths: Vec<Self> = Vec::new();
        for (i, job) in jobs.iter().enumerate() {
            let width = job.mlp.gate_proj.rows();
            let which = widths.iter().position(|w| w.width == width).unwrap_or_else(|| {
                widths.push(Self { width, jobs: Vec::new() });
                widths.len() - 1
            });
            let start = widths[which].rows();
            widths[which].jobs.push((i, start..start + job.rows.len()));
        }
        widths
    }

    /// The rows of all of them.
    fn rows(&self) -> usize {
        self.jobs.last().map_or(0, |(_, rows)| rows.end)
    }

    /// For each job, of which width it is and its rows there.
    fn spots(widths: &[Self], jobs: usize) -> Vec<(usize, Range<usize>)> {
        let mut spots = vec![(0, 0..0); jobs];
        for (which, width) in widths.iter().enumerate() {
            for (job, rows) in &width.jobs {
                spots[*job] = (which, rows.clone());
            }
        }
        spots
    }
}

/// The tasks of all jobs, and what they cost: `of` takes the weights of a block, which are of one shape.
fn plan<'a, const N: usize>(
    cpu: &Cpu,
    jobs: &'a [Job<'_>],
    of: fn(&'a Mlp<Cpu>) -> [&'a CpuMatrix; N],
) -> (Vec<Task<'a, N>>, Cost) {
    let (mut tasks, mut cost) = (Vec::new(), Cost::default());
    for (job, Job { mlp, rows }) in jobs.iter().enumerate() {
        let weights = of(mlp);
        let (outputs, width) = (weights[0].rows(), weights[0].cols());
        let block = weights[0].outputs_of_a_task(cpu, rows.len());
        for first in (0..outputs).step_by(block) {
            tasks.push(Task { job, weights, outputs: first..outputs.min(first + block) });
        }
        let stored: usize = weights.map(Matrix::bytes).iter().sum();
        cost += Cost {
            multiply_adds: (N * rows.len() * outputs * width) as u64,
            ..Cost::streaming(stored + 4 * rows.len() * (outputs + width))
        };
    }
    (tasks, cost)
}

/// The rows of each job among those of all.
fn places<'a>(jobs: &'a [Job<'_>]) -> impl Iterator<Item = Range<usize>> + 'a {
    jobs.iter().scan(0, |end, job| {
        let start = *end;
        *end += job.rows.len();
        Some(start..*end)
    })
}

/// `silu(x gate_projᵀ) * (x up_projᵀ)` of the rows of all jobs of a width, `[row, width]`; `x` is one row for all
/// jobs, or has the rows of one after the other.
fn up(cpu: &Cpu, jobs: &[Job<'_>], x: &Inputs, one: bool, widths: &[Width]) -> Vec<Vec<f32>> {
    let spots = Width::spots(widths, jobs.len());
    let places: Vec<Range<usize>> =
        places(jobs).map(|rows| if one { 0..1 } else { rows }).collect();
    let (tasks, cost) = plan(cpu, jobs, |mlp| [&mlp.gate_proj, &mlp.up_proj]);
    cpu.record("experts_up", cost);
    let mut inner = vec![Vec::new(); widths.len()];
    let room = inner.iter_mut().zip(widths);
    let parts: Vec<Parts<'_, f32>> =
        room.map(|(inner, w)| Parts::unwritten(inner, w.rows() * w.width)).collect();
    cpu.pool().run(tasks.len(), &|task| {
        let Task { job, weights: [gate_proj, up_proj], outputs } = &tasks[task];
        let (rows, (which, spot)) = (&places[*job], &spots[*job]);
        let (parts, width) = (&parts[*which], widths[*which].width);
        gate_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = (spot.start + row - rows.start) * width + output;
            // SAFETY: here and below, an output of a row belongs to one task, which is done with a part
            // before it takes the next.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
        for row in spot.clone() {
            let block = row * width + outputs.start..row * width + outputs.end;
            // SAFETY: as above.
            silu_in_place(cpu, unsafe { parts.part(block) });
        }
        up_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = (spot.start + row - rows.start) * width + output;
            // SAFETY: as above.
            let gates = unsafe { parts.part(at..at + sums.len()) };
            for (gate, up) in gates.iter_mut().zip(sums) {
                *gate *= up;
            }
        });
    });
    for (inner, w) in inner.iter_mut().zip(widths) {
        // SAFETY: tasks wrote all outputs of all rows.
        unsafe { inner.set_len(w.rows() * w.width) };
    }
    inner
}

/// `inner down_projᵀ` of each row and its block, `[row, hidden]`, job after job.
fn down(
    cpu: &Cpu,
    jobs: &[Job<'_>],
    inner: &[Vec<f32>],
    widths: &[Width],
    rows: usize,
) -> Vec<f32> {
    let hidden = jobs[0].mlp.down_proj.rows();
    let inner: Vec<Inputs> = inner
        .iter()
        .zip(widths)
        .map(|(inner, w)| {
            let downs: Vec<&CpuMatrix> =
                w.jobs.iter().map(|(job, _)| &jobs[*job].mlp.down_proj).collect();
            let bounds: Vec<usize> = w.jobs.iter().map(|(_, rows)| rows.start).collect();
            let rows: Vec<&[f32]> = inner.chunks_exact(w.width).collect();
            Inputs::bounded(cpu, &downs, &rows, &bounds)
        })
        .collect();
    let (places, spots): (Vec<Range<usize>>, _) =
        (places(jobs).collect(), Width::spots(widths, jobs.len()));
    let (tasks, cost) = plan(cpu, jobs, |mlp| [&mlp.down_proj]);
    cpu.record("experts_down", cost);
    let run = |parts: &Parts<'_, f32>, task: usize| {
        let Task { job, weights: [down_proj], outputs } = &tasks[task];
        let (rows, (which, spot)) = (&places[*job], &spots[*job]);
        down_proj.product(
            cpu,
            &inner[*which],
            spot.clone(),
            outputs.clone(),
            |row, output, sums| {
                let at = (rows.start + row - spot.start) * hidden + output;
                // SAFETY: an output of a row belongs to one task.
                unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
            },
        );
    };
    // SAFETY: tasks write all outputs of all rows.
    unsafe { filled(rows * hidden, |parts| cpu.pool().run(tasks.len(), &|task| run(parts, task))) }
}
