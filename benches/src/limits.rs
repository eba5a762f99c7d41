//! What the machine can do at most: operations a second in each number format, and bytes a second read from memory.

#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The name of each limit, that of a format or `bandwidth`, and its rate a second, with that many threads.
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
