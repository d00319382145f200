//! The gradients of the gate on this processor: sixteen at a time, whatever their number.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use super::check_backward;
use crate::KernelError;
use crate::cpu::{Cpu, Kernel, LANES, Parts, Simd, exp, filled_all};
use crate::reference::{from_vec, rows};

/// The elements of a task.
const CHUNK: usize = 8 << 10;

pub(crate) fn swiglu_backward(
    cpu: &Cpu,
    gate: &ArrayD<f32>,
    up: &ArrayD<f32>,
    dy: &ArrayD<f32>,
) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
    check_backward(gate.shape(), up.shape(), dy.shape())?;
    let (gates, ups, dy) = (rows(gate), rows(up), rows(dy));
    let run = |[of_gate, of_up]: [&Parts<'_, f32>; 2], task: usize| {
        let chunk = task * CHUNK..((task + 1) * CHUNK).min(dy.len());
        // SAFETY: chunks do not overlap.
        let (gate, up) = unsafe { (of_gate.part(chunk.clone()), of_up.part(chunk.clone())) };
        gate.copy_from_slice(&gates[chunk.clone()]);
        up.copy_from_slice(&ups[chunk.clone()]);
        cpu.isa().run(Back { gate, up, dy: &dy[chunk] });
    };
    let tasks = dy.len().div_ceil(CHUNK);
    let fill = |both: &[Parts<'_, f32>]| {
        cpu.pool().run(tasks, &|task| run([&both[0], &both[1]], task));
    };
    // SAFETY: tasks write all chunks of both.
    let mut both = unsafe { filled_all(&[dy.len(); 2], fill) }.into_iter();
    let mut next = |shape| from_vec(both.next().unwrap_or_default(), shape);
    Ok((next(gate.shape())?, next(up.shape())?))
}

/// Gates and what they multiply, each of which its gradient takes the place of.
struct Back<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Back { gate, up, dy } = self;
        let whole = dy.len() / LANES * LANES;
        // SAFETY: a chunk is a vector, and the processor has the set by the contract of the trait.
        unsafe {
            for at in (0..whole).step_by(LANES) {
                let to = [gate[at..].as_mut_ptr(), up[at..].as_mut_ptr()];
                back::<S>(to, dy[at..].as_ptr());
            }
            let mut last = [[0.0_f32; LANES]; 3];
            let rest = dy.len() - whole;
            last[0][..rest].copy_from_slice(&gate[whole..]);
            last[1][..rest].copy_from_slice(&up[whole..]);
            last[2][..rest].copy_from_slice(&dy[whole..]);
            let [g, u, d] = &mut last;
            back::<S>([g.as_mut_ptr(), u.as_mut_ptr()], d.as_ptr());
            gate[whole..].copy_from_slice(&g[..rest]);
            up[whole..].copy_from_slice(&u[..rest]);
        }
    }
}

/// Sixteen gates, in place.
///
/// # Safety
/// The processor has the instructions of `S`, and each is a vector.
#[inline(always)]
unsafe fn back<S: Simd>([gate, up]: [*mut f32; 2], dy: *const f32) {
    // SAFETY: by the contract of this function.
    unsafe {
        // Below -104 the gate is closed to any precision; at -∞ it would be NaN.
        let (z, u, dy) = (S::max(S::splat(-1e4), S::load(gate)), S::load(up), S::load(dy));
        let one = S::splat(1.0);
        let sigmoid = S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), z))));
        let silu = S::mul(z, sigmoid);
        let slope = S::fma(silu, S::sub(one, sigmoid), sigmoid);
        S::store(gate, S::mul(S::mul(dy, u), slope));
        S::store(up, S::mul(dy, silu));
    }
}
