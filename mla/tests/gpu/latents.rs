//! What is made of `kv_b` and of latents: absorption, expansion, and the rows of the cache.

use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{Backend, KernelError, PairLayout, Reference, RopeTable, Weight};
use latent_mla::{Attend, LatentDims, Latents, RowFormat, Slot};

use super::case::{DIMS, absorbed, assert_follows, expanded, kv_b, of_weight, random};
use super::gpu;

#[test]
fn absorption_and_expansion_follow_the_reference_in_every_dtype() {
    for weight in kv_b(DIMS) {
        for tokens in [0, 1, 2, 5] {
            let want =
                of_weight(&Reference::<f64>::new(), &weight, &|b, w| absorbed(b, w, DIMS, tokens));
            let got = of_weight(&gpu(), &weight, &|b, w| absorbed(b, w, DIMS, tokens));
            assert_follows(&got, &want);
            let want =
                of_weight(&Reference::<f64>::new(), &weight, &|b, w| expanded(b, w, DIMS, tokens));
            let got = of_weight(&gpu(), &weight, &|b, w| expanded(b, w, DIMS, tokens));
            assert_follows(&got, &want);
        }
    }
}

#[test]
fn absorption_and_expansion_follow_the_reference_at_published_sizes() {
    for (heads, rank) in [(16, 512), (128, 132), (1, 512)] {
        let d = LatentDims { num_attention_heads: heads, kv_lora_rank: rank, ..DIMS };
        let d = LatentDims { qk_nope_head_dim: 33, v_head_dim: 17, ..d };
        let values: Vec<f64> = Values::new(3).draw(d.kv_b_shape().iter().product());
        let weight = Weight::quantize_e4m3(d.kv_b_shape(), &values, [128, 128]).unwrap();
        let want = of_weight(&Reference::<f64>::new(), &weight, &|b, w| absorbed(b, w, d, 3));
        assert_follows(&of_weight(&gpu(), &weight, &|b, w| absorbed(b, w, d, 3)), &want);
        let want = of_weight(&Reference::<f64>::new(), &weight, &|b, w| expanded(b, w, d, 3));
        assert_follows(&of_weight(&gpu(), &weight, &|b, w| expanded(b, w, d, 3)), &want);
    }
}

#[test]
fn the_rotated_part_of_a_query_stays_behind_what_is_absorbed() {
    for tokens in [1, 6] {
        let q = random(&gpu(), 4, &[tokens, 3, 16]);
        let matrix = gpu().matrix(kv_b(DIMS)[5].clone()).unwrap();
        let got = gpu().absorbed_query(&q, &matrix, DIMS).unwrap();
        let (nope, rotated) = gpu().split_columns(&q, 10).unwrap();
        let absorbed = gpu().absorb_query(&nope, &matrix, DIMS).unwrap();
        let want = gpu().join_columns(&absorbed, &rotated).unwrap();
        assert_same_bits(&gpu().download(&got).unwrap(), &gpu().download(&want).unwrap());
    }
}

#[test]
fn latents_are_written_as_they_are_made_step_by_step() {
    for (layout, format) in [
        (PairLayout::Interleaved, RowFormat::Scalar),
        (PairLayout::HalfSplit, RowFormat::Bf16),
        (PairLayout::Interleaved, RowFormat::Fp8 { latent: 261 }),
    ] {
        // The last one is too wide for shared memory.
        for rank in [261, 9000] {
            let rope = RopeTable::new(6, 1e4, None, layout).unwrap();
            let (tokens, width) = (5, rank + 6);
            let slots: Vec<Slot> = (0..tokens).map(|i| Slot { page: i % 2, row: 3 * i }).collect();
            fn written<B: Attend>(
                b: &B,
                rope: &RopeTable,
                slots: &[Slot],
                rank: usize,
                format: RowFormat,
            ) -> (Vec<B::Scalar>, Vec<B::Scalar>) {
                let mut pages = b.pages(rank + 6, format).unwrap();
                b.open_page(&mut pages, 0).unwrap();
                b.open_page(&mut pages, 1).unwrap();
                let kv_a = random(b, 1, &[slots.len(), rank + 6]);
                let gain = random(b, 2, &[rank]);
                let positions = [0, 7, 100, 3, 8];
                let latents = Latents { kv_a: &kv_a, gain: &gain, rope, positions: &positions };
                b.write_latents(&mut pages, slots, &latents).unwrap();
                let rest: Vec<Slot> = (0..64)
                    .flat_map(|row| [0, 1].map(|page| Slot { page, row }))
                    .filter(|slot| !slots.contains(slot))
                    .collect();
                let read = |slots: &[_]| b.download(&b.read_rows(&pages, slots).unwrap()).unwrap();
                (read(slots), read(&rest))
            }
            let (got, rest) = written(&gpu(), &rope, &slots, rank, format);
            let (want, _) =
                written(&Reference::<f64>::new(), &rope, &slots, rank, RowFormat::Scalar);
            assert!(rest.iter().all(|v| v.is_nan()), "other rows were written");
            let unit = match format {
                RowFormat::Scalar => 1e-6,
                _ => 1.0 / 16.0,
            };
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let difference = (f64::from(*got) - want).abs();
                assert!(difference <= unit * (want.abs() + 0.01), "[{i}] of {width}: {got} {want}");
            }
        }
    }
}

#[test]
fn latents_that_do_not_fit_are_refused() {
    let rope = RopeTable::new(6, 1e4, None, PairLayout::Interleaved).unwrap();
    let mut pages = gpu().pages(11, RowFormat::Scalar).unwrap();
    gpu().open_page(&mut pages, 0).unwrap();
    let slots = [Slot { page: 0, row: 0 }];
    for (kv_a, gain, positions) in [
        (vec![1, 11], vec![6], vec![0]),
        (vec![2, 11], vec![5], vec![0]),
        (vec![1, 12], vec![6], vec![0]),
        (vec![1, 11], vec![5, 1], vec![0]),
        (vec![1, 11], vec![12], vec![0]),
        (vec![1, 11], vec![5], vec![0, 1]),
    ] {
        let (kv_a, gain) = (random(&gpu(), 1, &kv_a), random(&gpu(), 2, &gain));
        let latents = Latents { kv_a: &kv_a, gain: &gain, rope: &rope, positions: &positions };
        let error = gpu().write_latents(&mut pages, &slots, &latents).unwrap_err();
        assert!(matches!(error, KernelError::Shape { .. }), "{error}");
    }
}

#[test]
fn absorption_and_expansion_give_a_token_the_same_bits_in_any_batch() {
    let weight = &kv_b(DIMS)[5];
    let matrix = gpu().matrix(weight.clone()).unwrap();
    for (columns, out) in [(10, 21), (21, 7)] {
        let x = random(&gpu(), 4, &[6, 3, columns]);
        let run = |x: &_| {
            let y = if columns == 10 {
                gpu().absorb_query(x, &matrix, DIMS)
            } else {
                gpu().expand_values(x, &matrix, DIMS)
            };
            gpu().download(&y.unwrap()).unwrap()
        };
        let whole = run(&x);
        for token in 0..6 {
            let alone = run(&gpu().select_rows(&x, &[token]).unwrap());
            assert_same_bits(&alone, &whole[token * 3 * out..][..3 * out]);
        }
    }
}
