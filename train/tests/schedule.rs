//! Schedules: their ends, their shapes, their errors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_kernels::{Tolerance, assert_close};
use latent_train::{Cooldown, Schedule};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn factors(schedule: Schedule, steps: &[u64]) -> Vec<f64> {
    schedule.validate().unwrap();
    steps.iter().map(|&step| schedule.factor(step)).collect()
}

fn wsd(cooldown: Cooldown, floor: f64) -> Schedule {
    Schedule::Wsd { warmup: 4, stable: 10, decay: 16, cooldown, floor }
}

#[test]
fn a_constant_is_the_peak() {
    let got = factors(Schedule::Constant, &[0, 1, u64::MAX]);
    assert_close(&got, &[1.0; 3], Tolerance::EXACT);
}

#[test]
fn a_warm_up_is_a_line_that_ends_at_the_peak() {
    let cosine = Schedule::Cosine { warmup: 4, total: 100, floor: 0.1 };
    for schedule in [cosine, wsd(Cooldown::Linear, 0.1)] {
        let got = factors(schedule, &[0, 1, 2, 3, 4]);
        assert_close(&got, &[0.25, 0.5, 0.75, 1.0, 1.0], Tolerance::EXACT);
    }
}

#[test]
fn without_warm_up_the_first_step_is_at_the_peak() {
    let cooldown = Cooldown::Linear;
    for schedule in [
        Schedule::Cosine { warmup: 0, total: 3, floor: 0.0 },
        Schedule::Wsd { warmup: 0, stable: 0, decay: 1, cooldown, floor: 0.0 },
    ] {
        assert_close(&factors(schedule, &[0]), &[1.0], Tolerance::EXACT);
    }
}

#[test]
fn a_cosine_has_its_known_values() {
    // cos 60° = 1/2 and cos 120° = -1/2, between 1 and 0.2.
    let schedule = Schedule::Cosine { warmup: 2, total: 14, floor: 0.2 };
    let got = factors(schedule, &[2, 6, 8, 10, 14, 15, u64::MAX]);
    assert_close(&got, &[1.0, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2], Tolerance::F64);
}

#[test]
fn wsd_is_at_its_peak_until_it_decays() {
    for (cooldown, quarter) in [(Cooldown::Linear, 0.75), (Cooldown::OneMinusSqrt, 0.5)] {
        let got = factors(wsd(cooldown, 0.0), &[4, 9, 13, 14, 18, 30, u64::MAX]);
        assert_close(&got, &[1.0, 1.0, 1.0, 1.0, quarter, 0.0, 0.0], Tolerance::EXACT);
        let got = factors(wsd(cooldown, 0.5), &[18, 30]);
        assert_close(&got, &[0.5 + 0.5 * quarter, 0.5], Tolerance::EXACT);
    }
}

#[test]
fn the_rate_is_the_peak_times_the_factor() {
    let schedule = wsd(Cooldown::Linear, 0.0);
    assert_close(&[schedule.lr(8.0, 1), schedule.lr(8.0, 18)], &[4.0, 6.0], Tolerance::EXACT);
}

#[test]
fn schedules_without_meaning_are_named() {
    let message = |schedule: Schedule| schedule.validate().unwrap_err().to_string();
    let cosine = |warmup, total, floor| message(Schedule::Cosine { warmup, total, floor });
    for total in [0, 4, 5] {
        let want = format!("cosine.total: got {total}, want more than warmup, 5 steps");
        assert_eq!(cosine(5, total, 0.0), want);
    }
    let wsd = |stable, decay, floor| {
        let cooldown = Cooldown::Linear;
        message(Schedule::Wsd { warmup: 1, stable, decay, cooldown, floor })
    };
    assert_eq!(wsd(1, 0, 0.0), "wsd.decay: got 0, want at least one step");
    assert!(wsd(u64::MAX - 1, 1, 0.0).starts_with("wsd: got 1, 18446744073709551614 and 1, want"));
    for floor in [-0.1, 1.1, f64::NAN] {
        let want = |name| format!("{name}: got {floor}, want a number from 0 to 1");
        assert_eq!(cosine(5, 6, floor), want("cosine.floor"));
        assert_eq!(wsd(1, 1, floor), want("wsd.floor"));
    }
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let cooldown = prop::sample::select(vec![Cooldown::Linear, Cooldown::OneMinusSqrt]);
    let steps = (0_u64..9, 0_u64..9, 1_u64..30);
    (prop::bool::ANY, steps, cooldown, 0.0_f64..=1.0).prop_map(
        |(cosine, (warmup, stable, decay), cooldown, floor)| {
            if cosine {
                Schedule::Cosine { warmup, total: warmup + decay, floor }
            } else {
                Schedule::Wsd { warmup, stable, decay, cooldown, floor }
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_schedule_rises_to_one_and_falls_to_its_floor(schedule in any_schedule()) {
        schedule.validate().unwrap();
        let (warmup, floor) = match schedule {
            Schedule::Cosine { warmup, floor, .. } | Schedule::Wsd { warmup, floor, .. } => {
                (warmup, floor)
            }
            Schedule::Constant => unreachable!("none is drawn"),
        };
        let factors: Vec<f64> = (0..60).map(|step| schedule.factor(step)).collect();
        let (rise, fall) = factors.split_at(usize::try_from(warmup).unwrap());
        prop_assert!(rise.is_sorted() && fall.iter().rev().is_sorted());
        prop_assert!(factors.iter().all(|f| (0.0..=1.0).contains(f)));
        assert_close(&[fall[0], fall[fall.len() - 1]], &[1.0, floor], Tolerance::F64);
    }
}
