//! A cache that stores its rows in fewer bits rounds them as it is defined, once, and that is all.

use latent_kernels::suite::{Values, assert_same_bits};
use latent_kernels::{Scalar, Tolerance, assert_close};

use super::fixture::{Fixture, for_formats};
use crate::{
    Attend, AttentionConfig, CacheFormat, Form, PAGE_TOKENS, PagedCache, RowLayout, SequenceId,
};

/// A cache of one sequence with the given rows, and that sequence.
fn written<B: Attend>(
    f: &Fixture<'_, B>,
    format: CacheFormat,
    rows: &[B::Scalar],
) -> (PagedCache<B>, SequenceId) {
    let width = f.config.cached_elements();
    let tokens = rows.len() / width;
    let mut cache = f.cache_in(format, tokens);
    let id = cache.new_sequence();
    let step = cache.begin(&[(id, tokens)]).expect("room");
    let rows = f.backend.upload(rows, &[tokens, width]).expect("rows");
    cache.write(&step, 0, &rows).expect("rows fit");
    cache.commit(step).expect("open");
    (cache, id)
}

fn read<B: Attend>(
    f: &Fixture<'_, B>,
    (cache, id): &(PagedCache<B>, SequenceId),
) -> Vec<B::Scalar> {
    f.backend.download(&cache.read(0, *id).expect("held")).expect("rows")
}

/// Rows of many magnitudes: one is all zeros, one has zeros of either sign, others are tiny, huge,
/// not finite, or lie half between two values that can be stored.
fn rows<B: Attend>(f: &Fixture<'_, B>) -> Vec<B::Scalar> {
    let width = f.config.cached_elements();
    let mut values = Values::new(11);
    let mut rows = Vec::new();
    for magnitude in [1.0, 0.0, -0.0, 1e-3, 1e-4, 3e-5, 1e-9, 1e-38, 30.0, 1e5, 1e30] {
        let row: Vec<f64> = values.draw(width);
        rows.extend(row.iter().map(|v| v * magnitude));
    }
    // In bf16 and in e4m3 under the scale of 448, every second one is a tie.
    rows.extend((0..width).map(|i| if i == 0 { 448.0 } else { 1.0 + i as f64 / 16.0 }));
    rows.extend((0..width).map(|i| 1.0 + i as f64 / 256.0));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let row: Vec<f64> = values.draw(width);
        rows.extend(row.iter().enumerate().map(|(i, &v)| if i == 1 { bad } else { v }));
    }
    rows.iter().map(|&v| B::Scalar::from_f64(v)).collect()
}

/// What is read back is what was written, rounded as the format is defined, bit for bit.
pub fn rows_read_back_are_rounded_once<B: Attend>(backend: &B, _: Tolerance) {
    for_formats(backend, |f, format| {
        let rows = rows(f);
        let got = read(f, &written(f, format, &rows));
        let definition = format.of_rows(&f.config).expect("a format that fits");
        let mut want = rows;
        for row in want.chunks_exact_mut(f.config.cached_elements()) {
            definition.round(row);
        }
        assert_same_bits(&got, &want);
    });
}

/// Attention over stored rows has the bits of attention over the rows that are read back,
/// unrounded.
pub fn attention_sees_what_is_read_back<B: Attend>(backend: &B, _: Tolerance) {
    for_formats(backend, |f, format| {
        let width = f.config.cached_elements();
        let stored = written(f, format, &Values::new(12).draw(70 * width));
        let plain = written(f, CacheFormat::Scalar, &read(f, &stored));
        let run = |(cache, id): (PagedCache<B>, SequenceId)| {
            let mut cache = cache;
            let step = cache.begin(&[(id, 0)]).expect("no page");
            let mut spans = step.spans().to_vec();
            (spans[0].start, spans[0].tokens) = (66, 4);
            let (heads, layout) = match &f.config {
                AttentionConfig::Latent(c) => (c.num_attention_heads, c.dims().absorbed_layout()),
                AttentionConfig::Grouped(c) => {
                    let (kv_heads, dim) = (c.num_key_value_heads, c.head_dim);
                    let value_offset = kv_heads * dim;
                    (
                        c.num_attention_heads,
                        RowLayout { kv_heads, key_dim: dim, value_dim: dim, value_offset },
                    )
                }
            };
            let shape = [4, heads, layout.key_dim];
            let q = Values::new(13).draw(shape.iter().product());
            let q = backend.upload(&q, &shape).expect("queries");
            let pages = cache.pages(0).expect("a layer");
            let o = backend.attend(&q, pages, &spans, layout, 0.5).expect("it fits");
            backend.download(&o).expect("a result")
        };
        assert_same_bits(&run(stored), &run(plain));
    });
}

/// One token at a time gives the bits of the whole prompt at once, whatever the format and the
/// form, and both forms agree.
pub fn decode_equals_prefill_in_every_format<B: Attend>(backend: &B, tolerance: Tolerance) {
    for_formats(backend, |f, format| {
        let x = f.tokens(1, 66);
        for &form in f.forms() {
            let want = f.alone_in(format, &x, form);
            let mut cache = f.cache_in(format, 66);
            let id = cache.new_sequence();
            let (prompt, last) = x.split_at(63 * f.config.hidden_size());
            let mut got = f.step(&mut cache, &[(id, prompt)], form).swap_remove(0);
            for token in last.chunks_exact(f.config.hidden_size()) {
                got.extend(f.step(&mut cache, &[(id, token)], form).swap_remove(0));
            }
            assert_same_bits(&got, &want);
        }
        if let AttentionConfig::Latent(_) = f.config {
            let [expanded, absorbed] =
                [Form::Expanded, Form::Absorbed].map(|form| f.alone_in(format, &x, form));
            assert_close(&absorbed, &expanded, tolerance);
        }
    });
}

/// Bytes in use are whole pages of rows as the format stores them.
pub fn bytes_counted_are_those_of_the_format<B: Attend>(backend: &B, _: Tolerance) {
    for_formats(backend, |f, format| {
        let words = |bytes: usize| bytes.div_ceil(4) * 4;
        let width = f.config.cached_elements();
        let wanted = match (format, &f.config) {
            (CacheFormat::Fp8, AttentionConfig::Latent(c)) => {
                let scales = c.kv_lora_rank.div_ceil(128);
                words(c.kv_lora_rank) + 4 * scales + words(2 * c.qk_rope_head_dim)
            }
            (CacheFormat::Bf16, _) => words(2 * width),
            _ => width * B::Scalar::BYTES,
        };
        let mut cache = f.cache_in(format, 200);
        assert_eq!((cache.bytes_per_token(), cache.bytes()), (wanted, 0));
        let id = cache.new_sequence();
        f.step(&mut cache, &[(id, &f.tokens(1, 65))], Form::Absorbed);
        assert_eq!(cache.bytes(), 2 * PAGE_TOKENS * wanted);
        cache.release(id).expect("held");
        assert_eq!(cache.bytes(), 0);
    });
}
