//! The products of all experts' gradients where their weights meet activations in bf16.

use std::ops::Range;

use latent_kernels::Matrix;
use latent_kernels::cpu::{Bf16Columns, Bf16Product, Cpu, View, add_bf16_products, bf16_products};
use latent_kernels::linear::backward::cpu::bf16::{of, right_side};
use ndarray::ArrayD;

use super::{Met, Work};
use crate::Mlp;
use crate::dispatch::cpu::array;

/// Whether every weight of every expert has gradients in bf16.
pub(super) fn takes(blocks: &[Mlp<Cpu>]) -> bool {
    let of_block = |block: &Mlp<Cpu>| {
        [&block.gate_proj, &block.up_proj, &block.down_proj].iter().all(|w| of(w).is_some())
    };
    blocks.iter().all(of_block)
}

impl Work<'_> {
    /// The rows of each expert that has any.
    fn busy(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let all = (0..self.blocks.len()).map(|e| (e, self.dispatch.rows_of_expert(e)));
        all.filter(|(_, rows)| !rows.is_empty())
    }

    /// [`by_rows`](Self::by_rows), for weights that [`takes`] has seen.
    pub(super) fn by_rows_in_bf16(&self, met: &[Met<'_>], width: usize) -> Vec<f32> {
        let mut sums = vec![0.0; self.dispatch.tokens().len() * width];
        for (x, weight) in met {
            let out = self.blocks.first().map_or(1, |block| weight(block).rows());
            let busy: Vec<_> = self.busy().collect();
            let right = |e: usize| of(weight(&self.blocks[e])).map(|w| right_side(self.cpu, w));
            let right: Vec<Bf16Columns> = busy.iter().filter_map(|(e, _)| right(*e)).collect();
            let (mut rest, mut products) = (&mut sums[..], Vec::new());
            for ((_, rows), b) in busy.into_iter().zip(&right) {
                let (c, behind) = rest.split_at_mut(rows.len() * width);
                rest = behind;
                let a = View::rows(&x[rows.start * out..rows.end * out], out);
                products.push(Bf16Product { a, b, c });
            }
            add_bf16_products(self.cpu, products);
        }
        sums
    }

    /// The right sides of products over the rows of each expert that has any.
    pub(super) fn columns(&self, x: &[f32], cols: usize) -> Vec<Bf16Columns> {
        let of_rows = |rows: Range<usize>| &x[rows.start * cols..rows.end * cols];
        self.busy().map(|(_, rows)| Bf16Columns::new(self.cpu, of_rows(rows), cols)).collect()
    }

    /// [`by_weights`](Self::by_weights) with the right sides of `x`.
    pub(super) fn by_weights_in_bf16(
        &self,
        (dy, out): (&[f32], usize),
        (x, cols): (&[Bf16Columns], usize),
    ) -> Vec<ArrayD<f32>> {
        let left = |rows: Range<usize>| View::rows(&dy[rows.start * out..rows.end * out], out);
        let products = self.busy().zip(x).map(|((_, rows), b)| (left(rows).transposed(), out, b));
        let mut found = bf16_products(self.cpu, &products.collect::<Vec<_>>()).into_iter();
        let of_expert = |e| {
            let none = self.dispatch.rows_of_expert(e).is_empty();
            let dw = if none { None } else { found.next() };
            array(dw.unwrap_or_else(|| vec![0.0; out * cols]), [out, cols])
        };
        (0..self.blocks.len()).map(of_expert).collect()
    }
}
