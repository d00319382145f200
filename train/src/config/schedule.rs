//! `[schedule]`: how the learning rate goes.

use serde::{Deserialize, Serialize};

use super::TrainConfigError;
use super::error::want;
use crate::{Cooldown, Schedule};

/// How the learning rate goes, as a share of its peak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSection {
    /// Its shape.
    pub kind: ScheduleKind,
    /// The steps of the warm-up.
    pub warmup: u64,
    /// The last share of the peak.
    pub floor: Option<f64>,
    /// Of a cosine: the step from which on the share is the floor; absent, that of the run's end.
    pub total: Option<u64>,
    /// Of `wsd`: the steps at the peak; absent, what warm-up and decay leave of the run.
    pub stable: Option<u64>,
    /// Of `wsd`: the steps from the peak to the floor.
    pub decay: Option<u64>,
    /// Of `wsd`: the shape of the decay.
    pub cooldown: Option<CooldownKind>,
}

/// The shape of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// [`Schedule::Constant`]; no warm-up.
    Constant,
    /// [`Schedule::Cosine`].
    Cosine,
    /// [`Schedule::Wsd`].
    Wsd,
}

/// The shape of a decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CooldownKind {
    /// [`Cooldown::Linear`].
    Linear,
    /// [`Cooldown::OneMinusSqrt`].
    OneMinusSqrt,
}

impl Default for ScheduleSection {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup: 0,
            floor: None,
            total: None,
            stable: None,
            decay: None,
            cooldown: None,
        }
    }
}

impl ScheduleSection {
    /// The schedule of a run of `steps` steps. A floor that is absent is 0.1 for a cosine and 0 for
    /// `wsd`.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] when a setting is out of its range,
    /// [`TrainConfigError::NoMeaning`] when it belongs to another shape,
    /// [`TrainConfigError::Missing`] for `wsd` without a decay.
    pub fn resolve(&self, steps: u64) -> Result<Schedule, TrainConfigError> {
        self.check_meaning()?;
        let warmup = self.warmup;
        let floor = |default| {
            let floor = self.floor.unwrap_or(default);
            want((0.0..=1.0).contains(&floor), "schedule.floor", floor, "from 0 to 1")?;
            Ok::<_, TrainConfigError>(floor)
        };
        match self.kind {
            ScheduleKind::Constant => Ok(Schedule::Constant),
            ScheduleKind::Cosine => {
                let total = self.total.unwrap_or(steps);
                let wanted = format!("fewer than total, {total} steps");
                want(warmup < total, "schedule.warmup", warmup, wanted)?;
                Ok(Schedule::Cosine { warmup, total, floor: floor(0.1)? })
            }
            ScheduleKind::Wsd => {
                let because = r#"kind = "wsd" wants the steps of its decay"#.into();
                let missing = TrainConfigError::Missing { field: "schedule.decay", because };
                let decay = self.decay.ok_or(missing)?;
                want(decay > 0, "schedule.decay", decay, "at least 1")?;
                let rest = steps.checked_sub(warmup).and_then(|n| n.checked_sub(decay));
                let stable = self.stable.or(rest).ok_or_else(|| {
                    let wanted = format!("with warmup {warmup} at most the run's {steps} steps");
                    TrainConfigError::setting("schedule.decay", decay, wanted)
                })?;
                let end = warmup.checked_add(stable).and_then(|n| n.checked_add(decay));
                want(end.is_some(), "schedule.stable", stable, "a sum of steps below 2^64")?;
                let cooldown = match self.cooldown {
                    None | Some(CooldownKind::OneMinusSqrt) => Cooldown::OneMinusSqrt,
                    Some(CooldownKind::Linear) => Cooldown::Linear,
                };
                Ok(Schedule::Wsd { warmup, stable, decay, cooldown, floor: floor(0.0)? })
            }
        }
    }

    /// Proves that no key of another shape is given.
    fn check_meaning(&self) -> Result<(), TrainConfigError> {
        use ScheduleKind::{Constant, Cosine, Wsd};
        let each: [(&str, bool, &[ScheduleKind]); 6] = [
            ("schedule.warmup", self.warmup > 0, &[Cosine, Wsd]),
            ("schedule.floor", self.floor.is_some(), &[Cosine, Wsd]),
            ("schedule.total", self.total.is_some(), &[Cosine]),
            ("schedule.stable", self.stable.is_some(), &[Wsd]),
            ("schedule.decay", self.decay.is_some(), &[Wsd]),
            ("schedule.cooldown", self.cooldown.is_some(), &[Wsd]),
        ];
        let kind = match self.kind {
            Constant => "constant",
            Cosine => "cosine",
            Wsd => "wsd",
        };
        match each.iter().find(|(_, given, kinds)| *given && !kinds.contains(&self.kind)) {
            None => Ok(()),
            Some((field, ..)) => {
                let because = format!("with kind = {kind:?}");
                Err(TrainConfigError::NoMeaning { field, because })
            }
        }
    }
}
