//! [`rms_norm`](crate::rms_norm) on this processor: rows are shared by the threads.
//!
//! Lane `l` of sixteen adds up the squares of elements `l`, `l + 16`, ... with `fma`; then the lanes are added,
//! halves first.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use crate::cpu::{Cpu, Kernel, LANES, Parts, Simd};
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

/// The elements of a task.
const CHUNK: usize = 16 << 10;

pub(crate) fn rms_norm(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    gain: &ArrayD<f32>,
    eps: f64,
) -> Result<ArrayD<f32>, KernelError> {
    super::check(x.shape(), gain.shape(), eps)?;
    let (x_rows, gain) = (rows(x), rows(gain));
    let (width, mut y) = (gain.len(), vec![0.0; x.len()]);
    if width > 0 {
        let (parts, step) = (Parts::new(&mut y), CHUNK.div_ceil(width));
        let count = x.len() / width;
        cpu.pool().run(count.div_ceil(step), &|task| {
            for row in task * step..count.min((task + 1) * step) {
                let at = row * width..(row + 1) * width;
                // SAFETY: each row belongs to one task.
                let y = unsafe { parts.part(at.clone()) };
                cpu.isa().run(Norm { x: &x_rows[at], gain, eps: f32::from_f64(eps), y });
            }
        });
    }
    from_vec(y, x.shape())
}

/// A row, and as many gains and results.
struct Norm<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Norm { x, gain, eps, y } = self;
        assert!(x.len() == gain.len() && x.len() == y.len(), "a gain for each element");
        let whole = x.len() / LANES;
        let mut last = [[0.0; LANES]; 2];
        for (last, values) in last.iter_mut().zip([x, gain]) {
            last[..x.len() % LANES].copy_from_slice(&values[whole * LANES..]);
        }
        // SAFETY: by the contract of the trait; there are as many whole vectors, and the last are vectors.
        unsafe {
            let mut sum = S::splat(0.0);
            for at in 0..whole {
                let v = S::load(x.as_ptr().add(at * LANES));
                sum = S::fma(v, v, sum);
            }
            let v = S::load(last[0].as_ptr());
            let mean = S::sum(S::fma(v, v, sum)) / x.len() as f32;
            let scale = S::splat((mean + eps).sqrt().recip());
            for at in 0..whole {
                let v = S::mul(S::load(x.as_ptr().add(at * LANES)), scale);
                let gain = S::load(gain.as_ptr().add(at * LANES));
                S::store(y.as_mut_ptr().add(at * LANES), S::mul(gain, v));
            }
            let gain = S::load(last[1].as_ptr());
            S::store(last[0].as_mut_ptr(), S::mul(gain, S::mul(v, scale)));
        }
        y[whole * LANES..].copy_from_slice(&last[0][..x.len() % LANES]);
    }
}
