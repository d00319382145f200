//! A token's result depends on its own sequence up to itself, bit for bit, and on nothing else.

use latent_kernels::Tolerance;
use latent_kernels::suite::{assert_same_bits, assert_threads_change_no_bit, for_some};
use proptest::prelude::*;

use super::fixture::for_forms;
use crate::Attend;

/// One token at a time gives the bits of the whole prompt at once.
pub fn decode_equals_prefill<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let x = f.tokens(1, 67);
        let want = f.alone(&x, form);
        let mut cache = f.cache(67);
        let id = cache.new_sequence();
        let decoded: Vec<_> = x
            .chunks_exact(f.config.hidden_size())
            .flat_map(|token| f.step(&mut cache, &[(id, token)], form).swap_remove(0))
            .collect();
        assert_same_bits(&decoded, &want);
    });
}

/// Any schedule of steps, each with any number of new tokens per sequence in any order, gives each
/// sequence the bits that it has alone in one step.
pub fn any_mix_of_prefill_and_decode_changes_no_bit<B: Attend>(backend: &B, _: Tolerance) {
    let sizes = prop::sample::select(vec![0_usize, 1, 1, 1, 2, 5, 31, 63, 64, 65]);
    let schedule = prop::collection::vec((prop::array::uniform3(sizes), any::<bool>()), 1..4);
    for_forms(backend, |f, form| {
        for_some(6, &schedule, |steps| {
            let hidden = f.config.hidden_size();
            let total = |s: usize| steps.iter().map(|(n, _)| n[s]).sum::<usize>();
            let x: Vec<_> = (0..3).map(|s| f.tokens(s as u64, total(s))).collect();
            let mut cache = f.cache(3 * 256);
            let ids = [cache.new_sequence(), cache.new_sequence(), cache.new_sequence()];
            let mut got = vec![Vec::new(); 3];
            for (new, reversed) in &steps {
                let order = if *reversed { [2, 1, 0] } else { [0, 1, 2] };
                let batch = order.map(|s| (ids[s], &x[s][got[s].len()..][..new[s] * hidden]));
                for (s, y) in order.into_iter().zip(f.step(&mut cache, &batch, form)) {
                    got[s].extend(y);
                }
            }
            for s in 0..3 {
                assert_same_bits(&got[s], &f.alone(&x[s], form));
            }
        });
    });
}

/// A sequence whose pages lie scattered and in another order has the same bits, and what pages
/// held before does not show.
pub fn page_placement_changes_no_bit<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let x = f.tokens(1, 200);
        let mut cache = f.cache(8 * 64);
        let others: Vec<_> = (0..8).map(|_| cache.new_sequence()).collect();
        for &other in &others {
            let poison = f.tokens(99, 64);
            f.step(&mut cache, &[(other, &poison)], form);
        }
        for i in [5, 0, 7, 2] {
            cache.release(others[i]).expect("held");
        }
        let id = cache.new_sequence();
        let step = cache.begin(&[(id, 200)]).expect("room");
        assert_ne!(step.spans()[0].pages, [0, 1, 2, 3], "pages lie in order");
        cache.abort(step).expect("open");
        let y = f.step(&mut cache, &[(id, &x)], form).swap_remove(0);
        assert_same_bits(&y, &f.alone(&x, form));
    });
}

/// One thread and three give the same bits.
pub fn threads_change_no_bit<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let x = f.tokens(1, 70);
        assert_threads_change_no_bit(|| f.alone(&x, form));
    });
}

/// Later tokens, in the same step or a later one, change no earlier output.
pub fn future_tokens_do_not_change_the_past<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let hidden = f.config.hidden_size();
        let (past, future) = (f.tokens(1, 66), f.tokens(2, 4));
        let want = f.alone(&past, form);
        let longer = f.alone(&[past.clone(), future].concat(), form);
        assert_same_bits(&longer[..66 * hidden], &want);
        // The last output does depend on former inputs: attention happens at all.
        let other = f.alone(&[f.tokens(3, 65), past[65 * hidden..].to_vec()].concat(), form);
        assert!(other[65 * hidden..] != want[65 * hidden..], "the past leaves no trace");
    });
}
