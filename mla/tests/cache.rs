//! Sequences, pages and steps of the cache, and every way to misuse it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use latent_mla::kernels::{Backend, KernelError, PairLayout, Reference};
use latent_mla::suite::{Fixture, kinds};
use latent_mla::{AttentionConfig, Form, GqaConfig, MlaError, PagedCache, RopeConfig, SequenceId};

type Cache = PagedCache<Reference<f64>>;

fn config(head_dim: usize) -> AttentionConfig {
    AttentionConfig::Grouped(GqaConfig {
        hidden_size: 2,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim,
        rope: RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::HalfSplit },
    })
}

fn cache(max_tokens: usize) -> Cache {
    PagedCache::new(Reference::new(), &[config(2), config(4)], max_tokens).unwrap()
}

/// Appends rows that name their sequence and position.
fn append(cache: &mut Cache, batch: &[(SequenceId, usize)], mark: f64) {
    let cpu = Reference::<f64>::new();
    let step = cache.begin(batch).unwrap();
    for (layer, width) in [(0, 4), (1, 8)] {
        let rows: Vec<f64> =
            step.positions().iter().flat_map(|&p| vec![mark + p as f64; width]).collect();
        let rows = cpu.upload(&rows, &[step.tokens(), width]).unwrap();
        cache.write(&step, layer, &rows).unwrap();
    }
    cache.commit(step).unwrap();
}

fn marks(cache: &Cache, id: SequenceId) -> Vec<f64> {
    let rows = Reference::new().download(&cache.read(0, id).unwrap()).unwrap();
    let wide = Reference::new().download(&cache.read(1, id).unwrap()).unwrap();
    let first: Vec<f64> = rows.chunks(4).map(|r| r[3]).collect();
    assert_eq!(first, wide.chunks(8).map(|r| r[7]).collect::<Vec<_>>());
    first
}

fn counted(from: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| from + i as f64).collect()
}

#[test]
fn rows_are_read_back_in_the_order_of_positions() {
    let mut c = cache(1024);
    let (a, b) = (c.new_sequence(), c.new_sequence());
    append(&mut c, &[(a, 3), (b, 70)], 100.0);
    append(&mut c, &[(b, 1), (a, 130)], 100.0);
    assert_eq!(marks(&c, a), counted(100.0, 133));
    assert_eq!(marks(&c, b), counted(100.0, 71));
}

#[test]
fn positions_and_slots_continue_each_sequence() {
    let mut c = cache(1024);
    let (a, b) = (c.new_sequence(), c.new_sequence());
    append(&mut c, &[(a, 63)], 0.0);
    let step = c.begin(&[(b, 2), (a, 3)]).unwrap();
    assert_eq!(step.positions(), [0, 1, 63, 64, 65]);
    let rows: Vec<usize> = step.slots().iter().map(|s| s.row).collect();
    assert_eq!(rows, [0, 1, 63, 0, 1]);
    let spans: Vec<_> = step.spans().iter().map(|s| (s.first, s.tokens, s.start)).collect();
    assert_eq!(spans, [(0, 2, 0), (2, 3, 63)]);
}

#[test]
fn a_fork_and_its_origin_do_not_see_each_others_appends() {
    let mut c = cache(1024);
    let a = c.new_sequence();
    append(&mut c, &[(a, 70)], 0.0);
    let b = c.fork(a).unwrap();
    append(&mut c, &[(a, 2)], 1000.0);
    append(&mut c, &[(b, 3)], 2000.0);
    assert_eq!(marks(&c, a), [counted(0.0, 70), counted(1070.0, 2)].concat());
    assert_eq!(marks(&c, b), [counted(0.0, 70), counted(2070.0, 3)].concat());
}

#[test]
fn a_cut_fork_leaves_its_origin_whole() {
    let mut c = cache(1024);
    let a = c.new_sequence();
    append(&mut c, &[(a, 100)], 0.0);
    let b = c.fork(a).unwrap();
    c.truncate(b, 10).unwrap();
    append(&mut c, &[(b, 5)], 1000.0);
    assert_eq!(marks(&c, a), counted(0.0, 100));
    assert_eq!(marks(&c, b), [counted(0.0, 10), counted(1010.0, 5)].concat());
}

