//! [`ExpertsBackward`] on this processor: all threads share the products of all experts.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use std::ops::Range;

use latent_kernels::cpu::{Bf16Columns, Cpu, CpuMatrix, Parts, View, add_matmul, filled};
use latent_kernels::linear::backward::cpu::RightFactor;
use latent_kernels::linear::dot;
use latent_kernels::{Backend, Backward, KernelError, Matrix, Scalar};
use ndarray::ArrayD;

use super::{ExpertsBackward, MlpGradients, RoutedGradients, SavedRouted};
use crate::dispatch::cpu::{array, elements};
use crate::dispatch::{self, check_tokens};
use crate::experts::check_experts;
use crate::{CpuExperts, Dispatch, GateConfig, Mlp, MoeError, Routing, gate};

mod bf16;

impl ExpertsBackward for Cpu {
    fn route_backward(
        &self,
        logits: &ArrayD<f32>,
        routing: &Routing,
        gate: &GateConfig,
        d_weights: &ArrayD<f32>,
    ) -> Result<ArrayD<f32>, MoeError> {
        gate::backward::check(logits.shape(), routing, gate, d_weights.shape())?;
        let d =
            gate::backward::route_backward(elements(logits), routing, gate, elements(d_weights))?;
        Ok(array(d, [routing.tokens(), gate.n_routed_experts]))
    }

    fn routed_saving(
        &self,
        experts: &CpuExperts,
        x: &ArrayD<f32>,
        routing: &Routing,
    ) -> Result<(ArrayD<f32>, SavedRouted<Self>), MoeError> {
        experts.routed_saving(self, x, routing)
    }

    fn routed_backward(
        &self,
        experts: &CpuExperts,
        x: &ArrayD<f32>,
        routing: &Routing,
        saved: &SavedRouted<Self>,
        dy: &ArrayD<f32>,
    ) -> Result<RoutedGradients<Self>, MoeError> {
        check_experts(experts.blocks(), routing)?;
        check_tokens(x.shape(), routing)?;
        check_tokens(dy.shape(), routing)?;
        let wanted = [routing.experts().len(), experts.inner()];
        KernelError::check_shape("experts: saved", saved.gate.shape(), &wanted)?;
        let dispatch = Dispatch::new(routing);
        let hidden = experts.hidden();
        let x = dispatched(self, x, hidden, &dispatch)?;
        let dy = dispatched(self, dy, hidden, &dispatch)?;
        let in_bf16 = bf16::takes(experts.blocks());
        let work = Work { cpu: self, blocks: experts.blocks(), dispatch: &dispatch, in_bf16 };

        let inner = self.swiglu(&saved.gate, &saved.up)?; // [row, inner]
        let (inner, width) = (elements(&inner), inner.shape()[1]);
        // What the inner activations got before the weight of their expert: it gives the weight's own gradient.
        let mut d_inner = work.by_rows(&[(&dy, |mlp| &mlp.down_proj)])?;
        let (of_rows, weighted) = work.weigh(inner, width, &mut d_inner);
        let d_inner = array(d_inner, [of_rows.len(), width]);
        let (d_gate, d_up) = self.swiglu_backward(&saved.gate, &saved.up, &d_inner)?;
        let (d_gate, d_up) = (elements(&d_gate), elements(&d_up));

        let d_rows = work.by_rows(&[(d_gate, |mlp| &mlp.gate_proj), (d_up, |mlp| &mlp.up_proj)])?;
        let d_rows = array(d_rows, [of_rows.len(), hidden]);
        let dx = dispatch::backward::dispatch_backward(&d_rows, routing)?;
        let tokens = 0..routing.tokens();
        let of_choices = tokens
            .flat_map(|t| dispatch.rows_of_token(t).iter().map(|&row| of_rows[row]))
            .collect();
        let d_weights = array(of_choices, [routing.tokens(), routing.num_experts_per_tok()]);

        let right = work.right(&x, hidden);
        let gate_proj = work.by_weights((d_gate, width), &right, hidden);
        let up_proj = work.by_weights((d_up, width), &right, hidden);
        let down_proj = work.by_weights((&dy, hidden), &work.right(&weighted, width), width);
        let of_experts = gate_proj.into_iter().zip(up_proj).zip(down_proj);
        let experts = of_experts.map(|((gate_proj, up_proj), down_proj)| MlpGradients {
            gate_proj,
            up_proj,
            down_proj,
        });
        Ok(RoutedGradients { dx, d_weights, experts: experts.collect() })
    }
}

/// The row of each choice, sorted by expert.
fn dispatched(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    hidden: usize,
    dispatch: &Dispatch,
) -> Result<Vec<f32>, MoeError> {
    if x.shape()[1] != hidden {
        return Err(MoeError::shape("experts: x", x.shape(), format!("want [.., {hidden}]")));
    }
    let (x, tokens) = (elements(x), dispatch.tokens());
    let run = |parts: &Parts<'_, f32>, task: usize| {
        for row in task * STEP..tokens.len().min((task + 1) * STEP) {
            // SAFETY: each row belongs to one task.
            let to = unsafe { parts.part(row * hidden..(row + 1) * hidden) };
            to.copy_from_slice(&x[tokens[row] * hidden..][..hidden]);
        }
    };
    let tasks = tokens.len().div_ceil(STEP);
    let fill = |parts: &Parts<'_, f32>| cpu.pool().run(tasks, &|task| run(parts, task));
    // SAFETY: tasks write all rows.
    Ok(unsafe { filled(tokens.len() * hidden, fill) })
}

