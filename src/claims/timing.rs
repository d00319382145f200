//! Timing side by side.

use std::time::Instant;

use crate::commands::CommandError;

/// The median seconds of each of some works, which take turns: what the machine does besides meets all of
/// them. The first round is not counted.
pub(super) fn medians(
    rounds: usize,
    works: usize,
    mut work: impl FnMut(usize) -> Result<(), CommandError>,
) -> Result<Vec<f64>, CommandError> {
    let mut seconds = vec![Vec::with_capacity(rounds); works];
    for round in 0..=rounds {
        for (index, seconds) in seconds.iter_mut().enumerate() {
            let start = Instant::now();
            work(index)?;
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let median = |mut each: Vec<f64>| {
        each.sort_by(f64::total_cmp);
        each.get(each.len() / 2).copied().unwrap_or(0.0)
    };
    Ok(seconds.into_iter().map(median).collect())
}

/// Seconds for people.
pub(super) fn shown(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", 1e6 * s),
        s if s < 1.0 => format!("{:.2} ms", 1e3 * s),
        s => format!("{s:.2} s"),
    }
}
