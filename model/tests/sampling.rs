//! From logits to tokens: each filter against its definition, draws against their frequencies,
//! stop strings against the whole text.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_model::sampling::filters::{self, Candidate};
use latent_model::sampling::{
    MAX_STOP_BYTES, MAX_STOPS, Sampler, SamplingConfig, SamplingError, StopStrings,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn drawing() -> SamplingConfig {
    SamplingConfig { temperature: 1.0, ..SamplingConfig::default() }
}

fn sampler(config: SamplingConfig) -> Sampler {
    Sampler::new(config).unwrap()
}

fn ranked(logits: &[f64]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> =
        (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }).collect();
    filters::rank(&mut all);
    all
}

fn ids(candidates: &[Candidate]) -> Vec<u32> {
    candidates.iter().map(|c| c.id).collect()
}

/// The logarithms of probabilities.
fn logits(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn settings_outside_of_their_range_are_named() {
    let good = drawing();
    let cases = [
        (SamplingConfig { temperature: f64::NAN, ..good }, "temperature"),
        (SamplingConfig { temperature: -1.0, ..good }, "temperature"),
        (SamplingConfig { temperature: 1e9, ..good }, "temperature"),
        (SamplingConfig { top_k: Some(0), ..good }, "top_k"),
        (SamplingConfig { top_p: 0.0, ..good }, "top_p"),
        (SamplingConfig { top_p: 1.1, ..good }, "top_p"),
        (SamplingConfig { top_p: f64::NAN, ..good }, "top_p"),
        (SamplingConfig { min_p: 2.0, ..good }, "min_p"),
        (SamplingConfig { min_p: -0.1, ..good }, "min_p"),
        (SamplingConfig { min_p: f64::NAN, ..good }, "min_p"),
        (SamplingConfig { repetition_penalty: 0.0, ..good }, "repetition_penalty"),
        (SamplingConfig { repetition_penalty: f64::INFINITY, ..good }, "repetition_penalty"),
        (SamplingConfig { repetition_penalty: f64::NAN, ..good }, "repetition_penalty"),
    ];
    for (config, field) in cases {
        let error = Sampler::new(config).unwrap_err();
        let SamplingError::Setting { name, .. } = &error else { panic!("{error}") };
        assert_eq!(name, field);
    }
    assert!(good.validate().is_ok());
}

#[test]
fn greedy_takes_the_largest_and_ties_go_to_the_lowest_id() {
    let mut greedy = sampler(SamplingConfig::default());
    assert_eq!(greedy.next(&[1.0_f32, 5.0, 2.0, 5.0], &[]).unwrap(), 1);
    assert_eq!(greedy.next(&[-3.0_f64, f64::NEG_INFINITY, -3.0], &[]).unwrap(), 0);
    assert_eq!(greedy.next(&[f64::NEG_INFINITY, f64::MIN], &[]).unwrap(), 1);
}

#[test]
fn bad_logits_are_errors_that_name_the_id() {
    for config in [SamplingConfig::default(), drawing()] {
        let mut sampler = sampler(config);
        for bad in [f32::NAN, f32::INFINITY] {
            let error = sampler.next(&[0.0, 1.0, bad], &[]).unwrap_err();
            assert!(matches!(error, SamplingError::Logit { id: 2, .. }), "{error}");
        }
        for none in [&[][..], &[f32::NEG_INFINITY; 3]] {
            let error = sampler.next(none, &[]).unwrap_err();
            assert_eq!(error, SamplingError::NoCandidate { found: none.len() });
        }
        let error = sampler.next(&[0.0_f32; 3], &[0, 3]).unwrap_err();
        assert_eq!(error, SamplingError::Previous { found: 3, limit: 3 });
    }
}

#[test]
fn the_penalty_divides_above_zero_and_multiplies_below_once() {
    let mut x = [4.0, -4.0, 0.0, 4.0, f64::NEG_INFINITY];
    filters::penalize_repetition(&mut x, &[0, 1, 2, 0, 0, 4], 2.0);
    assert_eq!(x.map(f64::to_bits), [2.0, -8.0, 0.0, 4.0, f64::NEG_INFINITY].map(f64::to_bits));
    let mut x = [f64::MAX, f64::MIN];
    filters::penalize_repetition(&mut x, &[0], 0.01);
    filters::penalize_repetition(&mut x, &[1], 100.0);
    assert_eq!(x.map(f64::to_bits), [f64::MAX, f64::MIN].map(f64::to_bits));
}

#[test]
fn a_repeated_token_loses_to_the_next() {
    let config = SamplingConfig { repetition_penalty: 2.0, ..SamplingConfig::default() };
    assert_eq!(sampler(config).next(&[3.0_f32, 2.0], &[1]).unwrap(), 0);
    assert_eq!(sampler(config).next(&[3.0_f32, 2.0], &[0]).unwrap(), 1);
}

#[test]
fn top_k_keeps_k_and_ties_keep_the_lowest_ids() {
    let cases: [(usize, &[u32]); 5] =
        [(1, &[1]), (2, &[1, 3]), (3, &[1, 3, 0]), (4, &[1, 3, 0, 2]), (9, &[1, 3, 0, 2])];
    for (k, kept) in cases {
        let mut all = ranked(&[1.0, 5.0, 1.0, 5.0]);
        filters::keep_top_k(&mut all, k);
        assert_eq!(ids(&all), kept, "k = {k}");
    }
}

#[test]
fn top_p_keeps_the_fewest_that_reach_the_mass() {
    let cases: [(f64, &[u32]); 6] = [
        (1e-9, &[2]),
        (0.49, &[2]),
        (0.51, &[2, 0]),
        (0.74, &[2, 0]),
        (0.76, &[2, 0, 1]),
        (1.0, &[2, 0, 1, 3]),
    ];
    for (p, kept) in cases {
        let mut all = ranked(&logits(&[0.25, 0.15, 0.5, 0.1]));
        filters::keep_top_p(&mut all, p);
        assert_eq!(ids(&all), kept, "p = {p}");
    }
}

#[test]
fn min_p_keeps_what_is_near_the_most_probable() {
    let cases: [(f64, &[u32]); 4] =
        [(0.0, &[2, 0, 1, 3]), (0.21, &[2, 0, 1]), (0.49, &[2, 0]), (1.0, &[2])];
    for (share, kept) in cases {
        let mut all = ranked(&logits(&[0.25, 0.15, 0.5, 0.1]));
        filters::keep_min_p(&mut all, share);
        assert_eq!(ids(&all), kept, "share = {share}");
    }
}

#[test]
fn filters_pass_over_nothing() {
    let mut none = Vec::new();
    filters::keep_top_k(&mut none, 3);
    filters::keep_top_p(&mut none, 0.5);
    filters::keep_min_p(&mut none, 0.5);
    assert!(none.is_empty());
    assert_eq!(filters::pick(&[], 0.5), None);
}

#[test]
fn a_draw_falls_where_the_running_sum_passes_it() {
    let p = [0.0, 0.25, 0.0, 0.75, 0.0];
    for (u, index) in [(0.0, 1), (0.2499, 1), (0.25, 3), (0.9999, 3)] {
        assert_eq!(filters::pick(&p, u), Some(index), "u = {u}");
    }
    assert_eq!(filters::pick(&[0.3, 0.3, 0.0], 0.99), Some(1));
}

#[test]
fn min_p_sees_the_logits_after_temperature() {
    let x = [0.0_f64, -2.0];
    let config = SamplingConfig { min_p: 0.2, ..drawing() };
    let drawn = |temperature| {
        let mut sampler = sampler(SamplingConfig { temperature, ..config });
        (0..200).any(|n| sampler.next(&x, &vec![0; n]).unwrap() == 1)
    };
    // exp(-2) = 0.135 is below 0.2, exp(-2/2) = 0.368 above.
    assert!(!drawn(1.0));
    assert!(drawn(2.0));
}

/// Pearson's statistic of `draws` tokens from `config` against `expected` probabilities.
fn chi_square(config: SamplingConfig, x: &[f64], expected: &[f64], draws: usize) -> f64 {
    let mut sampler = sampler(config);
    let mut counts = vec![0.0; x.len()];
    let previous = vec![0; draws];
    for n in 0..draws {
        counts[sampler.next(x, &previous[..n]).unwrap() as usize] += 1.0;
    }
    counts
        .iter()
        .zip(expected)
        .map(|(count, p)| {
            let wanted = p * draws as f64;
            if wanted == 0.0 {
                assert!(*count == 0.0, "a token of probability 0 was drawn");
                return 0.0;
            }
            (count - wanted).powi(2) / wanted
        })
        .sum()
}

#[test]
fn frequencies_are_the_probabilities() {
    let p = [0.1, 0.2, 0.3, 0.4];
    // Beyond 16.3, a statistic of 3 degrees of freedom has a probability of 0.001.
    assert!(chi_square(drawing(), &logits(&p), &p, 20_000) < 16.3);
    let squared = [1.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0, 16.0 / 30.0];
    let cold = SamplingConfig { temperature: 0.5, seed: 3, ..drawing() };
    assert!(chi_square(cold, &logits(&p), &squared, 20_000) < 16.3);
    let cut = SamplingConfig { top_k: Some(3), top_p: 0.7, seed: 4, ..drawing() };
    assert!(chi_square(cut, &logits(&p), &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0], 20_000) < 16.3);
}

