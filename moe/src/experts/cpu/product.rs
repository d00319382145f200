//! The two products of all blocks, experts and shared ones, each one operation of the threads: a task is a part
//! of a block's outputs, for all of its rows.
//!
//! Few rows stream weights: a task reads its part of the weights once from memory. The part never changes
//! a sum, and neither do the block's other rows: see [`linear::cpu`](latent_kernels::linear::cpu).

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use std::ops::Range;

use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs, Parts, filled};
use latent_kernels::swiglu::cpu::silu_in_place;
use latent_kernels::{Backend, Cost, KernelError, Matrix};

use crate::Mlp;
use crate::dispatch::cpu::{array, elements};

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
    let of_jobs = places(jobs.iter().map(|job| job.rows.len()));
    // A token alone is the one row of each.
    let one = rows.iter().all(|row| std::ptr::eq(*row, rows[0]));
    let inner = if one {
        let x = Inputs::new(cpu, &ups, &rows[..1]);
        up(cpu, jobs, &x, &vec![0..1; jobs.len()])
    } else {
        let bounds: Vec<usize> = of_jobs.iter().map(|rows| rows.start).collect();
        up(cpu, jobs, &Inputs::bounded(cpu, &ups, &rows, &bounds), &of_jobs)
    };
    down(cpu, jobs, &inner, &of_jobs)
}

/// The results of all rows, bit for bit those of [`run`], and what each gate was and what it multiplied.
pub(super) fn run_saving(
    cpu: &Cpu,
    jobs: &[Job<'_>],
) -> Result<(Vec<f32>, [Vec<f32>; 2]), KernelError> {
    if jobs.is_empty() {
        return Ok((Vec::new(), [Vec::new(), Vec::new()]));
    }
    let of_jobs = places(jobs.iter().map(|job| job.rows.len()));
    let rows: Vec<&[f32]> = jobs.iter().flat_map(|job| &job.rows).copied().collect();
    let bounds: Vec<usize> = of_jobs.iter().map(|rows| rows.start).collect();
    let ups = jobs.iter().flat_map(|job| [&job.mlp.gate_proj, &job.mlp.up_proj]);
    let x = Inputs::bounded(cpu, &ups.collect::<Vec<_>>(), &rows, &bounds);
    let gate = one(cpu, jobs, |mlp| &mlp.gate_proj, &x, &of_jobs);
    let up = one(cpu, jobs, |mlp| &mlp.up_proj, &x, &of_jobs);
    let shape = [1, gate.len()];
    let (gate, up) = (array(gate, shape), array(up, shape));
    let inner = cpu.swiglu(&gate, &up)?;
    let y = down(cpu, jobs, elements(&inner), &of_jobs);
    Ok((y, [gate, up].map(|x| x.into_raw_vec_and_offset().0)))
}

/// Where things of these sizes lie, one behind the other.
fn places(sizes: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let place = |end: &mut usize, size| {
        let start = *end;
        *end += size;
        Some(start..*end)
    };
    sizes.scan(0, place).collect()
}

/// Where the inner activations of each job lie.
fn inner_places(jobs: &[Job<'_>]) -> Vec<Range<usize>> {
    places(jobs.iter().map(|job| job.rows.len() * job.mlp.gate_proj.rows()))
}

/// The tasks of all jobs, and what they cost: `of` takes the weights of a block, which are of one shape.
fn plan<'a, const N: usize>(
    cpu: &Cpu,
    jobs: &'a [Job<'_>],
    of: impl Fn(&'a Mlp<Cpu>) -> [&'a CpuMatrix; N],
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

/// `silu(x gate_projᵀ) * (x up_projᵀ)` of the `rows` of `x` that are each job's, `[row, inner]`, job after job.
fn up(cpu: &Cpu, jobs: &[Job<'_>], x: &Inputs, rows: &[Range<usize>]) -> Vec<f32> {
    let inner = inner_places(jobs);
    let (tasks, cost) = plan(cpu, jobs, |mlp| [&mlp.gate_proj, &mlp.up_proj]);
    cpu.record("experts_up", cost);
    let run = |parts: &Parts<'_, f32>, task: usize| {
        let Task { job, weights: [gate_proj, up_proj], outputs } = &tasks[task];
        let (rows, start, width) = (&rows[*job], inner[*job].start, gate_proj.rows());
        gate_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = start + (row - rows.start) * width + output;
            // SAFETY: here and below, an output of a row belongs to one task, which is done with a part
            // before it takes the next.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
        for row in 0..rows.len() {
            let first = start + row * width;
            // SAFETY: as above.
            silu_in_place(cpu, unsafe { parts.part(first + outputs.start..first + outputs.end) });
        }
        up_proj.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = start + (row - rows.start) * width + output;
            // SAFETY: as above.
            let gates = unsafe { parts.part(at..at + sums.len()) };
            for (gate, up) in gates.iter_mut().zip(sums) {
                *gate *= up;
            }
        });
    };
    let len = inner.last().map_or(0, |inner| inner.end);
    // SAFETY: tasks write all outputs of all rows.
    unsafe { filled(len, |parts| cpu.pool().run(tasks.len(), &|task| run(parts, task))) }
}

