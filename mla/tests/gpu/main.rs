//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::OnceLock;

use latent_mla::kernels::gpu::{DeviceChoice, Gpu};
use latent_mla::kernels::suite::Values;
use latent_mla::kernels::{Backend, Reference, Scalar, max_difference};
use latent_mla::{Attend, PAGE_TOKENS, RowFormat, RowLayout, Slot, Span};

mod attend;
mod expanded;
mod formats;
mod latents;
mod pages;
mod plan;

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_mla::kernels::Tolerance;
    latent_mla::attention_suite!(super::super::gpu(), Tolerance::F32);
}

/// Sequences in pages that lie scattered, between others full of NaN.
struct Case {
    spans: Vec<Span>,
    width: usize,
    format: RowFormat,
    rows: Vec<f32>, // [key of the first span, of the second.., width]
}

impl Case {
    /// Sequences of which the last `(tokens, keys)` tokens attend.
    fn new(sequences: &[(usize, usize)], width: usize) -> Self {
        let total: usize = sequences.iter().map(|(_, keys)| keys.div_ceil(PAGE_TOKENS)).sum();
        let mut pages = (0..total).rev().map(|p| 2 * p + 1);
        let mut first = 0;
        let spans = sequences
            .iter()
            .map(|&(tokens, keys)| {
                let pages = pages.by_ref().take(keys.div_ceil(PAGE_TOKENS)).collect();
                first += tokens;
                Span { first: first - tokens, tokens, start: keys - tokens, pages }
            })
            .collect();
        let keys: usize = sequences.iter().map(|(_, keys)| keys).sum();
        Self { spans, width, format: RowFormat::Scalar, rows: Values::new(5).draw(keys * width) }
    }

    fn tokens(&self) -> usize {
        self.spans.iter().map(|s| s.tokens).sum()
    }

    fn pages<B: Attend>(&self, backend: &B) -> B::Pages {
        let mut pages = backend.pages(self.width, self.format).unwrap();
        let last = self.spans.iter().flat_map(|s| &s.pages).max().map_or(0, |&p| p);
        for page in 0..=last + 1 {
            backend.open_page(&mut pages, page).unwrap();
        }
        let slots: Vec<Slot> =
            self.spans.iter().flat_map(|s| (0..s.keys()).map(|p| s.slot(p))).collect();
        let rows = upload(backend, &self.rows, &[slots.len(), self.width]);
        backend.write_rows(&mut pages, &slots, &rows).unwrap();
        pages
    }
}

fn upload<B: Backend>(backend: &B, values: &[f32], shape: &[usize]) -> B::Tensor {
    let values: Vec<B::Scalar> = values.iter().map(|&v| Scalar::from_f32(v)).collect();
    backend.upload(&values, shape).unwrap()
}

fn random<B: Backend>(backend: &B, seed: u64, shape: &[usize]) -> B::Tensor {
    upload(backend, &Values::new(seed).draw(shape.iter().product()), shape)
}

/// `attend` of a case with random queries.
fn attend<B: Attend>(backend: &B, case: &Case, layout: RowLayout, heads: usize) -> Vec<B::Scalar> {
    let q = random(backend, 9, &[case.tokens(), heads, layout.key_dim]);
    let o = backend.attend(&q, &case.pages(backend), &case.spans, layout, 0.7);
    backend.download(&o.unwrap()).unwrap()
}

/// Holds a result to the reference in `f64`, relative to the largest element.
#[track_caller]
fn assert_follows(got: &[f32], want: &[f64]) {
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let difference = max_difference(got, want);
    assert!(difference <= 1e-5 * scale, "off by {difference:e} of {scale:e}");
}

#[track_caller]
fn assert_attend_follows(case: &Case, layout: RowLayout, heads: usize) {
    let want = attend(&Reference::<f64>::new(), case, layout, heads);
    assert_follows(&attend(&gpu(), case, layout, heads), &want);
}

fn latent(rank: usize, rope: usize) -> RowLayout {
    RowLayout { kv_heads: 1, key_dim: rank + rope, value_dim: rank, value_offset: 0 }
}

fn grouped(kv_heads: usize, key_dim: usize, value_dim: usize) -> RowLayout {
    RowLayout { kv_heads, key_dim, value_dim, value_offset: kv_heads * key_dim }
}
