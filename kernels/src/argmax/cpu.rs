//! [`argmax`](crate::argmax) on this processor: the largest of some neighbours at a time, then its index
//! among the neighbours that hold it.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use crate::KernelError;
use crate::cpu::{Cpu, Kernel, LANES, Simd};
use crate::reference::rows;

/// The neighbours whose largest is found before an index is looked for.
const BLOCK: usize = 64 * LANES;

pub(crate) fn argmax(cpu: &Cpu, x: &ArrayD<f32>) -> Result<Vec<Option<u32>>, KernelError> {
    super::check(x.shape())?;
    let width = x.shape()[x.ndim() - 1];
    if width == 0 {
        return Ok(vec![None; x.shape()[..x.ndim() - 1].iter().product()]);
    }
    Ok(rows(x).chunks_exact(width).map(|row| of_row(cpu, row)).collect())
}

fn of_row(cpu: &Cpu, row: &[f32]) -> Option<u32> {
    let (mut best, mut at) = (f32::NEG_INFINITY, None);
    for (i, block) in row.chunks(BLOCK).enumerate() {
        let largest = cpu.isa().run(Largest(block))?;
        if largest > best {
            (best, at) = (largest, Some(i * BLOCK));
        }
    }
    let index = |from: usize| from + row[from..].iter().take_while(|v| **v < best).count();
    at.map(|from| u32::try_from(index(from)).unwrap_or(u32::MAX))
}

/// The largest of some elements; nothing where one is NaN or `+∞`.
struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = Option<f32>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Option<f32> {
        let whole = self.0.len() / LANES;
        let mut last = [f32::NEG_INFINITY; LANES];
        let rest = &self.0[whole * LANES..];
        last[..rest.len()].copy_from_slice(rest);
        let (mut best, mut spoilt) = ([0.0; LANES], [0.0; LANES]);
        // SAFETY: by the contract of the trait; there are as many whole vectors, and one more.
        unsafe {
            let mut v = S::load(last.as_ptr());
            let (mut most, mut bad) = (v, S::splat(0.0));
            for at in 0..=whole {
                most = S::max(v, most);
                // 0 times what is not finite is NaN; -∞ becomes the lowest number first.
                bad = S::fma(S::max(S::splat(f32::MIN), v), S::splat(0.0), bad);
                if at < whole {
                    v = S::load(self.0.as_ptr().add(at * LANES));
                }
            }
            S::store(best.as_mut_ptr(), most);
            S::store(spoilt.as_mut_ptr(), bad);
        }
        let mut largest = f32::NEG_INFINITY;
        for lane in 0..LANES {
            if spoilt[lane].is_nan() {
                return None;
            }
            largest = if best[lane] > largest { best[lane] } else { largest };
        }
        Some(largest)
    }
}
