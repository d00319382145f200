//! Which questions a step asks.

use crate::data::Cursor;
use crate::random::{Use, permutation};
use crate::tasks::{Part, Problem, Task};

/// The problems to train on, in each epoch in an order that the seed draws.
#[derive(Debug)]
pub(super) struct Questions<'a> {
    task: &'a Task,
    seed: u64,
    cursor: Cursor,
    order: Vec<usize>,
}

impl<'a> Questions<'a> {
    /// The problems from a cursor on, whose sequences are problems.
    pub(super) fn at(task: &'a Task, seed: u64, cursor: Cursor) -> Self {
        Self { task, seed, cursor, order: order(task, seed, cursor.epoch) }
    }

    /// Where the next question is.
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }
}

impl Iterator for Questions<'_> {
    type Item = Problem;

    fn next(&mut self) -> Option<Problem> {
        if self.cursor.sequence >= self.order.len() {
            self.cursor = Cursor { epoch: self.cursor.epoch.wrapping_add(1), sequence: 0 };
            self.order = order(self.task, self.seed, self.cursor.epoch);
        }
        let index = *self.order.get(self.cursor.sequence)?;
        self.cursor.sequence += 1;
        Some(self.task.problem(index as u64, Part::Train))
    }
}

fn order(task: &Task, seed: u64, epoch: u64) -> Vec<usize> {
    permutation(task.count(Part::Train), seed, Use::Questions, epoch)
}
