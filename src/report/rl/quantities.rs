//! What figures of a run show: an axis, a caption, and a number of each step or of each evaluation.

use latent_train::rl::{AnswerStats, RlStepPoint};

use crate::report::statistics::Sample;

/// A number as a figure shows it.
pub(super) struct Quantity<T = RlStepPoint> {
    pub(super) axis: &'static str,
    pub(super) caption: &'static str,
    /// `None` where there is none.
    pub(super) of: fn(&T) -> Option<f64>,
}

/// Of the answers to questions that are held out.
pub(super) const HELD_OUT: [Quantity<AnswerStats>; 4] = [
    Quantity {
        axis: "right, %",
        caption: "Answers that are right, and in the right form.",
        of: |stats| Some(100.0 * stats.accuracy),
    },
    Quantity {
        axis: "in the right form, %",
        caption: "Answers in the right form.",
        of: |stats| Some(100.0 * stats.formed),
    },
    Quantity {
        axis: "thought, characters",
        caption: "Length of what stands between the tags of thinking.",
        of: |stats| Some(stats.thinking),
    },
    Quantity {
        axis: "answer, tokens",
        caption: "Length of a whole answer.",
        of: |stats| Some(stats.length),
    },
];

pub(super) const REWARD: Quantity = Quantity {
    axis: "reward",
    caption: "Reward of an answer.",
    of: |point| Some(point.stats.reward),
};

pub(super) const REWARD_OF_MATCHES: Quantity =
    Quantity { caption: "Reward of an answer, all of it for being right.", ..REWARD };

/// That for matches first.
pub(super) const REWARD_PARTS: [Quantity; 4] = [
    Quantity {
        axis: "reward for matches",
        caption: "The part of it for being right.",
        of: |point| Some(point.stats.parts.matched),
    },
    Quantity {
        axis: "reward for form",
        caption: "The part of it for form.",
        of: |point| Some(point.stats.parts.form),
    },
    Quantity {
        axis: "reward for language",
        caption: "The part of it for thoughts in one script.",
        of: |point| Some(point.stats.parts.language),
    },
    Quantity {
        axis: "reward for length",
        caption: "The part of it for length: a punishment.",
        of: |point| Some(point.stats.parts.length),
    },
];

pub(super) const SAME_REWARD: Quantity = Quantity {
    axis: "nothing to learn, %",
    caption: "Questions whose answers all earn the same: nothing is learned from them.",
    of: |point| Some(100.0 * point.frac_reward_zero_std),
};

pub(super) const LENGTH: Quantity = Quantity {
    axis: "answer, tokens",
    caption: "Length of an answer.",
    of: |point| Some(point.stats.length),
};

pub(super) const THINKING: Quantity = Quantity {
    axis: "thought, characters",
    caption: "Length of its thoughts.",
    of: |point| Some(point.stats.thinking),
};

pub(super) const CLIPPED: Quantity = Quantity {
    axis: "cut off, %",
    caption: "Answers that were cut off at the most tokens.",
    of: |point| Some(100.0 * point.stats.clipped),
};

pub(super) const ENTROPY: Quantity = Quantity {
    axis: "entropy, nats",
    caption: "Entropy of the distribution that a token is drawn from.",
    of: |point| point.entropy,
};

pub(super) const KL: Quantity = Quantity {
    axis: "divergence, nats",
    caption: "Divergence from the reference, a token.",
    of: |point| point.kl,
};

pub(super) const CLIP_HIGH: Quantity = Quantity {
    axis: "clipped from above, %",
    caption: "Tokens whose ratio was clipped from above.",
    of: |point| Some(100.0 * point.clip_high),
};

pub(super) const CLIP_LOW: Quantity = Quantity {
    axis: "clipped from below, %",
    caption: "Tokens whose ratio was clipped from below.",
    of: |point| Some(100.0 * point.clip_low),
};

pub(super) const GRAD_NORM: Quantity = Quantity {
    axis: "norm",
    caption: "Norm of the gradient before clipping.",
    of: |point| Some(point.grad_norm),
};

pub(super) const MAX_VIO: Quantity = Quantity {
    axis: "MaxVio of a step",
    caption: "The largest load of an expert over the mean, less 1: the mean over layers.",
    of: |point| point.max_vio.values().copied().collect::<Sample>().mean(),
};

pub(super) const SPEED: Quantity = Quantity {
    axis: "tokens/s",
    caption: "Tokens of answers over the time of a whole step, learning included.",
    of: |point| Some(point.stats.tokens as f64 / point.seconds).filter(|speed| speed.is_finite()),
};