/// The products of the `rows` of `x` that are each job's with one of its weights `[inner, hidden]`,
/// `[row, inner]`, job after job.
fn one(
    cpu: &Cpu,
    jobs: &[Job<'_>],
    of: fn(&Mlp<Cpu>) -> &CpuMatrix,
    x: &Inputs,
    rows: &[Range<usize>],
) -> Vec<f32> {
    let inner = inner_places(jobs);
    let (tasks, cost) = plan(cpu, jobs, |mlp| [of(mlp)]);
    cpu.record("experts_up", cost);
    let run = |parts: &Parts<'_, f32>, task: usize| {
        let Task { job, weights: [weight], outputs } = &tasks[task];
        let (rows, start, width) = (&rows[*job], inner[*job].start, weight.rows());
        weight.product(cpu, x, rows.clone(), outputs.clone(), |row, output, sums| {
            let at = start + (row - rows.start) * width + output;
            // SAFETY: an output of a row belongs to one task.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
    };
    let len = inner.last().map_or(0, |inner| inner.end);
    // SAFETY: tasks write all outputs of all rows.
    unsafe { filled(len, |parts| cpu.pool().run(tasks.len(), &|task| run(parts, task))) }
}

/// Jobs whose inner activations are as wide: all experts, or shared ones.
struct Wide<'a> {
    width: usize,
    weights: Vec<&'a CpuMatrix>,
    rows: Vec<&'a [f32]>,
    /// The first row of each job.
    bounds: Vec<usize>,
}

impl<'a> Wide<'a> {
    /// All of them, and for each job which they are, and its rows there.
    fn of(jobs: &'a [Job<'_>], inner: &'a [f32]) -> (Vec<Self>, Vec<(usize, Range<usize>)>) {
        let (mut all, mut spots): (Vec<Self>, _) = (Vec::new(), Vec::new());
        for (job, place) in jobs.iter().zip(inner_places(jobs)) {
            let width = job.mlp.gate_proj.rows();
            let which = all.iter().position(|wide| wide.width == width).unwrap_or_else(|| {
                let (weights, rows, bounds) = (Vec::new(), Vec::new(), Vec::new());
                all.push(Self { width, weights, rows, bounds });
                all.len() - 1
            });
            let wide = &mut all[which];
            let start = wide.rows.len();
            wide.bounds.push(start);
            wide.weights.push(&job.mlp.down_proj);
            wide.rows.extend(inner[place].chunks_exact(width));
            spots.push((which, start..wide.rows.len()));
        }
        (all, spots)
    }
}

/// `inner down_projᵀ` of the `rows` of each job, `[row, hidden]`.
fn down(cpu: &Cpu, jobs: &[Job<'_>], inner: &[f32], rows: &[Range<usize>]) -> Vec<f32> {
    let hidden = jobs[0].mlp.down_proj.rows();
    let (all, spots) = Wide::of(jobs, inner);
    let inner: Vec<Inputs> =
        all.iter().map(|w| Inputs::bounded(cpu, &w.weights, &w.rows, &w.bounds)).collect();
    let (tasks, cost) = plan(cpu, jobs, |mlp| [&mlp.down_proj]);
    cpu.record("experts_down", cost);
    let run = |parts: &Parts<'_, f32>, task: usize| {
        let Task { job, weights: [down_proj], outputs } = &tasks[task];
        let (start, (which, spot)) = (rows[*job].start, &spots[*job]);
        let (inner, outputs) = (&inner[*which], outputs.clone());
        down_proj.product(cpu, inner, spot.clone(), outputs, |row, output, sums| {
            let at = (start + row - spot.start) * hidden + output;
            // SAFETY: an output of a row belongs to one task.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
    };
    let len = hidden * rows.last().map_or(0, |rows| rows.end);
    // SAFETY: tasks write all outputs of all rows.
    unsafe { filled(len, |parts| cpu.pool().run(tasks.len(), &|task| run(parts, task))) }
}
