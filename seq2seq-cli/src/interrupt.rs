//! What is done when somebody ends the program: what it has not finished writing is removed.

/// Has SIGINT (ctrl-C) and SIGTERM remove unfinished files and folders before they end the program, as they would have: a shell
/// sees 130 or 143.
#[cfg(unix)]
pub(crate) fn remove_unfinished() -> std::io::Result<()> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
        low_level::emulate_default_handler,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            seq2seq_models::unfinished::remove_all();
            // It does not return, but where the system refuses.
            let _ = emulate_default_handler(signal);
            std::process::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// There are no such signals.
#[cfg(not(unix))]
pub(crate) fn remove_unfinished() -> std::io::Result<()> {
    Ok(())
}
