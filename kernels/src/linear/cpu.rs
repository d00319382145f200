//! [`linear`](crate::linear) on this processor: weights are read where they lie, in their stored
//! dtype, and widened in registers.
//!
//! On [tiles](crate::cpu::Isa::Amx), bf16 weights without scales have sums of their own: see `tiled`.
//! Elsewhere a sum has sixteen lanes. Lane `l` adds up elements `l`, `l + 16`, ... with `fma`; then the lanes
//! are added, halves first. One row or thousands, any block of outputs, any number of threads and any
//! instruction set give the same bits (the portable set's sums round once more).

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use std::marker::PhantomData;
use std::ops::Range;

use ndarray::ArrayD;

use super::Problem;
use crate::cpu::simd::{Kernel, Simd};
use crate::cpu::split::Split;
use crate::cpu::stored::{Bf16, E4m3, Element, F16, F32, I8, Stored};
use crate::cpu::{Cpu, CpuMatrix, Inputs, Parts, Rows, TileSet, filled_all};
use crate::reference::{from_vec, rows};
use crate::{Cost, Dtype, KernelError, Matrix, Weight};

pub(crate) mod bf16;
pub(crate) mod int8;
mod thin;
mod tiled;
mod wide;

/// The bytes of weights of a task that streams them: some microseconds, which is what a thread may wait for the
/// others at the end.
const STREAMED: usize = 128 << 10;

/// The rows from which weights are widened once for all of them.
const WIDE: usize = 24;

/// The products with some weights, as one operation of the threads.
pub(crate) fn linears<const N: usize>(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    weights: [&CpuMatrix; N],
) -> Result<[ArrayD<f32>; N], KernelError> {
    let problems = weights.iter().map(|w| Problem::new(x.shape(), [w.rows(), w.cols()]));
    let problems = problems.collect::<Result<Vec<_>, _>>()?;
    let tokens = problems.first().map_or(0, Problem::rows);
    let lens: Vec<usize> = problems.iter().map(|problem| tokens * problem.out_features).collect();
    let sums = if tokens > 0 && weights[0].cols() > 0 {
        let rows: Vec<&[f32]> = rows(x).chunks_exact(weights[0].cols()).collect();
        let x = Inputs::new(cpu, &weights, &rows);
        let (mut tasks, mut cost) = (Vec::new(), Cost::default());
        for (i, w) in weights.iter().enumerate() {
            let block = w.outputs_of_a_task(cpu, tokens);
            let blocks = (0..w.rows()).step_by(block);
            tasks.extend(blocks.map(|first| (i, first..w.rows().min(first + block))));
            cost += w.cost(tokens);
        }
        cpu.record("linear", cost);
        let run = |parts: &[Parts<'_, f32>], task: usize| {
            let (i, outputs) = &tasks[task];
            let (w, parts) = (weights[*i], &parts[*i]);
            w.product(cpu, &x, 0..tokens, outputs.clone(), |row, output, sums| {
                let at = row * w.rows() + output;
                // SAFETY: each output of a row belongs to one task.
                unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
            });
        };
        // SAFETY: tasks write all outputs of all rows.
        unsafe { filled_all(&lens, |parts| cpu.pool().run(tasks.len(), &|task| run(parts, task))) }
    } else {
        lens.iter().map(|&len| vec![0.0; len]).collect()
    };
    let ys = sums.into_iter().zip(&problems).map(|(y, problem)| from_vec(y, &problem.y_shape()));
    Ok(ys.collect::<Result<Vec<_>, _>>()?.try_into().expect("one for each weight"))
}

/// Takes `(row, output, sums)`: the sums of a row with some neighbouring outputs.
///
/// Kernels hold it as an object, so that they are compiled once, and not for each use.
pub type Emit<'a> = &'a mut dyn FnMut(usize, usize, &[f32]);

/// How many outputs of `w` a task computes, for so many rows.
///
/// ```
/// use latent_kernels::cpu::{Cpu, Isa};
/// use latent_kernels::linear::cpu::outputs_of_a_task;
/// use latent_kernels::{Dtype, Weight};
/// let w = Weight::encode(Dtype::Bf16, [512, 64], &[0.0_f32; 512 * 64])?;
/// assert_eq!(outputs_of_a_task(&Cpu::with(Isa::Portable, 2)?, &w, 1), 128);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[must_use]
pub fn outputs_of_a_task(cpu: &Cpu, w: &Weight, rows: usize) -> usize {
    let share = w.rows() / (2 * cpu.threads());
    let on_tiles = tiles_for(cpu, w).is_some();
    if rows < WIDE {
        let together = if on_tiles { tiled::PANEL } else { 4 };
        return streamed(cpu, w.rows(), w.cols() * w.dtype().bytes(), together);
    }
    if on_tiles {
        return share.next_multiple_of(tiled::GROUP).clamp(tiled::GROUP, 4 * tiled::GROUP);
    }
    share.next_multiple_of(wide::GROUP).clamp(wide::GROUP, wide::PANEL)
}

