//! What the machine can do at most: operations a second in each number format, and bytes a second read from memory.

#[cfg(target_arch = "x86_64")]
mod x86_64;

use seq2seq_core::Format;

/// What the processor can do at most.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    rates: Vec<(&'static str, f64)>,
}

impl Limits {
    /// Measures them with so many threads, which takes about a second.
    ///
    /// # Errors
    /// Where there is no FMA, and on other processors than x86-64.
    pub fn measure(threads: usize) -> Result<Self, String> {
        measure(threads).map(|rates| Self { rates })
    }

    /// From rates a second, named as those of [`measure`].
    pub fn new(rates: Vec<(&'static str, f64)>) -> Self {
        Self { rates }
    }

    /// Each with its name.
    pub fn rates(&self) -> &[(&'static str, f64)] {
        &self.rates
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.rates.iter().find(|(n, _)| *n == name).map(|(_, rate)| *rate)
    }

    /// Operations a second in a format. int4 is multiplied as int8 is; f16, and what the machine has no instructions for,
    /// as f32.
    ///
    /// # Panics
    /// Never for limits that were measured, which have f32.
    pub fn peak(&self, format: Format) -> f64 {
        let multiplied = match format {
            Format::Int4 => Format::Int8,
            Format::F16 => Format::F32,
            format => format,
        };
        self.rate(multiplied.name()).or_else(|| self.rate("f32")).expect("f32 is always measured")
    }

    /// Bytes a second that are read from memory.
    ///
    /// # Panics
    /// Never for limits that were measured.
    pub fn bandwidth(&self) -> f64 {
        self.rate("bandwidth").expect("the bandwidth is always measured")
    }
}

/// The name of each limit, that of a format, `bandwidth`, or `large_pages`, which is the bandwidth where memory lies in large pages,
/// and its rate a second, with that many threads.
///
/// # Errors
/// Where there is no FMA, and on other processors than x86-64.
#[cfg(target_arch = "x86_64")]
pub fn measure(threads: usize) -> Result<Vec<(&'static str, f64)>, String> {
    x86_64::measure(threads)
}

/// Not on this processor.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn measure(_threads: usize) -> Result<Vec<(&'static str, f64)>, String> {
    Err(format!("limits: {} is not measured, only x86_64", std::env::consts::ARCH))
}
