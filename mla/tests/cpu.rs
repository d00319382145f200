//! The suite, stamped for the fast backend, and what holds for it alone.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod case;

use latent_mla::kernels::cpu::{Cpu, Isa};
use latent_mla::kernels::suite::assert_same_bits;
use latent_mla::kernels::{Backend, KernelError, Reference};
use latent_mla::{Attend, LatentDims, RowFormat, RowLayout, Slot, Span};

use case::{
    Case, DIMS, EDGES, absorbed, assert_follows, attend, attend_expanded, expanded, grouped, kv_b,
    latent, of_weight, upload,
};

mod fastest {
    use latent_mla::kernels::Tolerance;
    use latent_mla::kernels::cpu::Cpu;
    latent_mla::attention_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_mla::kernels::Tolerance;
    use latent_mla::kernels::cpu::{Cpu, Isa};
    latent_mla::attention_suite!(Cpu::with(Isa::Portable, 3).unwrap(), Tolerance::F32);
}

/// Every set that this processor has, on one thread and on three.
fn backends() -> Vec<Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).unwrap()).collect()
}

/// Holds a result of every backend to the reference, and those of sets that share their bits to the same.
#[track_caller]
fn assert_all_follow(want: &[f64], run: impl Fn(&Cpu) -> Vec<f32>) {
    let mut first = None;
    for cpu in backends() {
        let got = run(&cpu);
        assert_follows(&got, want);
        if cpu.isa().shares_bits() {
            assert_same_bits(&got, first.get_or_insert(got.clone()));
        }
    }
}

#[track_caller]
fn assert_attend_follows(case: &Case, layout: RowLayout, heads: usize) {
    let want = attend(&Reference::<f64>::new(), case, layout, heads);
    assert_all_follow(&want, |cpu| attend(cpu, case, layout, heads));
}

#[test]
fn decoding_follows_the_reference_around_every_edge() {
    for (heads, rank) in [(1, 36), (3, 36), (16, 128), (7, 5), (40, 16)] {
        assert_attend_follows(&Case::new(&EDGES, rank + 6), latent(rank, 6), heads);
    }
}

#[test]
fn the_sizes_of_published_models_follow_the_reference() {
    let few = Case::new(&[(1, 257), (3, 66)], 576);
    assert_attend_follows(&few, latent(512, 64), 128);
    assert_attend_follows(&Case::new(&[(1, 800)], 576), latent(512, 64), 16);
}

#[test]
fn prefill_follows_the_reference_for_heads_of_their_own_groups_and_one() {
    let spans = [(70, 70), (0, 0), (1, 255), (20, 270), (3, 3), (5, 69)];
    for (layout, heads) in [
        (grouped(3, 5, 7), 3),
        (grouped(2, 18, 66), 10),
        (grouped(1, 33, 2), 40),
        (latent(36, 6), 3),
        // Values that begin inside of the keys.
        (RowLayout { kv_heads: 1, key_dim: 40, value_dim: 20, value_offset: 7 }, 2),
    ] {
        let width = (layout.value_offset + layout.kv_heads * layout.value_dim)
            .max(layout.kv_heads * layout.key_dim);
        assert_attend_follows(&Case::new(&spans, width), layout, heads);
    }
}

#[test]
fn rows_in_fewer_bits_follow_the_reference() {
    for format in [RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }] {
        let mut case = Case::new(&[(1, 65), (3, 3), (1, 300)], 307);
        case.format = format;
        case.rows.iter_mut().enumerate().for_each(|(i, v)| *v *= [1.0, 7.0, 1e-6][i / 128 % 3]);
        assert_attend_follows(&case, latent(301, 6), 3);
        // A part of a row.
        let layout = RowLayout { kv_heads: 1, key_dim: 33, value_dim: 130, value_offset: 40 };
        assert_attend_follows(&case, layout, 2);
        let slots: Vec<Slot> =
            case.spans.iter().flat_map(|s| (0..s.keys()).map(|p| s.slot(p))).collect();
        let mut want = case.rows.clone();
        want.chunks_exact_mut(307).for_each(|row| format.round(row));
        for cpu in backends() {
            let rows = cpu.read_rows(&case.pages(&cpu), &slots).unwrap();
            assert_same_bits(&cpu.download(&rows).unwrap(), &want);
        }
    }
    let mut case = Case::new(&[(1, 257)], 576);
    case.format = RowFormat::Fp8 { latent: 512 };
    assert_attend_follows(&case, latent(512, 64), 16);
    assert_eq!(Cpu::new().pages_bytes(&case.pages(&Cpu::new())), 656 * 64 * 11);
}

#[test]
fn what_lies_between_keys_and_values_is_never_read() {
    for format in [RowFormat::Scalar, RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }] {
        let mut case = Case::new(&[(1, 65), (3, 70)], 307);
        case.format = format;
        case.rows.chunks_exact_mut(307).for_each(|row| row[35] = f32::NAN);
        let layout = RowLayout { kv_heads: 1, key_dim: 33, value_dim: 130, value_offset: 40 };
        assert_attend_follows(&case, layout, 2);
    }
}

