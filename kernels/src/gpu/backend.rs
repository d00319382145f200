//! [`Backend`] on a device: which kernel does what.

use super::{Gpu, GpuMatrix, GpuTensor, held};
use crate::{
    Backend, KernelError, Ledger, RopeTable, Weight, add, argmax, columns, draw, gather, linear,
    rms_norm, rope, softmax, swiglu,
};

impl Backend for Gpu {
    type Scalar = f32;
    type Tensor = GpuTensor;
    type Matrix = GpuMatrix;

    fn name(&self) -> String {
        format!("gpu f32 on {} ({})", self.device_name(), self.info().api)
    }

    fn take_ledger(&self) -> Ledger {
        std::mem::take(&mut held(&self.open.ledger))
    }

    fn upload(&self, values: &[f32], shape: &[usize]) -> Result<GpuTensor, KernelError> {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = [values.len()];
        GpuTensor::new(self.upload_bytes(bytes)?, shape)
            .map_err(|_| KernelError::shape("upload: values", &found, format!("want {shape:?}")))
    }

    fn download(&self, x: &GpuTensor) -> Result<Vec<f32>, KernelError> {
        let bytes = self.read_bytes(x.buffer())?;
        let (elements, _) = bytes.as_chunks::<4>();
        Ok(elements.iter().map(|&e| f32::from_le_bytes(e)).collect())
    }

    fn matrix(&self, weight: Weight) -> Result<GpuMatrix, KernelError> {
        GpuMatrix::new(self, &weight)
    }

    fn reshape(&self, x: GpuTensor, shape: &[usize]) -> Result<GpuTensor, KernelError> {
        x.reshaped(shape)
    }

    fn linear(&self, x: &GpuTensor, w: &GpuMatrix) -> Result<GpuTensor, KernelError> {
        linear::gpu::linear(self, x, w)
    }

    fn rms_norm(
        &self,
        x: &GpuTensor,
        gain: &GpuTensor,
        eps: f64,
    ) -> Result<GpuTensor, KernelError> {
        rms_norm::gpu::rms_norm(self, x, gain, eps)
    }

    fn rope(
        &self,
        x: &GpuTensor,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<GpuTensor, KernelError> {
        rope::gpu::rope(self, x, table, positions)
    }

    fn softmax(&self, x: &GpuTensor) -> Result<GpuTensor, KernelError> {
        softmax::gpu::softmax(self, x)
    }

    fn swiglu(&self, gate: &GpuTensor, up: &GpuTensor) -> Result<GpuTensor, KernelError> {
        swiglu::gpu::swiglu(self, gate, up)
    }

    fn gather(&self, w: &GpuMatrix, ids: &[u32]) -> Result<GpuTensor, KernelError> {
        gather::gpu::gather(self, w, ids)
    }

    fn add(&self, a: &GpuTensor, b: &GpuTensor) -> Result<GpuTensor, KernelError> {
        add::gpu::add(self, a, b)
    }

    fn split_columns(
        &self,
        x: &GpuTensor,
        at: usize,
    ) -> Result<(GpuTensor, GpuTensor), KernelError> {
        columns::gpu::split(self, x, at)
    }

    fn join_columns(&self, a: &GpuTensor, b: &GpuTensor) -> Result<GpuTensor, KernelError> {
        columns::gpu::join(self, a, b)
    }

    fn select_rows(&self, x: &GpuTensor, rows: &[usize]) -> Result<GpuTensor, KernelError> {
        columns::gpu::select(self, x, rows)
    }

    fn argmax(&self, x: &GpuTensor) -> Result<Vec<Option<u32>>, KernelError> {
        argmax::gpu::argmax(self, x)
    }

    fn draw(
        &self,
        x: &GpuTensor,
        temperature: f64,
        draws: &[f64],
    ) -> Result<Vec<Option<u32>>, KernelError> {
        draw::gpu::draw(self, x, temperature, draws)
    }
}
