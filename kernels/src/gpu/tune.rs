//! Choosing between plans by timing them once on the device.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Gpu, held};
use crate::KernelError;

/// How often a plan is timed after it ran once; the fastest counts.
const RUNS: usize = 3;

/// What was found to be fastest, by kernel and kind of problem.
#[derive(Debug, Default)]
pub(super) struct Tuned {
    fastest: HashMap<(&'static str, Vec<usize>), usize>,
}

impl Gpu {
    /// The fastest of `plans` for problems of the kind `key`: each is run and timed when the kind is
    /// met first, and remembered as long as the device is open.
    ///
    /// All plans must give the same bits. Runs that only measure are not in the ledger.
    ///
    /// # Errors
    /// Those of `run`.
    pub(crate) fn fastest<P: Copy>(
        &self,
        kernel: &'static str,
        key: &[usize],
        plans: &[P],
        run: impl Fn(P) -> Result<(), KernelError>,
    ) -> Result<P, KernelError> {
        let key = (kernel, key.to_vec());
        let known = held(&self.open.tuned).fastest.get(&key).copied();
        if let Some(best) = known {
            return Ok(plans[best]);
        }
        let ledger = held(&self.open.ledger).clone();
        let mut best = (0, Duration::MAX);
        for (i, &plan) in plans.iter().enumerate() {
            run(plan)?;
            self.wait()?;
            for _ in 0..RUNS {
                let start = Instant::now();
                run(plan)?;
                self.wait()?;
                if start.elapsed() < best.1 {
                    best = (i, start.elapsed());
                }
            }
        }
        *held(&self.open.ledger) = ledger;
        held(&self.open.tuned).fastest.insert(key, best.0);
        Ok(plans[best.0])
    }
}
