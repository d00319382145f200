//! [`cross_entropy`](crate::cross_entropy) on this processor: rows are shared by the threads.
//!
//! Lane `l` of sixteen adds up the exponentials of elements `l`, `l + 16`, ...; then the lanes are added, halves
//! first.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use crate::cpu::{Cpu, Kernel, LANES, Parts, Simd, exp, filled};
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

pub(crate) fn cross_entropy(
    cpu: &Cpu,
    logits: &ArrayD<f32>,
    targets: &[u32],
    scales: &[f64],
) -> Result<(Vec<f64>, ArrayD<f32>), KernelError> {
    let vocab = super::check(logits.shape(), targets, scales)?;
    let (x, mut losses) = (rows(logits), vec![f64::NAN; targets.len()]);
    let of_losses = Parts::new(&mut losses);
    let run = |parts: &Parts<'_, f32>, token: usize| {
        // SAFETY: each row belongs to one task.
        let row = unsafe { parts.part(token * vocab..(token + 1) * vocab) };
        row.copy_from_slice(&x[token * vocab..][..vocab]);
        let target = targets[token] as usize;
        let at = row[target];
        let (max, sum) = cpu.isa().run(Exponentials(row));
        let scale = f32::from_f64(scales[token]);
        let factor = scale / sum;
        row.iter_mut().for_each(|p| *p *= factor);
        row[target] -= scale;
        // SAFETY: as above.
        unsafe { of_losses.write(token, f64::from((max - at) + sum.ln())) };
    };
    let fill = |parts: &Parts<'_, f32>| cpu.pool().run(targets.len(), &|token| run(parts, token));
    // SAFETY: tasks write all rows.
    let gradient = unsafe { filled(x.len(), fill) };
    Ok((losses, from_vec(gradient, logits.shape())?))
}

/// Turns a row into `exp(x - max)` and gives the largest element, NaN aside, and the sum.
struct Exponentials<'a>(&'a mut [f32]);

impl Kernel for Exponentials<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f32, f32) {
        let row = self.0;
        let (whole, rest) = (row.len() / LANES * LANES, row.len() % LANES);
        let mut last = [f32::NEG_INFINITY; LANES];
        last[..rest].copy_from_slice(&row[whole..]);
        // SAFETY: a chunk is a vector, and the processor has the set by the contract of the trait.
        let (max, sum) = unsafe {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            let mut largest = S::load(last.as_ptr());
            largest = S::max(largest, S::load(lanes.as_ptr()));
            for at in (0..whole).step_by(LANES) {
                largest = S::max(S::load(row[at..].as_ptr()), largest);
            }
            S::store(lanes.as_mut_ptr(), largest);
            let mut max = f32::NEG_INFINITY;
            for lane in lanes {
                max = if lane > max { lane } else { max };
            }
            let (mut sum, largest) = (S::splat(0.0), S::splat(max));
            for at in (0..whole).step_by(LANES) {
                let to = row[at..].as_mut_ptr();
                let e = exp::<S>(S::sub(S::load(to), largest));
                S::store(to, e);
                sum = S::add(sum, e);
            }
            let e = exp::<S>(S::sub(S::load(last.as_ptr()), largest));
            S::store(last.as_mut_ptr(), e);
            (max, S::sum(S::add(sum, e)))
        };
        row[whole..].copy_from_slice(&last[..rest]);
        (max, sum)
    }
}
