//! Attention over pages, at sizes that can be checked by hand, and its refusals.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use latent_mla::kernels::{Backend, Dtype, KernelError, Reference, Weight};
use latent_mla::{Attend, LatentDims, RowFormat, RowLayout, Slot, Span};

const CPU: fn() -> Reference<f64> = Reference::new;

type Pages = <Reference<f64> as Attend>::Pages;

/// Page 3 with the given rows; every other row of it is NaN.
fn pages(rows: &[f64], width: usize) -> Pages {
    let mut pages = CPU().pages(width, RowFormat::Scalar).unwrap();
    CPU().open_page(&mut pages, 3).unwrap();
    let slots: Vec<_> = (0..rows.len() / width).map(|row| Slot { page: 3, row }).collect();
    let rows = CPU().upload(rows, &[slots.len(), width]).unwrap();
    CPU().write_rows(&mut pages, &slots, &rows).unwrap();
    pages
}

fn span(first: usize, tokens: usize, start: usize) -> Span {
    Span { first, tokens, start, pages: vec![3] }
}

#[test]
fn equal_scores_give_the_mean_of_the_values_seen() {
    let pages = pages(&[0.0, 2.0, 0.0, 4.0, 0.0, 9.0], 2);
    let layout = RowLayout { kv_heads: 1, key_dim: 1, value_dim: 1, value_offset: 1 };
    let q = CPU().upload(&[5.0, 6.0, 7.0], &[3, 1, 1]).unwrap();
    let o = CPU().attend(&q, &pages, &[span(0, 3, 0)], layout, 1.0).unwrap();
    assert_eq!(CPU().download(&o).unwrap(), [2.0, 3.0, 5.0]);
}

#[test]
fn scores_are_scaled_before_the_softmax() {
    let pages = pages(&[0.0, 0.0, 1.0, 1.0], 2);
    let layout = RowLayout { kv_heads: 1, key_dim: 1, value_dim: 1, value_offset: 1 };
    let q = CPU().upload(&[4.0], &[1, 1, 1]).unwrap();
    let o = CPU().attend(&q, &pages, &[span(0, 1, 1)], layout, 0.5).unwrap();
    let want = 2.0_f64.exp() / (1.0 + 2.0_f64.exp());
    assert!((CPU().download(&o).unwrap()[0] - want).abs() < 1e-15);
}

#[test]
fn neighbouring_query_heads_share_a_group() {
    let pages = pages(&[1.0, 2.0, 10.0, 20.0], 4);
    let layout = RowLayout { kv_heads: 2, key_dim: 1, value_dim: 1, value_offset: 2 };
    let q = CPU().upload(&[0.0; 4], &[1, 4, 1]).unwrap();
    let o = CPU().attend(&q, &pages, &[span(0, 1, 0)], layout, 1.0).unwrap();
    assert_eq!(CPU().download(&o).unwrap(), [10.0, 10.0, 20.0, 20.0]);
}

#[test]
fn a_row_of_negative_infinity_sees_no_key_and_gives_0() {
    let pages = pages(&[f64::NEG_INFINITY, 2.0], 2);
    let layout = RowLayout { kv_heads: 1, key_dim: 1, value_dim: 1, value_offset: 1 };
    let q = CPU().upload(&[1.0], &[1, 1, 1]).unwrap();
    let o = CPU().attend(&q, &pages, &[span(0, 1, 0)], layout, 1.0).unwrap();
    assert_eq!(CPU().download(&o).unwrap(), [0.0]);
}

const DIMS: LatentDims = LatentDims {
    num_attention_heads: 2,
    kv_lora_rank: 2,
    qk_nope_head_dim: 1,
    qk_rope_head_dim: 2,
    v_head_dim: 1,
};

/// Head 0: key row [1, 2], value row [3, 4]; head 1: key row [5, 6], value row [7, 8].
fn kv_b() -> Weight {
    let values: Vec<f64> = (1..=8).map(f64::from).collect();
    Weight::encode(Dtype::Bf16, [4, 2], &values).unwrap()
}