#[test]
fn a_draw_follows_from_seed_and_position_alone() {
    let x = [0.0_f64; 64];
    let all: Vec<u32> = {
        let mut sampler = sampler(drawing());
        (0..32).map(|n| sampler.next(&x, &vec![0; n]).unwrap()).collect()
    };
    for n in (0..32).rev() {
        let resumed = sampler(drawing()).next(&x, &vec![5; n]).unwrap();
        assert_eq!(resumed, all[n], "position {n}");
    }
    let other: Vec<u32> = {
        let mut sampler = sampler(SamplingConfig { seed: 1, ..drawing() });
        (0..32).map(|n| sampler.next(&x, &vec![0; n]).unwrap()).collect()
    };
    assert_ne!(all, other);
    assert!(all.iter().any(|id| *id != all[0]));
}

/// By a ChaCha8 written in Python from RFC 8439's block function: key 42, zero nonce.
#[test]
fn the_stream_of_a_seed_is_fixed() {
    let mut sampler = sampler(SamplingConfig { seed: 42, ..drawing() });
    let ids: Vec<u32> =
        (0..8).map(|n| sampler.next(&[0.0_f32; 1000], &vec![0; n]).unwrap()).collect();
    assert_eq!(ids, [348, 285, 493, 367, 825, 67, 489, 266]);
}

