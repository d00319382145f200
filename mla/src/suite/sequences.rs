//! What is done to sequences leaves no trace in numbers or memory.

use latent_kernels::suite::assert_same_bits;
use latent_kernels::{Scalar, Tolerance};

use super::fixture::{for_forms, kinds};
use crate::{Attend, PAGE_TOKENS, PagedCache};

/// Two forks that go on differently have the bits of two sequences that never shared a page.
pub fn fork_then_append_equals_two_runs<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let hidden = f.config.hidden_size();
        for prompt in [0, 1, 63, 64, 70] {
            let x = f.tokens(1, prompt);
            let ends = [f.tokens(2, 3), f.tokens(3, 60)];
            let mut cache = f.cache(8 * 64);
            let a = cache.new_sequence();
            f.step(&mut cache, &[(a, &x)], form);
            let b = cache.fork(a).expect("held");
            let y = f.step(&mut cache, &[(a, &ends[0]), (b, &ends[1])], form);
            let more = f.step(&mut cache, &[(b, &ends[0]), (a, &ends[1])], form);
            let whole = [
                [x.clone(), ends[0].clone(), ends[1].clone()].concat(),
                [x, ends[1].clone(), ends[0].clone()].concat(),
            ];
            let got = [[&y[0][..], &more[1]].concat(), [&y[1][..], &more[0]].concat()];
            for (got, whole) in got.iter().zip(&whole) {
                let want = &f.alone(whole, form)[prompt * hidden..];
                assert_same_bits(got, want);
            }
        }
    });
}

/// Tokens that were cut off leave no trace in what follows, nor in a fork that keeps them.
pub fn truncate_then_append_equals_never_having_appended<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let hidden = f.config.hidden_size();
        for keep in [0, 1, 63, 64, 65] {
            let (x, wrong, right) = (f.tokens(1, keep), f.tokens(2, 70), f.tokens(3, 5));
            let mut cache = f.cache(8 * 64);
            let a = cache.new_sequence();
            f.step(&mut cache, &[(a, &[x.clone(), wrong.clone()].concat())], form);
            let kept = cache.fork(a).expect("held");
            cache.truncate(a, keep).expect("shorter");
            let y = f.step(&mut cache, &[(a, &right)], form).swap_remove(0);
            let want = f.alone(&[x.clone(), right.clone()].concat(), form);
            assert_same_bits(&y, &want[keep * hidden..]);
            let y = f.step(&mut cache, &[(kept, &right)], form).swap_remove(0);
            let want = f.alone(&[x, wrong, right].concat(), form);
            assert_same_bits(&y, &want[(keep + 70) * hidden..]);
        }
    });
}

/// A step that was written but not committed changes neither lengths nor bytes nor later bits.
pub fn a_dropped_step_leaves_no_trace<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let (x, lost, next) = (f.tokens(1, 60), f.tokens(2, 80), f.tokens(3, 6));
        let mut cache = f.cache(8 * 64);
        let a = cache.new_sequence();
        f.step(&mut cache, &[(a, &x)], form);
        let b = cache.fork(a).expect("held");
        let before = (cache.bytes(), cache.free_tokens());
        let step = cache.begin(&[(a, 80), (b, 80)]).expect("room");
        let hidden = f.config.hidden_size();
        let rows = backend.upload(&[&lost[..], &lost].concat(), &[160, hidden]).expect("rows");
        f.layer.forward(backend, &rows, &mut cache, &step, 0, form).expect("it fits");
        cache.abort(step).expect("open");
        assert_eq!((cache.bytes(), cache.free_tokens()), before);
        drop(cache.begin(&[(a, 80)]).expect("room"));
        let y = f.step(&mut cache, &[(b, &next), (a, &next)], form);
        let want = &f.alone(&[x, next].concat(), form)[60 * hidden..];
        assert_same_bits(&y[0], want);
        assert_same_bits(&y[1], want);
    });
}

/// No sequence, or only sequences without new tokens, give an empty result and take no memory.
pub fn an_empty_batch_gives_an_empty_result<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let mut cache = f.cache(64);
        let (a, b) = (cache.new_sequence(), cache.new_sequence());
        assert_eq!(f.step(&mut cache, &[], form), Vec::<Vec<B::Scalar>>::new());
        let empty = f.step(&mut cache, &[(a, &[]), (b, &[])], form);
        assert_eq!(empty, [vec![], vec![]]);
        assert_eq!((cache.len(a), cache.bytes()), (Ok(0), 0));
    });
}

/// Bytes in use are whole pages of what the kinds cache per token, and go back to 0.
pub fn bytes_counted_are_bytes_allocated<B: Attend>(backend: &B, _: Tolerance) {
    let configs: Vec<_> = kinds().into_iter().map(|(_, config)| config).collect();
    let mut cache = PagedCache::new(backend.clone(), &configs, 1000).expect("valid");
    // 2 groups of keys and values, or a latent and one rotated key.
    let elements = 2 * (3 * 6 + 2 * 18 + 2) + (36 + 6) * 3 + (5 + 6) + (17 + 6);
    assert_eq!(cache.bytes_per_token(), elements * B::Scalar::BYTES);
    assert_eq!(cache.bytes(), 0, "nothing is allocated before it is used");
    let page = PAGE_TOKENS * cache.bytes_per_token();
    let (a, b) = (cache.new_sequence(), cache.new_sequence());
    let grow = |cache: &mut PagedCache<B>, batch: &[_]| {
        let step = cache.begin(batch).expect("room");
        cache.commit(step).expect("open");
        cache.bytes()
    };
    assert_eq!(grow(&mut cache, &[(a, 64), (b, 65)]), 3 * page);
    let c = cache.fork(b).expect("held");
    assert_eq!(cache.bytes(), 3 * page, "a fork shares");
    assert_eq!(grow(&mut cache, &[(c, 1)]), 4 * page, "an append copies the shared page");
    assert_eq!(grow(&mut cache, &[(b, 1)]), 4 * page, "and the other owner keeps it");
    cache.truncate(b, 64).expect("longer");
    assert_eq!(cache.bytes(), 3 * page);
    for id in [a, b, c] {
        cache.release(id).expect("held");
    }
    assert_eq!((cache.bytes(), cache.free_tokens()), (0, 1024));
}

/// A row that was reserved but never written reads as NaN, also in a page that was used before.
pub fn unwritten_rows_are_nan<B: Attend>(backend: &B, _: Tolerance) {
    for_forms(backend, |f, form| {
        let mut cache = f.cache(64);
        for _ in 0..2 {
            let a = cache.new_sequence();
            let step = cache.begin(&[(a, 3)]).expect("room");
            cache.commit(step).expect("open");
            let rows = cache.read(0, a).and_then(|r| Ok(backend.download(&r)?)).expect("rows");
            assert_eq!(rows.len(), 3 * f.config.cached_elements());
            assert!(rows.iter().all(|v| v.as_f64().is_nan()), "{rows:?}");
            cache.truncate(a, 0).expect("longer");
            f.step(&mut cache, &[(a, &f.tokens(1, 64))], form);
            cache.release(a).expect("held");
        }
    });
}
