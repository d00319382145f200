//! The two forms of latent attention are one function.

use std::cell::Cell;

use latent_kernels::suite::{Values, assert_same_bits};
use latent_kernels::{Tolerance, assert_close, max_difference};

use super::fixture::{for_forms, for_kinds};
use crate::{Attend, AttentionConfig, Form, RowFormat, RowLayout, Slot, Span};

/// Absorbed and expanded form give the same outputs within the tolerance.
pub fn absorbed_equals_expanded<B: Attend>(backend: &B, tolerance: Tolerance) {
    for_kinds(backend, |f| {
        for tokens in [1, 2, 65] {
            let x = f.tokens(1, tokens);
            assert_close(&f.alone(&x, Form::Absorbed), &f.alone(&x, Form::Expanded), tolerance);
        }
    });
}

/// `Auto` gives each sequence the bits of one fixed form, the one that `resolve` names, in a batch
/// that mixes forms as well as alone.
pub fn auto_takes_one_form_per_sequence_and_ignores_batch_mates<B: Attend>(
    backend: &B,
    _: Tolerance,
) {
    let mixed = Cell::new(false);
    for_kinds(backend, |f| {
        let AttentionConfig::Latent(sizes) = &f.config else { return };
        let past = [f.tokens(1, 100), f.tokens(2, 3), f.tokens(3, 70), f.tokens(4, 0)];
        let new = [f.tokens(5, 1), f.tokens(6, 40), f.tokens(7, 1), f.tokens(8, 9)];
        let run = |chosen: &[usize], form: Form| {
            let mut cache = f.cache(4 * 128);
            let ids: Vec<_> = chosen.iter().map(|_| cache.new_sequence()).collect();
            let mut step = |part: &[Vec<B::Scalar>], form| {
                let batch: Vec<_> =
                    ids.iter().zip(chosen).map(|(&id, &i)| (id, &part[i][..])).collect();
                f.step(&mut cache, &batch, form)
            };
            step(&past, Form::Absorbed);
            step(&new, form)
        };
        let hidden = sizes.hidden_size;
        let together = run(&[0, 1, 2, 3], Form::Auto);
        let mut forms = Vec::new();
        for i in 0..4 {
            let (past, new) = (past[i].len() / hidden, new[i].len() / hidden);
            let form = Form::Auto.resolve(sizes.dims(), new, past + new);
            assert_same_bits(&together[i], &run(&[i], form)[0]);
            forms.push(form);
        }
        if forms.contains(&Form::Absorbed) && forms.contains(&Form::Expanded) {
            mixed.set(true);
        }
    });
    assert!(mixed.get(), "no batch mixed both forms");
}

/// Queries and keys rotated by a common offset give the same attention: scores depend on distances
/// alone.
pub fn a_common_offset_changes_no_score<B: Attend>(backend: &B, tolerance: Tolerance) {
    for_kinds(backend, |f| {
        let (table, dim, scale) = match &f.config {
            AttentionConfig::Latent(c) => (c.rope_table(), c.qk_rope_head_dim, c.softmax_scale()),
            AttentionConfig::Grouped(c) => (c.rope_table(), c.head_dim, c.softmax_scale()),
        };
        let table = table.expect("a valid rotation");
        let (tokens, heads, value_dim) = (5, 2, 3);
        let array = |seed, shape: &[usize]| {
            let values = Values::new(seed).draw(shape.iter().product());
            backend.upload(&values, shape).expect("values fit")
        };
        let run = |offset: usize| {
            let positions: Vec<usize> = (offset..offset + tokens).collect();
            let turn = |x| backend.rope(&x, &table, &positions).expect("it fits");
            let q = turn(array(1, &[tokens, heads, dim]));
            let k = turn(array(2, &[tokens, 1, dim]));
            let k = backend.reshape(k, &[tokens, dim]).expect("one head");
            let rows = backend.join_columns(&k, &array(3, &[tokens, value_dim])).expect("rows");
            let mut pages = backend.pages(dim + value_dim, RowFormat::Scalar).expect("a small row");
            backend.open_page(&mut pages, 0).expect("a page");
            let slots: Vec<_> = (0..tokens).map(|row| Slot { page: 0, row }).collect();
            backend.write_rows(&mut pages, &slots, &rows).expect("rows fit");
            let spans = [Span { first: 0, tokens, start: 0, pages: vec![0] }];
            let layout = RowLayout { kv_heads: 1, key_dim: dim, value_dim, value_offset: dim };
            let o = backend.attend(&q, &pages, &spans, layout, scale).expect("it fits");
            backend.download(&o).expect("a result")
        };
        let want = run(0);
        for offset in [1, 7, 1000] {
            // Angles grow with the offset, and with them the rounding of sines and cosines.
            assert_close(&run(offset), &want, tolerance);
        }
    });
    // Were positions lost, the order of the past would not matter.
    for_forms(backend, |f, form| {
        let [a, b, last] = [f.tokens(1, 1), f.tokens(2, 1), f.tokens(3, 1)];
        let one = f.alone(&[a.clone(), b.clone(), last.clone()].concat(), form);
        let other = f.alone(&[b, a, last].concat(), form);
        let last = 2 * f.config.hidden_size()..;
        let moved = max_difference(&one[last.clone()], &other[last]);
        assert!(moved > 1e-5, "positions leave no trace: {moved:e}");
    });
}