#[test]
fn bad_stop_strings_are_refused() {
    let cases = [
        (vec![String::new()], "stop[0]"),
        (vec!["a".into(), String::new()], "stop[1]"),
        (vec!["a".into(); MAX_STOPS + 1], "stop"),
        (vec!["a".repeat(MAX_STOP_BYTES + 1)], "stop[0]"),
        (vec!["a".repeat(1 << 20)], "stop[0]"),
    ];
    for (stops, field) in cases {
        let SamplingError::Setting { name, .. } = StopStrings::new(stops).unwrap_err() else {
            panic!("{field}")
        };
        assert_eq!(name, field);
    }
    assert!(StopStrings::new(vec!["a".repeat(MAX_STOP_BYTES); MAX_STOPS]).is_ok());
}

#[test]
fn a_stop_string_is_found_over_pieces_and_false_starts_are_given_back() {
    let mut stop = StopStrings::new(vec!["</s>".into(), "\n\n".into()]).unwrap();
    let pieces = ["a <", "/", "b\n", "c", "</", "s", ">", "d"];
    let out: Vec<String> = pieces.iter().map(|p| stop.push(p)).collect();
    assert_eq!(out, ["a ", "", "</b", "\nc", "", "", "", ""]);
    assert_eq!(stop.stopped_by(), Some("</s>"));
    assert_eq!(stop.finish(), "");
}

#[test]
fn held_text_comes_out_at_the_end() {
    let mut stop = StopStrings::new(vec!["END".into()]).unwrap();
    assert_eq!(stop.push("the EN"), "the ");
    assert_eq!(stop.finish(), "EN");
    assert_eq!(stop.stopped_by(), None);
}

#[test]
fn the_stop_that_ends_first_wins_and_then_the_longest() {
    let run = |stops: &[&str], text: &str| {
        let mut stop = StopStrings::new(stops.iter().map(|&s| s.into()).collect()).unwrap();
        let out = stop.push(text) + &stop.finish();
        (out, stop.stopped_by().map(str::to_owned))
    };
    assert_eq!(run(&["abc", "b"], "xabc"), ("xa".into(), Some("b".into())));
    assert_eq!(run(&["c", "abc"], "xabc"), ("x".into(), Some("abc".into())));
    assert_eq!(run(&["aab"], "aaab"), ("a".into(), Some("aab".into())));
    assert_eq!(run(&[], "aaab"), ("aaab".into(), None));
    assert_eq!(run(&["é"], "caféé"), ("caf".into(), Some("é".into())));
}

fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..Default::default() }
}

/// Logits with ties and blocked tokens, at least one of them free.
fn any_logits() -> impl Strategy<Value = Vec<f64>> {
    let one = prop_oneof![
        4 => -8.0..8.0_f64,
        2 => (-2..2_i32).prop_map(f64::from),
        1 => Just(f64::NEG_INFINITY),
    ];
    prop::collection::vec(one, 1..40)
        .prop_filter("one is free", |x| x.iter().any(|x| x.is_finite()))
}

fn any_config() -> impl Strategy<Value = SamplingConfig> {
    let filters = (prop::option::of(1..12_usize), 0.01..=1.0_f64, 0.0..=1.0_f64);
    (0.01..5.0_f64, filters, 0.5..2.0_f64, any::<u64>()).prop_map(
        |(temperature, (top_k, top_p, min_p), repetition_penalty, seed)| SamplingConfig {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed,
        },
    )
}