#[test]
fn a_token_has_the_same_bits_alone_and_in_a_prompt() {
    for cpu in backends() {
        for (layout, heads) in [(grouped(2, 6, 9), 6), (latent(36, 6), 3), (latent(20, 4), 40)] {
            let width =
                layout.value_offset.max(layout.key_dim) + layout.kv_heads * layout.value_dim;
            let case = Case::new(&[(23, 600), (1, 600)], width);
            let whole = attend(&cpu, &case, layout, heads);
            case::assert_tokens_stand_alone(&cpu, &case, layout, heads, &whole);
        }
    }
}

#[test]
fn rows_that_are_not_finite_reach_no_token_before_them() {
    for cpu in backends() {
        case::assert_bad_rows_reach_no_token_before_them(&cpu);
    }
}

#[test]
fn scores_that_are_not_finite_are_shared_out_as_in_the_reference() {
    for cpu in backends() {
        case::assert_bad_scores_are_shared_out_as_in_the_reference(&cpu, 1e-6);
    }
}

#[test]
fn a_score_beyond_what_an_exponential_holds_takes_all_wherever_its_key_lies() {
    for cpu in backends() {
        case::assert_a_huge_score_takes_all(&cpu);
    }
}

#[test]
fn absorption_and_expansion_follow_the_reference_in_every_dtype() {
    let reference = Reference::<f64>::new();
    let published = LatentDims { num_attention_heads: 16, kv_lora_rank: 512, ..DIMS };
    let published = LatentDims { qk_nope_head_dim: 128, v_head_dim: 128, ..published };
    for (dims, counts) in [(DIMS, &[0, 1, 2, 9][..]), (published, &[1, 5])] {
        for weight in kv_b(dims) {
            for &tokens in counts {
                let want = of_weight(&reference, &weight, &|b, w| absorbed(b, w, dims, tokens));
                assert_all_follow(&want, |cpu| {
                    of_weight(cpu, &weight, &|b, w| absorbed(b, w, dims, tokens))
                });
                let want = of_weight(&reference, &weight, &|b, w| expanded(b, w, dims, tokens));
                assert_all_follow(&want, |cpu| {
                    of_weight(cpu, &weight, &|b, w| expanded(b, w, dims, tokens))
                });
            }
        }
    }
}

#[test]
fn the_expanded_form_follows_the_reference() {
    let reference = Reference::<f64>::new();
    for format in [RowFormat::Scalar, RowFormat::Bf16, RowFormat::Fp8 { latent: 21 }] {
        let mut case = Case::new(&[(20, 20), (1, 1), (0, 0), (2, 66), (3, 258), (40, 600)], 27);
        case.format = format;
        for weight in [&kv_b(DIMS)[3], &kv_b(DIMS)[7]] {
            let want = attend_expanded(&reference, &case, weight, DIMS);
            assert_all_follow(&want, |cpu| attend_expanded(cpu, &case, weight, DIMS));
        }
    }
    let (dims, weight, case) = case::published();
    let want = attend_expanded(&reference, &case, &weight, dims);
    assert_all_follow(&want, |cpu| attend_expanded(cpu, &case, &weight, dims));
}

#[test]
fn a_page_that_is_not_open_is_never_read() {
    let cpu = Cpu::new();
    let mut pages = cpu.pages(2, RowFormat::Scalar).unwrap();
    cpu.open_page(&mut pages, 3).unwrap();
    let q = upload(&cpu, &[1.0], &[1, 1, 1]);
    for page in [0, 4, 2_147_480_000, usize::MAX] {
        let is_index =
            |e: &KernelError| matches!(e, KernelError::Index { found, .. } if *found == page);
        let slots = [Slot { page, row: 0 }];
        assert!(is_index(&cpu.read_rows(&pages, &slots).unwrap_err()));
        let rows = upload(&cpu, &[0.0, 0.0], &[1, 2]);
        assert!(is_index(&cpu.write_rows(&mut pages, &slots, &rows).unwrap_err()));
        assert!(is_index(&cpu.copy_page(&mut pages, page, 3).unwrap_err()));
        assert!(is_index(&cpu.copy_page(&mut pages, 3, page).unwrap_err()));
        let spans = [Span { first: 0, tokens: 1, start: 64, pages: vec![3, page] }];
        assert!(is_index(&cpu.attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0).unwrap_err()));
        // Behind the last key, a page is not looked at.
        let spans = [Span { first: 0, tokens: 1, start: 63, pages: vec![3, page] }];
        assert!(cpu.attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0).is_ok());
    }
    assert!(cpu.read_rows(&pages, &[Slot { page: 3, row: 64 }]).is_err());
    cpu.close_page(&mut pages, 3);
    assert_eq!(cpu.pages_bytes(&pages), 0);
    assert!(cpu.read_rows(&pages, &[Slot { page: 3, row: 0 }]).is_err());
    let error = cpu.pages(usize::MAX, RowFormat::Scalar).unwrap_err();
    assert!(matches!(error, KernelError::Shape { .. }), "{error}");
}
