//! What is done when somebody ends the program by SIGINT (ctrl-C) or SIGTERM.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

/// Has these signals remove unfinished files and folders before they end the program, as they would have: a shell sees 130
/// or 143.
pub(crate) fn remove_unfinished() -> io::Result<()> {
    each_signal(|signal| {
        seq2seq_models::unfinished::remove_all();
        end_by(signal)
    })
}

/// The signal that has asked a training to end, if there was one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicI32>);

impl Asked {
    /// Has the first of these signals only noted, and the next one end the program as if nobody listened.
    pub(crate) fn listen() -> io::Result<Self> {
        let asked = Self::default();
        let noted = asked.clone();
        each_signal(move |signal| {
            if noted.0.swap(signal, Ordering::Relaxed) != 0 {
                end_by(signal);
            }
            tracing::warn!(
                "ending after this step with a checkpoint; another signal ends it at once"
            );
        })?;
        Ok(asked)
    }

    /// Its number.
    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
    }
}

/// Ends the program as the signal does where nobody listens.
#[cfg(unix)]
pub(crate) fn end_by(signal: i32) -> ! {
    // It does not return, but where the system refuses.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

#[cfg(unix)]
fn each_signal(mut answer: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || signals.forever().for_each(&mut answer);
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// There are no such signals.
#[cfg(not(unix))]
pub(crate) fn end_by(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

/// There are no such signals.
#[cfg(not(unix))]
fn each_signal(_: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    Ok(())
}