/// What the filters keep, by their definitions over all tokens.
fn kept(x: &[f64], config: &SamplingConfig) -> Vec<u32> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap().then(a.cmp(&b)));
    order.truncate(config.top_k.unwrap_or(usize::MAX));
    let weight = |i: usize| ((x[i] - x[order[0]]) / config.temperature).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let before = |n: usize| order[..n].iter().map(|&i| weight(i)).sum::<f64>() / total;
    (0..order.len())
        .filter(|&n| n == 0 || config.top_p >= 1.0 || before(n) < config.top_p + 1e-9)
        .map(|n| order[n])
        .filter(|&i| weight(i) >= config.min_p - 1e-9)
        .map(|i| u32::try_from(i).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_drawn_was_kept(x in any_logits(), config in any_config(), n in 0_usize..50) {
        let config = SamplingConfig { repetition_penalty: 1.0, ..config };
        let id = sampler(config).next(&x, &vec![0; n]).unwrap();
        prop_assert!(x[id as usize].is_finite());
        prop_assert!(kept(&x, &config).contains(&id), "{} of {:?}", id, kept(&x, &config));
    }

    #[test]
    fn a_top_k_of_one_is_greedy(x in any_logits(), config in any_config()) {
        let config = SamplingConfig { top_k: Some(1), ..config };
        let greedy = SamplingConfig { temperature: 0.0, ..config };
        let previous = [0];
        prop_assert_eq!(
            sampler(config).next(&x, &previous).unwrap(),
            sampler(greedy).next(&x, &previous).unwrap()
        );
    }

    #[test]
    fn open_filters_keep_everything(x in any_logits()) {
        let all = ranked(&x);
        let mut filtered = all.clone();
        filters::keep_top_k(&mut filtered, usize::MAX);
        filters::keep_top_p(&mut filtered, 1.0);
        filters::keep_min_p(&mut filtered, 0.0);
        prop_assert_eq!(filtered, all);
    }

    #[test]
    fn filters_keep_a_front_and_never_nothing(
        x in any_logits(), k in 1_usize..12, p in 0.001..1.0_f64, share in 0.0..=1.0_f64
    ) {
        let all = ranked(&x);
        for filter in 0..3 {
            let mut part = all.clone();
            match filter {
                0 => filters::keep_top_k(&mut part, k),
                1 => filters::keep_top_p(&mut part, p),
                _ => filters::keep_min_p(&mut part, share),
            }
            prop_assert!(!part.is_empty());
            prop_assert_eq!(&part[..], &all[..part.len()]);
        }
    }

    #[test]
    fn the_kept_follow_a_permutation_of_ids(
        x in prop::collection::hash_set(-1000..1000_i32, 1..30), k in 1_usize..12,
        p in 0.01..1.0_f64, turn in 0_usize..30
    ) {
        let x: Vec<f64> = x.into_iter().map(|v| f64::from(v) / 100.0).collect();
        let turn = turn % x.len();
        let mut turned = x.clone();
        turned.rotate_left(turn);
        let keep = |x: &[f64]| {
            let mut all = ranked(x);
            filters::keep_top_k(&mut all, k);
            filters::keep_top_p(&mut all, p);
            all.iter().map(|c| c.logit).collect::<Vec<_>>()
        };
        prop_assert_eq!(keep(&x), keep(&turned));
    }

    #[test]
    fn a_tiny_temperature_is_greedy(x in prop::collection::hash_set(-50..50_i32, 1..20)) {
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let cold = SamplingConfig { temperature: f64::MIN_POSITIVE, ..drawing() };
        prop_assert_eq!(
            sampler(cold).next(&x, &[]).unwrap(),
            sampler(SamplingConfig::default()).next(&x, &[]).unwrap()
        );
    }

    #[test]
    fn stopping_does_not_depend_on_how_text_is_cut(
        text in "[abé]{0,30}", stops in prop::collection::vec("[abé]{1,4}", 0..4),
        cuts in prop::collection::vec(1_usize..5, 1..8)
    ) {
        let mut stop = StopStrings::new(stops.clone()).unwrap();
        let (mut out, mut rest) = (String::new(), text.as_str());
        for chars in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let at = rest.char_indices().nth(*chars).map_or(rest.len(), |(at, _)| at);
            out += &stop.push(&rest[..at]);
            rest = &rest[at..];
        }
        out += &stop.finish();
        let first = stops
            .iter()
            .filter_map(|s| text.find(s.as_str()).map(|at| (at + s.len(), at)))
            .min();
        prop_assert_eq!(out.as_str(), first.map_or(text.as_str(), |(_, at)| &text[..at]));
        prop_assert_eq!(stop.stopped_by().is_some(), first.is_some());
    }
}