/// The outputs of a task that streams weights, a multiple of `together`: about [`STREAMED`] bytes, and as many
/// tasks for each thread.
fn streamed(cpu: &Cpu, outputs: usize, row_bytes: usize, together: usize) -> usize {
    let least = (outputs * row_bytes).div_ceil(STREAMED).max(2 * cpu.threads());
    let tasks = least.next_multiple_of(cpu.threads());
    outputs.div_ceil(tasks).next_multiple_of(together).max(together)
}

/// The tiles that products with `w` run on: every one of them, so that a row has the same sums in any batch.
pub(crate) fn tiles_for(cpu: &Cpu, w: &Weight) -> Option<TileSet> {
    cpu.tiles().filter(|_| w.dtype() == Dtype::Bf16 && w.scale().is_none())
}

/// Gives `emit(row, output, sums)` until each of `rows` of `x` had its sums with all of `outputs` of `w`,
/// some neighbouring ones at a time: what one task does of a product.
///
/// # Panics
/// When `x` has no such rows or is not as wide as `w`, or `w` has no such outputs.
pub fn product(
    cpu: &Cpu,
    x: &Rows,
    rows: Range<usize>,
    w: &Weight,
    outputs: Range<usize>,
    emit: Emit<'_>,
) {
    assert!(rows.end <= x.len() && outputs.end <= w.rows(), "rows and outputs");
    assert!(x.width() == w.cols(), "width of x");
    let Some(stored) = Stored::of(w) else {
        return decoded(cpu, x, rows, w, outputs, emit);
    };
    if let Some(tiles) = tiles_for(cpu, w) {
        let own;
        let x = match Split::of(x) {
            Some(split) => split,
            None => {
                own = Split::new(cpu, x, rows.clone());
                &own
            }
        };
        return tiles.run(cpu.isa(), tiled::Tiled { x, rows, w: stored, outputs, emit });
    }
    macro_rules! run {
        ($element:ty, $scaled:literal) => {
            cpu.isa().run(Product::<$element, $scaled> {
                x,
                rows,
                w: stored,
                outputs,
                emit,
                element: PhantomData,
            })
        };
    }
    match (w.dtype(), w.scale().is_some()) {
        (Dtype::F32, false) => run!(F32, false),
        (Dtype::Bf16, false) => run!(Bf16, false),
        (Dtype::F16, false) => run!(F16, false),
        (Dtype::F8E4m3, _) => run!(E4m3, true),
        (Dtype::I8, false) => run!(I8, false),
        (Dtype::I8, true) => run!(I8, true),
        _ => decoded(cpu, x, rows, w, outputs, emit),
    }
}

/// [`product`] of weights in bf16 on tiles.
pub(crate) fn product_on_tiles(
    cpu: &Cpu,
    tiles: TileSet,
    x: &Split,
    rows: Range<usize>,
    w: &Weight,
    outputs: Range<usize>,
    emit: Emit<'_>,
) {
    let w = Stored { bytes: w.bytes().as_slice(), cols: w.cols(), scales: None };
    tiles.run(cpu.isa(), tiled::Tiled { x, rows, w, outputs, emit });
}

/// [`product`] of weights that no kernel reads: they are decoded first.
fn decoded(
    cpu: &Cpu,
    x: &Rows,
    rows: Range<usize>,
    w: &Weight,
    outputs: Range<usize>,
    emit: Emit<'_>,
) {
    let mut wide = vec![0.0_f32; w.cols()];
    for output in outputs {
        w.decode_row(output, &mut wide);
        let bytes: Vec<u8> = wide.iter().flat_map(|v| v.to_ne_bytes()).collect();
        cpu.isa().run(Product::<F32, false> {
            x,
            rows: rows.clone(),
            w: Stored { bytes: &bytes, cols: w.cols(), scales: None },
            outputs: 0..1,
            emit: &mut |row, _, sums| emit(row, output, sums),
            element: PhantomData,
        });
    }
}

/// A task, for a stored type with or without scales.
///
/// Closures inside of kernels are not compiled for the instruction set: loops stand in their place.
struct Product<'a, E, const SCALED: bool> {
    x: &'a Rows,
    rows: Range<usize>,
    w: Stored<'a>,
    outputs: Range<usize>,
    emit: Emit<'a>,
    element: PhantomData<E>,
}

impl<E: Element, const SCALED: bool> Kernel for Product<'_, E, SCALED> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // SAFETY: by the contract of the trait.
        unsafe { if self.rows.len() < WIDE { self.thin::<S>() } else { self.wide::<S>() } }
    }
}
