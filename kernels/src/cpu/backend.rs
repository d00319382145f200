//! [`Backend`] and [`Backward`] on this processor: which kernel does what.

use std::sync::PoisonError;

use ndarray::ArrayD;

use super::{Cpu, CpuMatrix, Int8Weight, Products};
use crate::reference::Reference;
use crate::{
    Backend, Backward, KernelError, Ledger, Peaks, RopeTable, Weight, add, argmax, cross_entropy,
    gather, linear, rms_norm, rope, swiglu,
};

/// What moves elements is left to the reference.
const PLAIN: Reference<f32> = Reference::<f32>::new();

impl Backend for Cpu {
    type Scalar = f32;
    type Tensor = ArrayD<f32>;
    type Matrix = CpuMatrix;

    fn name(&self) -> String {
        let dtype = match self.products {
            Products::F32 => "f32",
            Products::Bf16 => "bf16",
            Products::Int8 => "int8",
        };
        format!("cpu {dtype} ({}, {} threads)", self.isa, self.threads())
    }

    fn take_ledger(&self) -> Ledger {
        std::mem::take(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn measure_peaks(&self) -> Option<Peaks> {
        Some(self.measure())
    }

    fn upload(&self, values: &[f32], shape: &[usize]) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.upload(values, shape)
    }

    fn download(&self, x: &ArrayD<f32>) -> Result<Vec<f32>, KernelError> {
        PLAIN.download(x)
    }

    fn matrix(&self, weight: Weight) -> Result<CpuMatrix, KernelError> {
        Ok(match self.products {
            Products::Int8 => CpuMatrix::Int8(Int8Weight::new(self, &weight)),
            Products::Bf16 if linear::cpu::bf16::takes(&weight) => CpuMatrix::Bf16(weight),
            Products::F32 | Products::Bf16 => CpuMatrix::Stored(weight),
        })
    }

    fn exact(&self, weight: Weight) -> Result<CpuMatrix, KernelError> {
        Ok(CpuMatrix::Stored(weight))
    }

    fn reshape(&self, x: ArrayD<f32>, shape: &[usize]) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.reshape(x, shape)
    }

    fn linear(&self, x: &ArrayD<f32>, w: &CpuMatrix) -> Result<ArrayD<f32>, KernelError> {
        let [y] = linear::cpu::linears(self, x, [w])?;
        Ok(y)
    }

    fn linears<const N: usize>(
        &self,
        x: &ArrayD<f32>,
        weights: [&CpuMatrix; N],
    ) -> Result<[ArrayD<f32>; N], KernelError> {
        linear::cpu::linears(self, x, weights)
    }

    fn rms_norm(
        &self,
        x: &ArrayD<f32>,
        gain: &ArrayD<f32>,
        eps: f64,
    ) -> Result<ArrayD<f32>, KernelError> {
        rms_norm::cpu::rms_norm(self, x, gain, eps)
    }

    fn rope(
        &self,
        x: &ArrayD<f32>,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<ArrayD<f32>, KernelError> {
        rope::cpu::rope(self, x, table, positions)
    }

    fn softmax(&self, x: &ArrayD<f32>) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.softmax(x)
    }

    fn swiglu(&self, gate: &ArrayD<f32>, up: &ArrayD<f32>) -> Result<ArrayD<f32>, KernelError> {
        swiglu::cpu::swiglu(self, gate, up)
    }

    fn gather(&self, w: &CpuMatrix, ids: &[u32]) -> Result<ArrayD<f32>, KernelError> {
        match w {
            CpuMatrix::Stored(w) | CpuMatrix::Bf16(w) => PLAIN.gather(w, ids),
            CpuMatrix::Int8(w) => gather::reference::rows([w.rows(), w.cols()], ids, |row, to| {
                w.decode_row(row, to);
            }),
        }
    }

    fn add(&self, a: &ArrayD<f32>, b: &ArrayD<f32>) -> Result<ArrayD<f32>, KernelError> {
        add::cpu::add(self, a, b)
    }

    fn split_columns(
        &self,
        x: &ArrayD<f32>,
        at: usize,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        PLAIN.split_columns(x, at)
    }

    fn join_columns(&self, a: &ArrayD<f32>, b: &ArrayD<f32>) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.join_columns(a, b)
    }

    fn select_rows(&self, x: &ArrayD<f32>, rows: &[usize]) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.select_rows(x, rows)
    }

    fn argmax(&self, x: &ArrayD<f32>) -> Result<Vec<Option<u32>>, KernelError> {
        argmax::cpu::argmax(self, x)
    }

    fn draw(
        &self,
        x: &ArrayD<f32>,
        temperature: f64,
        draws: &[f64],
    ) -> Result<Vec<Option<u32>>, KernelError> {
        PLAIN.draw(x, temperature, draws)
    }
}

impl Backward for Cpu {
    fn linear_grad_input(
        &self,
        dy: &ArrayD<f32>,
        w: &CpuMatrix,
    ) -> Result<ArrayD<f32>, KernelError> {
        linear::backward::cpu::grad_input(self, dy, w)
    }

    fn linear_grad_weight(
        &self,
        x: &ArrayD<f32>,
        dy: &ArrayD<f32>,
        w: &CpuMatrix,
    ) -> Result<ArrayD<f32>, KernelError> {
        linear::backward::cpu::grad_weight(self, x, dy, w)
    }

    fn rms_norm_backward(
        &self,
        x: &ArrayD<f32>,
        gain: &ArrayD<f32>,
        eps: f64,
        dy: &ArrayD<f32>,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        rms_norm::backward::cpu::rms_norm_backward(self, x, gain, eps, dy)
    }

    fn rope_backward(
        &self,
        dy: &ArrayD<f32>,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<ArrayD<f32>, KernelError> {
        rope::backward::on_cpu(self, dy, table, positions)
    }

    fn swiglu_backward(
        &self,
        gate: &ArrayD<f32>,
        up: &ArrayD<f32>,
        dy: &ArrayD<f32>,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        swiglu::backward::cpu::swiglu_backward(self, gate, up, dy)
    }

    fn gather_backward(
        &self,
        vocab: usize,
        ids: &[u32],
        dy: &ArrayD<f32>,
    ) -> Result<ArrayD<f32>, KernelError> {
        PLAIN.gather_backward(vocab, ids, dy)
    }

    fn cross_entropy(
        &self,
        logits: &ArrayD<f32>,
        targets: &[u32],
        scales: &[f64],
    ) -> Result<(Vec<f64>, ArrayD<f32>), KernelError> {
        cross_entropy::cpu::cross_entropy(self, logits, targets, scales)
    }
}
