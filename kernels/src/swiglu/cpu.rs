//! [`swiglu`](crate::swiglu) on this processor: sixteen gates at a time, whatever their number, so that
//! an element has the same bits in any block.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use crate::KernelError;
use crate::cpu::{Cpu, Kernel, LANES, Parts, Simd, filled, silu};
use crate::reference::{from_vec, rows};

/// The elements of a task.
const CHUNK: usize = 8 << 10;

pub(crate) fn swiglu(
    cpu: &Cpu,
    gate: &ArrayD<f32>,
    up: &ArrayD<f32>,
) -> Result<ArrayD<f32>, KernelError> {
    super::check(gate.shape(), up.shape())?;
    let (z, up) = (rows(gate), rows(up));
    let run = |parts: &Parts<'_, f32>, task: usize| {
        let chunk = task * CHUNK..((task + 1) * CHUNK).min(up.len());
        // SAFETY: chunks do not overlap.
        let y = unsafe { parts.part(chunk.clone()) };
        y.copy_from_slice(&z[chunk.clone()]);
        silu_in_place(cpu, y);
        for (y, u) in y.iter_mut().zip(&up[chunk]) {
            *y *= u;
        }
    };
    let tasks = up.len().div_ceil(CHUNK);
    // SAFETY: tasks write all chunks.
    let y = unsafe { filled(up.len(), |parts| cpu.pool().run(tasks, &|task| run(parts, task))) };
    from_vec(y, gate.shape())
}

/// `silu(z) = z / (1 + e⁻ᶻ)` of each element, the same bits as in [`swiglu`](crate::swiglu).
///
/// ```
/// use latent_kernels::cpu::Cpu;
/// use latent_kernels::swiglu::cpu::silu_in_place;
/// let mut z = [0.0, 200.0, f32::NEG_INFINITY];
/// silu_in_place(&Cpu::new(), &mut z);
/// assert_eq!(z, [0.0, 200.0, 0.0]);
/// ```
pub fn silu_in_place(cpu: &Cpu, z: &mut [f32]) {
    cpu.isa().run(Silu(z));
}

struct Silu<'a>(&'a mut [f32]);

impl Kernel for Silu<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut vectors = self.0.chunks_exact_mut(LANES);
        for z in &mut vectors {
            // SAFETY: a chunk is a vector, and the processor has the set by the contract of the trait.
            unsafe { S::store(z.as_mut_ptr(), silu::<S>(S::load(z.as_ptr()))) };
        }
        let rest = vectors.into_remainder();
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        // SAFETY: as above, of an array that is a vector.
        unsafe { S::store(last.as_mut_ptr(), silu::<S>(S::load(last.as_ptr()))) };
        rest.copy_from_slice(&last[..rest.len()]);
    }
}
