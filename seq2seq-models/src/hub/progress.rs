use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// How far the transfer of one file is: drawn for people, and remembered for whoever has to go on.
#[derive(Clone)]
pub(super) struct Bar {
    drawn: ProgressBar,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    begun: AtomicBool,
    size: AtomicU64,
}

impl Bar {
    /// Hidden unless `visible` and stderr is a terminal.
    pub(super) fn new(visible: bool) -> Self {
        let drawn = if visible { ProgressBar::no_length() } else { ProgressBar::hidden() };
        Self { drawn, state: Arc::default() }
    }

    /// Whether the hub knows the file and its size.
    pub(super) fn has_begun(&self) -> bool {
        self.state.begun.load(Relaxed)
    }

    /// Bytes of the whole file.
    pub(super) fn size(&self) -> u64 {
        self.state.size.load(Relaxed)
    }
}

impl hf_hub::api::Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.state.begun.store(true, Relaxed);
        self.state.size.store(size as u64, Relaxed);
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.drawn.set_style(style);
        }
        self.drawn.set_position(0);
        self.drawn.set_length(size as u64);
        self.drawn.set_message(filename.to_owned());
    }

    fn update(&mut self, size: usize) {
        self.drawn.inc(size as u64);
    }

    fn finish(&mut self) {
        self.drawn.finish();
    }
}