/// Rows `[row, width]` of all experts, and the weight of each that they meet.
type Met<'a> = (&'a [f32], fn(&Mlp<Cpu>) -> &CpuMatrix);

/// What all experts have to do.
struct Work<'a> {
    cpu: &'a Cpu,
    blocks: &'a [Mlp<Cpu>],
    dispatch: &'a Dispatch,
    /// What the products are computed in.
    in_bf16: bool,
}

/// Rows `[row, in]` of all experts as the right side of products.
enum Right<'a> {
    F32(&'a [f32]),
    /// Those of each expert that has any.
    Bf16(Vec<Bf16Columns>),
}

/// The rows of a task.
const STEP: usize = 96;

impl Work<'_> {
    /// The gradient by the weight of each row's expert, from its inner activations `[row, width]` and what they got;
    /// and both times that weight, the second in place.
    fn weigh(&self, inner: &[f32], width: usize, d_inner: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let weights = self.dispatch.weights();
        let of_d = Parts::new(d_inner);
        let (mut of_rows, mut weighted) = (vec![0.0; weights.len()], vec![0.0; inner.len()]);
        let (results, products) = (Parts::new(&mut of_rows), Parts::new(&mut weighted));
        self.cpu.pool().run(weights.len().div_ceil(STEP), &|task| {
            for row in task * STEP..weights.len().min((task + 1) * STEP) {
                let (at, weight) = (row * width..(row + 1) * width, f32::from_f64(weights[row]));
                // SAFETY: each row belongs to one task.
                let (d, product) = unsafe { (of_d.part(at.clone()), products.part(at.clone())) };
                // SAFETY: as above.
                unsafe { results.write(row, dot(&inner[at.clone()], d)) };
                d.iter_mut().for_each(|d| *d *= weight);
                for (product, h) in product.iter_mut().zip(&inner[at]) {
                    *product = h * weight;
                }
            }
        });
        (of_rows, weighted)
    }

    /// The sum of the products of some rows `[row, out]` with a weight `[out, in]` of their expert each.
    fn by_rows(&self, met: &[Met<'_>]) -> Result<Vec<f32>, KernelError> {
        let (_, weight) = met[0];
        let width = self.blocks.first().map_or(0, |block| weight(block).cols());
        if self.in_bf16 {
            return Ok(self.by_rows_in_bf16(met, width));
        }
        let mut sums = vec![0.0; self.dispatch.tokens().len() * width];
        let parts = Parts::new(&mut sums);
        let mut factors = Vec::new();
        for block in self.blocks {
            let of_block = met.iter().map(|(_, weight)| RightFactor::of_matrix(weight(block)));
            factors.push(of_block.collect::<Result<Vec<_>, _>>()?);
        }
        let tasks = self.tasks(STEP, |e| self.dispatch.rows_of_expert(e));
        self.cpu.pool().run(tasks.len(), &|task| {
            let (e, rows) = &tasks[task];
            // SAFETY: each row belongs to one task.
            let c = unsafe { parts.part(rows.start * width..rows.end * width) };
            for ((x, weight), factor) in met.iter().zip(&factors[*e]) {
                let out = weight(&self.blocks[*e]).rows();
                let a = View::rows(&x[rows.start * out..rows.end * out], out);
                factor.add_product(self.cpu, a, (c, width), rows.len());
            }
        });
        Ok(sums)
    }

    /// What [`by_weights`](Self::by_weights) takes of `x` `[row, cols]`.
    fn right<'x>(&self, x: &'x [f32], cols: usize) -> Right<'x> {
        if self.in_bf16 { Right::Bf16(self.columns(x, cols)) } else { Right::F32(x) }
    }

    /// `dyᵀ x` over the rows of each expert, `[out, in]`; zeros for one without rows.
    fn by_weights(
        &self,
        (dy, out): (&[f32], usize),
        x: &Right<'_>,
        cols: usize,
    ) -> Vec<ArrayD<f32>> {
        let x = match x {
            Right::F32(x) => x,
            Right::Bf16(x) => return self.by_weights_in_bf16((dy, out), (x, cols)),
        };
        let mut all: Vec<_> = self.blocks.iter().map(|_| vec![0.0; out * cols]).collect();
        let parts: Vec<_> = all.iter_mut().map(|dw| Parts::new(dw)).collect();
        let tasks = self.tasks(STEP, |_| 0..out);
        self.cpu.pool().run(tasks.len(), &|task| {
            let (e, outputs) = &tasks[task];
            let rows = self.dispatch.rows_of_expert(*e);
            // SAFETY: each output of an expert belongs to one task.
            let c = unsafe { parts[*e].part(outputs.start * cols..outputs.end * cols) };
            if !rows.is_empty() {
                let a = View::rows(&dy[rows.start * out..rows.end * out], out).transposed();
                let b = &x[rows.start * cols..rows.end * cols];
                let sizes = [outputs.len(), rows.len(), cols];
                add_matmul(self.cpu, a.from_row(outputs.start), (b, cols), (c, cols), sizes);
            }
        });
        all.into_iter().map(|dw| array(dw, [out, cols])).collect()
    }

    /// Parts of at most `step` of what each expert has.
    fn tasks(&self, step: usize, of: impl Fn(usize) -> Range<usize>) -> Vec<(usize, Range<usize>)> {
        let parts = |e| {
            let all: Range<usize> = of(e);
            all.clone().step_by(step).map(move |first| (e, first..all.end.min(first + step)))
        };
        (0..self.blocks.len()).flat_map(parts).collect()
    }
}
