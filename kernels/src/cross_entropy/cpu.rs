//! [`cross_entropy`](crate::cross_entropy) on this processor: rows are shared by the threads.
//!
//! Lane `l` of sixteen adds up the exponentials of elements `l`, `l + 16`, ...; then the lanes are added, halves
//! first.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use crate::cpu::{Cpu, Kernel, LANES, Parts, Simd, exp};
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

pub(crate) fn cross_entropy(
    cpu: &Cpu,
    logits: &ArrayD<f32>,
    targets: &[u32],
    scale: f64,
) -> Result<(Vec<f64>, ArrayD<f32>), KernelError> {
    let vocab = super::check(logits.shape(), targets)?;
    let (mut gradient, mut losses) = (rows(logits).to_vec(), vec![f64::NAN; targets.len()]);
    let (parts, of_losses) = (Parts::new(&mut gradient), Parts::new(&mut losses));
    let scale = f32::from_f64(scale);
    cpu.pool().run(targets.len(), &|token| {
        // SAFETY: each row belongs to one task.
        let row = unsafe { parts.part(token * vocab..(token + 1) * vocab) };
        let target = targets[token] as usize;
        let (at, max) = (row[target], row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x)));
        let sum = cpu.isa().run(Exponentials { row, max });
        let factor = scale / sum;
        row.iter_mut().for_each(|p| *p *= factor);
        row[target] -= scale;
        // SAFETY: as above.
        unsafe { of_losses.write(token, f64::from((max - at) + sum.ln())) };
    });
    Ok((losses, from_vec(gradient, logits.shape())?))
}

/// Turns a row into `exp(x - max)` and gives the sum.
struct Exponentials<'a> {
    row: &'a mut [f32],
    max: f32,
}

impl Kernel for Exponentials<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let Exponentials { row, max } = self;
        let (whole, rest) = (row.len() / LANES * LANES, row.len() % LANES);
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..rest].copy_from_slice(&row[whole..]);
        // SAFETY: a chunk is a vector, and the processor has the set by the contract of the trait.
        let sum = unsafe {
            let (mut sum, max) = (S::splat(0.0), S::splat(max));
            for at in (0..whole).step_by(LANES) {
                let to = row[at..].as_mut_ptr();
                let e = exp::<S>(S::sub(S::load(to), max));
                S::store(to, e);
                sum = S::add(sum, e);
            }
            let e = exp::<S>(S::sub(S::load(last.as_ptr()), max));
            S::store(last.as_mut_ptr(), e);
            S::sum(S::add(sum, e))
        };
        row[whole..].copy_from_slice(&last[..rest]);
        sum
    }
}
