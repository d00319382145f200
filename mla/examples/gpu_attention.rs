//! Absorbed latent attention over 300 cached tokens, on a GPU and by the definition on the processor.

#![expect(clippy::print_stdout, reason = "an example that shows its result")]

use latent_mla::kernels::gpu::{DeviceChoice, Gpu};
use latent_mla::kernels::{Backend, KernelError, Reference, max_difference};
use latent_mla::{Attend, LatentDims, RowFormat, Slot, Span};

const TOKENS: usize = 300;
const DIMS: LatentDims = LatentDims {
    num_attention_heads: 16,
    kv_lora_rank: 128,
    qk_nope_head_dim: 32,
    qk_rope_head_dim: 16,
    v_head_dim: 32,
};

/// The last token's query over all rows.
fn attend<B: Attend<Scalar = f32>>(backend: &B) -> Result<Vec<f32>, KernelError> {
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    let layout = DIMS.absorbed_layout();
    let mut pages = backend.pages(layout.key_dim, RowFormat::Scalar)?;
    let span = Span { first: 0, tokens: 1, start: TOKENS - 1, pages: vec![2, 0, 4, 1, 3] };
    (0..span.pages.len()).try_for_each(|page| backend.open_page(&mut pages, page))?;
    let slots: Vec<Slot> = (0..TOKENS).map(|position| span.slot(position)).collect();
    let rows = backend.upload(&wave(TOKENS * layout.key_dim), &[TOKENS, layout.key_dim])?;
    backend.write_rows(&mut pages, &slots, &rows)?;
    let shape = [1, DIMS.num_attention_heads, layout.key_dim];
    let q = backend.upload(&wave(shape.iter().product()), &shape)?;
    backend.download(&backend.attend(&q, &pages, &[span], layout, 0.1)?)
}

fn main() -> Result<(), KernelError> {
    let gpu = Gpu::open(DeviceChoice::First)?;
    let difference = max_difference(&attend(&gpu)?, &attend(&Reference::<f32>::new())?);
    println!("{}: the largest difference is {difference:e}", gpu.name());
    Ok(())
}
