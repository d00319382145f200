//! Who is at work on an operation, and whether more may come.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Task, pause};

/// Lets threads in to a task while it is open, and counts those inside.
///
/// Entering and closing are steps of one word, so that one of the two is first: who is inside is waited for, and who
/// comes later stays out. The task is looked up inside alone. So whatever a thread saw before it entered, it finds
/// the task for which the door is open.
///
/// On a cache line of its own, which brings the task along with the news that there is one.
#[repr(align(64))]
pub(super) struct Door {
    /// In the lower half those inside; in the upper how often it was opened or closed: it is open where that is odd.
    word: AtomicU64,
    /// Written while the door is closed and nobody is inside.
    task: UnsafeCell<*const Task<'static>>,
}

// SAFETY: tasks are `Sync`. Between any look at `task` and any write to it lies a step of the word: see `open_for`.
unsafe impl Send for Door {}
// SAFETY: as above.
unsafe impl Sync for Door {}

/// How often a door was opened or closed, modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State(u64);

/// One who is inside, until it is dropped.
pub(super) struct Inside<'a>(&'a Door);

/// Closes an open door, and waits for those inside.
struct Close<'a>(&'a Door);

impl State {
    fn of(word: u64) -> Self {
        Self(word >> 32)
    }

    fn is_open(self) -> bool {
        self.0 % 2 == 1
    }
}

impl Default for Door {
    fn default() -> Self {
        Self { word: AtomicU64::new(0), task: UnsafeCell::new(&|_| {}) }
    }
}

impl Door {
    pub(super) fn state(&self) -> State {
        // In one order with what sleepers say of themselves.
        State::of(self.word.load(Ordering::SeqCst))
    }

    /// Lets threads in to `task` while `meanwhile` runs, and returns when all of them have left: with what
    /// they wrote, as they had what was written before.
    ///
    /// # Safety
    /// One caller at a time.
    pub(super) unsafe fn open_for(&self, task: &Task<'_>, meanwhile: impl FnOnce()) {
        // SAFETY: only the lifetime changes, and nobody looks at the task after this function.
        let task: *const Task<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(task)) };
        // SAFETY: the door is closed and empty, since it was new or since the last caller saw it so, and nobody looks
        // from outside.
        unsafe { *self.task.get() = task };
        self.turn(1);
        // Also when `meanwhile` panics.
        let _close = Close(self);
        meanwhile();
    }

    /// Goes in, if the door is open and has not moved since it was in `state`.
    pub(super) fn enter(&self, state: State) -> Option<Inside<'_>> {
        let one_more = |word| (state.is_open() && State::of(word) == state).then_some(word + 1);
        let entered = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| Inside(self))
    }

    /// Changes the state of a door that is closed, and stays so.
    pub(super) fn rattle(&self) {
        self.turn(2);
    }

    fn turn(&self, times: u64) {
        self.word.fetch_add(times << 32, Ordering::SeqCst);
    }

    fn is_empty(&self) -> bool {
        self.word.load(Ordering::Acquire) & u64::from(u32::MAX) == 0
    }
}

impl Inside<'_> {
    pub(super) fn task(&self) -> &Task<'_> {
        // SAFETY: written before the door was opened, and neither written again nor gone before this has left.
        unsafe { &**self.0.task.get() }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.turn(1);
        let mut looks = 0;
        while !self.0.is_empty() {
            pause(looks);
            looks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_door_lets_nobody_in() {
        let door = Door::default();
        let new = door.state();
        assert!(door.enter(new).is_none(), "never opened");
        door.turn(1);
        let open = door.state();
        assert!(open != new && door.enter(open).is_some());
        door.turn(1);
        assert!(door.enter(open).is_none(), "closed meanwhile");
        assert!(door.enter(door.state()).is_none(), "seen closed");
        door.rattle();
        assert!(door.enter(door.state()).is_none(), "rattled");
        assert!(door.is_empty(), "who stayed out does not count");
    }

    #[test]
    fn who_saw_one_operation_does_not_enter_the_next_by_it() {
        let door = Door::default();
        door.turn(1);
        let last = door.state();
        door.turn(2);
        assert!(door.enter(last).is_none());
        assert!(door.enter(door.state()).is_some());
    }

    #[test]
    fn a_door_is_empty_when_all_who_entered_have_left() {
        let door = Door::default();
        door.turn(1);
        let (first, second) = (door.enter(door.state()), door.enter(door.state()));
        drop(first);
        door.turn(1);
        assert!(!door.is_empty(), "closing puts nobody out");
        drop(second);
        assert!(door.is_empty());
    }

    #[test]
    fn states_begin_again_without_harm() {
        let door = Door { word: AtomicU64::new(u64::MAX << 32), ..Door::default() };
        let open = door.state();
        let inside = door.enter(open);
        door.turn(1);
        assert!(door.enter(open).is_none() && !door.is_empty());
        drop(inside);
        assert!(door.is_empty());
    }
}
