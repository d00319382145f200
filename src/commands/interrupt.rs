//! Ctrl-C, and whatever else asks a program to end.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::commands::error::INTERRUPTED;

/// Whether the program was asked to end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, what asks the program to end (SIGINT, SIGTERM, SIGHUP; Ctrl-C and Ctrl-Break) is
    /// noted the first time, and `first` runs; the second time it ends the program at once.
    ///
    /// # Errors
    /// That of the system when it does not let signals be handled; they end the program then.
    pub(crate) fn catch(&self, first: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
        let asked = self.0.clone();
        ctrlc::set_handler(move || {
            if asked.load(Ordering::Relaxed) {
                process::exit(INTERRUPTED.into());
            }
            // What it says stands before what the end of the run says.
            first();
            asked.store(true, Ordering::Relaxed);
        })
    }

    /// From now on, what asks the program to end does so at once, but for work that is done
    /// [`during`](Self::during).
    ///
    /// # Errors
    /// As [`catch`](Self::catch).
    pub(crate) fn catch_during(&self) -> Result<(), ctrlc::Error> {
        self.0.store(true, Ordering::Relaxed);
        self.catch(|| ())
    }

    /// Does `work`, which is told whether the program was asked to end: the first time that ends the work
    /// alone.
    pub(crate) fn during<R>(&self, work: impl FnOnce(&dyn Fn() -> bool) -> R) -> R {
        self.0.store(false, Ordering::Relaxed);
        let done = work(&|| self.asked());
        self.0.store(true, Ordering::Relaxed);
        done
    }

    /// Whether it was asked.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
