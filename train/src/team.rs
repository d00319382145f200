//! Work on several threads, each with something of its own.

use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// What `work` makes of each worker, in their order; each is on a thread of its own.
///
/// # Panics
/// When one does.
pub(crate) fn on_each<W: Sync, R: Send>(workers: &[W], work: impl Fn(&W) -> R + Sync) -> Vec<R> {
    let Some((first, others)) = workers.split_first() else { return Vec::new() };
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> =
            others.iter().map(|worker| scope.spawn(move || work(worker))).collect();
        let mut all = vec![work(first)];
        let others =
            others.into_iter().map(|other| other.join().unwrap_or_else(|p| resume_unwind(p)));
        all.extend(others);
        all
    })
}

/// What `work` makes of each item, in their order: a worker takes the next item that none has taken. The first
/// error by order is returned; items behind it may be left.
pub(crate) fn share<W: Sync, T: Send, R: Send, E: Send>(
    workers: &[W],
    items: Vec<T>,
    work: impl Fn(&W, T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = on_each(workers, |worker| {
        let mut done = Vec::new();
        loop {
            let Some((place, item)) = held(&waiting).next() else { return done };
            let found = work(worker, item);
            if found.is_err() {
                held(&waiting).by_ref().for_each(drop);
            }
            done.push((place, found));
        }
    });
    let mut done: Vec<_> = done.into_iter().flatten().collect();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, found)| found).collect()
}

/// What a lock holds, whatever happened to others that held it.
pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_items_whoever_made_them() {
        for workers in [1, 2, 5] {
            let workers: Vec<usize> = (0..workers).collect();
            let found = share(&workers, (0..100).collect(), |_, n: u32| Ok::<_, ()>(n * n));
            assert_eq!(found.unwrap(), (0..100).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let work = |_: &u8, n: u32| if n % 10 == 7 { Err(n) } else { Ok(n) };
        assert_eq!(share(&[0, 1, 2], (0..100).collect(), work), Err(7));
    }
}
