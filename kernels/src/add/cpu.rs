//! [`add`](crate::add) on this processor: elements are shared by the threads.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use ndarray::ArrayD;

use crate::KernelError;
use crate::cpu::{Cpu, filled};
use crate::reference::{from_vec, rows};

/// The elements of a task.
const CHUNK: usize = 16 << 10;

pub(crate) fn add(cpu: &Cpu, a: &ArrayD<f32>, b: &ArrayD<f32>) -> Result<ArrayD<f32>, KernelError> {
    super::check(a.shape(), b.shape())?;
    let (x, y) = (rows(a), rows(b));
    let add = |sums: &mut [f32], first: usize| {
        for ((sum, x), y) in sums.iter_mut().zip(&x[first..]).zip(&y[first..]) {
            *sum = x + y;
        }
    };
    // SAFETY: each chunk belongs to one task, which writes all of it.
    let sums = unsafe {
        filled(x.len(), |parts| {
            cpu.pool().run(x.len().div_ceil(CHUNK), &|task| {
                let chunk = task * CHUNK..x.len().min((task + 1) * CHUNK);
                add(parts.part(chunk.clone()), chunk.start);
            });
        })
    };
    from_vec(sums, a.shape())
}
