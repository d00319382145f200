//! The gradient of the rotation: the rotation by the opposite angle, stretched by the same factor.
//!
//! # Shapes
//! - `dy`: `[token, head, dim]`, of which the last `table.dim()` elements were rotated
//! - returns the same shape; what was not rotated is passed on

use ndarray::ArrayD;

use crate::cpu::Cpu;
use crate::rope::reference::turned;
use crate::{KernelError, RopeTable, Scalar};

pub(crate) fn rope_backward<T: Scalar>(
    dy: &ArrayD<T>,
    table: &RopeTable,
    positions: &[usize],
) -> Result<ArrayD<T>, KernelError> {
    turned(dy, table, positions, |(cos, sin)| (cos, -sin))
}

/// The same on this processor.
pub(crate) fn on_cpu(
    cpu: &Cpu,
    dy: &ArrayD<f32>,
    table: &RopeTable,
    positions: &[usize],
) -> Result<ArrayD<f32>, KernelError> {
    crate::rope::cpu::turned(cpu, dy, table, positions, -1.0)
}