#[test]
fn a_full_cache_refuses_and_stays_as_it_was() {
    let mut c = cache(128);
    let a = c.new_sequence();
    append(&mut c, &[(a, 120)], 0.0);
    let error = c.begin(&[(a, 9)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cache full: 1 sequence(s) hold 120 tokens in 2 of 2 pages of 64; 9 more need 1 page(s), \
         max_tokens is 128"
    );
    assert_eq!((c.len(a), c.free_tokens()), (Ok(120), 0));
    append(&mut c, &[(a, 8)], 0.0);
    assert_eq!(marks(&c, a), counted(0.0, 128));
    c.release(a).unwrap();
    let b = c.new_sequence();
    append(&mut c, &[(b, 128)], 7.0);
    assert_eq!(marks(&c, b), counted(7.0, 128));
}

/// Pages run out before tokens do: the message counts both, and says what the user set.
#[test]
fn a_full_cache_says_what_it_holds_and_what_the_step_needs() {
    let mut c = cache(130);
    let [a, b, empty] = [c.new_sequence(), c.new_sequence(), c.new_sequence()];
    append(&mut c, &[(a, 3)], 0.0);
    append(&mut c, &[(b, 2)], 0.0);
    let fork = c.fork(b).unwrap();
    let error = c.begin(&[(a, 1), (fork, 4), (empty, 65)]).unwrap_err();
    let wanted = MlaError::CacheFull {
        sequences: 3,
        held: 7,
        pages_held: 2,
        new: 70,
        pages_wanted: 3,
        max_tokens: 130,
    };
    assert_eq!(error, wanted);
    assert_eq!(
        error.to_string(),
        "cache full: 3 sequence(s) hold 7 tokens in 2 of 3 pages of 64; 70 more need 3 page(s), \
         max_tokens is 130"
    );
}

#[test]
fn a_hostile_number_of_tokens_is_a_full_cache() {
    let mut c = cache(128);
    let (a, b) = (c.new_sequence(), c.new_sequence());
    append(&mut c, &[(a, 1)], 0.0);
    for batch in [vec![(a, usize::MAX)], vec![(a, usize::MAX), (b, usize::MAX)]] {
        assert!(matches!(c.begin(&batch), Err(MlaError::CacheFull { .. })));
    }
    let mut unbounded = cache(usize::MAX);
    let c = unbounded.new_sequence();
    append(&mut unbounded, &[(c, 3)], 0.0);
    assert_eq!(marks(&unbounded, c), counted(0.0, 3));
}

#[test]
fn a_shared_page_needs_room_for_its_copy() {
    let mut c = cache(64);
    let a = c.new_sequence();
    append(&mut c, &[(a, 10)], 0.0);
    let b = c.fork(a).unwrap();
    assert!(matches!(c.begin(&[(b, 1)]), Err(MlaError::CacheFull { .. })));
    assert_eq!(c.begin(&[(a, 0), (b, 0)]).unwrap().tokens(), 0);
    c.release(a).unwrap();
    append(&mut c, &[(b, 1)], 0.0);
    assert_eq!(marks(&c, b), counted(0.0, 11));
}

#[test]
fn truncating_beyond_the_end_is_an_error() {
    let mut c = cache(128);
    let a = c.new_sequence();
    append(&mut c, &[(a, 5)], 0.0);
    let error = c.truncate(a, 6).unwrap_err();
    assert_eq!(error, MlaError::Truncate { found: 6, len: 5 });
    assert_eq!(error.to_string(), "truncate: to 6 tokens, the sequence has 5");
    assert_eq!(c.len(a), Ok(5));
}

#[test]
fn a_released_sequence_is_unknown_even_when_its_place_is_taken() {
    let mut c = cache(128);
    let a = c.new_sequence();
    append(&mut c, &[(a, 5)], 0.0);
    c.release(a).unwrap();
    let b = c.new_sequence();
    let gone = MlaError::UnknownSequence { id: a };
    assert_eq!(c.fork(a), Err(gone.clone()));
    assert_eq!(c.len(a), Err(gone.clone()));
    assert_eq!(c.truncate(a, 0), Err(gone.clone()));
    assert_eq!(c.release(a), Err(gone.clone()));
    assert_eq!(c.read(0, a).unwrap_err(), gone);
    assert_eq!(c.begin(&[(b, 1), (a, 1)]).unwrap_err(), gone);
    assert_eq!(c.bytes(), 0);
    assert!(gone.to_string().starts_with("sequence 0.0: not in this cache"), "{gone}");
}

#[test]
fn a_sequence_twice_in_one_step_is_an_error() {
    let mut c = cache(128);
    let a = c.new_sequence();
    let error = c.begin(&[(a, 1), (a, 0)]).unwrap_err();
    assert_eq!(error, MlaError::RepeatedSequence { id: a });
    assert_eq!(c.bytes(), 0);
}

#[test]
fn a_layer_out_of_range_is_an_error() {
    let mut c = cache(128);
    let a = c.new_sequence();
    let step = c.begin(&[(a, 0)]).unwrap();
    let error = MlaError::Layer { found: 2, layers: 2 };
    let rows = Reference::new().upload(&[], &[0, 4]).unwrap();
    assert_eq!(c.write(&step, 2, &rows), Err(error.clone()));
    assert_eq!(c.read(2, a).unwrap_err(), error);
    assert_eq!(c.pages(2).unwrap_err(), error);
    assert_eq!(c.check(&step, 2, &config(2)), Err(error));
}

#[test]
fn a_row_of_another_width_is_an_error() {
    let mut c = cache(128);
    let a = c.new_sequence();
    let step = c.begin(&[(a, 1)]).unwrap();
    for shape in [[1, 8], [2, 4]] {
        let rows = Reference::new().upload(&[0.0; 8], &shape).unwrap();
        let error = c.write(&step, 0, &rows).unwrap_err();
        assert!(matches!(error, MlaError::Kernel(KernelError::Shape { .. })), "{error}");
    }
}

#[test]
fn a_stale_step_is_refused() {
    let mut c = cache(1024);
    let a = c.new_sequence();
    let first = c.begin(&[(a, 1)]).unwrap();
    let second = c.begin(&[(a, 1)]).unwrap();
    let error = MlaError::StaleStep { found: Some(1), open: Some(2) };
    assert_eq!(c.check(&first, 0, &config(2)), Err(error.clone()));
    assert_eq!(c.commit(first), Err(error));
    c.fork(a).unwrap();
    let error = c.commit(second).unwrap_err();
    assert_eq!(error, MlaError::StaleStep { found: Some(2), open: None });
    assert_eq!(error.to_string(), "step 2: stale, the cache has no step open");
    assert_eq!((c.len(a), c.bytes()), (Ok(0), 0));
}

#[test]
fn a_step_of_another_cache_is_refused() {
    let (mut one, mut two) = (cache(128), cache(128));
    let (a, b) = (one.new_sequence(), two.new_sequence());
    let (step, own) = (one.begin(&[(a, 1)]).unwrap(), two.begin(&[(b, 1)]).unwrap());
    assert_eq!(two.abort(step), Err(MlaError::StaleStep { found: None, open: Some(1) }));
    two.commit(own).unwrap();
    assert_eq!(two.len(b), Ok(1));
}

#[test]
fn a_failed_operation_does_not_end_the_open_step() {
    let mut c = cache(128);
    let a = c.new_sequence();
    let step = c.begin(&[(a, 1)]).unwrap();
    assert!(c.truncate(a, 1).is_err());
    c.commit(step).unwrap();
    assert_eq!(c.len(a), Ok(1));
}

#[test]
fn a_layer_refuses_the_cache_of_another_config() {
    let cpu = Reference::<f64>::new();
    let kinds = kinds();
    let fixture = Fixture::new(&cpu, &kinds[0].1);
    let configs: Vec<_> = kinds.iter().map(|(_, c)| c.clone()).collect();
    let mut c = PagedCache::new(cpu, &configs, 64).unwrap();
    let a = c.new_sequence();
    let step = c.begin(&[(a, 1)]).unwrap();
    let x = cpu.upload(&fixture.tokens(1, 1), &[1, 20]).unwrap();
    assert!(fixture.layer.forward(&cpu, &x, &mut c, &step, 0, Form::Auto).is_ok());
    let error = fixture.layer.forward(&cpu, &x, &mut c, &step, 1, Form::Auto).unwrap_err();
    let (found, wanted) = (Box::new(configs[0].clone()), Box::new(configs[1].clone()));
    assert_eq!(error, MlaError::CacheConfig { layer: 1, found, wanted });
    let other = cpu.upload(&fixture.tokens(1, 2), &[2, 20]).unwrap();
    let error = fixture.layer.forward(&cpu, &other, &mut c, &step, 0, Form::Auto).unwrap_err();
    assert_eq!(error.to_string(), "attention: x: shape [2, 20], want [1, 20]");
}

#[test]
fn an_unusable_config_is_an_error() {
    let error = PagedCache::new(Reference::<f32>::new(), &[config(3)], 64).unwrap_err();
    assert_eq!(error.to_string(), "head_dim: must be an even number: RoPE turns pairs, got 3");
}