#[test]
fn absorption_uses_the_key_rows_and_expansion_the_value_rows() {
    let q = CPU().upload(&[10.0, 100.0], &[1, 2, 1]).unwrap();
    let absorbed = CPU().absorb_query(&q, &kv_b(), DIMS).unwrap();
    assert_eq!(CPU().download(&absorbed).unwrap(), [10.0, 20.0, 500.0, 600.0]);
    let o = CPU().upload(&[1.0, 0.0, 0.0, 1.0], &[1, 2, 2]).unwrap();
    let values = CPU().expand_values(&o, &kv_b(), DIMS).unwrap();
    assert_eq!(CPU().download(&values).unwrap(), [3.0, 8.0]);
}

#[test]
fn one_key_expands_to_its_own_value() {
    let pages = pages(&[1.0, 1.0, 0.5, 0.5], 4);
    let q = CPU().upload(&[0.3; 6], &[1, 2, 3]).unwrap();
    let o = CPU().attend_expanded(&q, &pages, &[span(0, 1, 0)], &kv_b(), DIMS, 1.0).unwrap();
    assert_eq!(CPU().download(&o).unwrap(), [7.0, 15.0]);
}

#[test]
fn a_page_that_is_not_open_is_an_error() {
    let mut pages = pages(&[0.0, 1.0], 2);
    for page in [0, 4, 2_147_480_000, usize::MAX] {
        let slots = [Slot { page, row: 0 }];
        let found = CPU().read_rows(&pages, &slots).unwrap_err();
        assert!(matches!(found, KernelError::Index { found, .. } if found == page), "{found}");
        let rows = CPU().upload(&[0.0, 0.0], &[1, 2]).unwrap();
        assert!(CPU().write_rows(&mut pages, &slots, &rows).is_err());
        assert!(CPU().copy_page(&mut pages, page, 3).is_err());
        assert!(CPU().copy_page(&mut pages, 3, page).is_err());
    }
    assert!(CPU().read_rows(&pages, &[Slot { page: 3, row: 64 }]).is_err());
    CPU().close_page(&mut pages, 3);
    assert_eq!(CPU().pages_bytes(&pages), 0);
    assert!(CPU().read_rows(&pages, &[Slot { page: 3, row: 0 }]).is_err());
}

#[test]
fn arguments_that_do_not_fit_are_shape_errors() {
    let pages = pages(&[0.0; 8], 4);
    let layout = RowLayout { kv_heads: 2, key_dim: 1, value_dim: 1, value_offset: 2 };
    let attend = |shape: &[usize], spans: &[Span], layout| {
        let q = CPU().upload(&vec![0.0; shape.iter().product()], shape).unwrap();
        CPU().attend(&q, &pages, spans, layout, 1.0).unwrap_err()
    };
    let good = [span(0, 1, 0)];
    let mut errors = vec![
        attend(&[1, 3, 1], &good, layout),
        attend(&[1, 2, 2], &good, layout),
        attend(&[2, 2, 1], &good, layout),
        attend(&[1, 2, 1], &[span(1, 1, 0)], layout),
        attend(&[1, 2, 1], &[span(0, 1, 64)], layout),
        attend(&[1, 2, 1], &[span(0, 1, usize::MAX)], layout),
        attend(&[1, 2, 1], &good, RowLayout { value_offset: 3, ..layout }),
        attend(&[1, 2, 1], &good, RowLayout { kv_heads: 0, ..layout }),
        attend(&[1, 2, 1], &good, RowLayout { value_offset: usize::MAX, ..layout }),
    ];
    let q = CPU().upload(&[0.0; 6], &[1, 2, 3]).unwrap();
    let narrow = Weight::encode(Dtype::F32, [2, 2], &[0.0_f32; 4]).unwrap();
    errors.push(CPU().attend_expanded(&q, &pages, &good, &narrow, DIMS, 1.0).unwrap_err());
    errors.push(CPU().absorb_query(&q, &kv_b(), DIMS).unwrap_err());
    errors.push(CPU().expand_values(&q, &kv_b(), DIMS).unwrap_err());
    for error in errors {
        assert!(matches!(error, KernelError::Shape { .. }), "{error}");
    }
}
