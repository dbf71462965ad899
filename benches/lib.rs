//! What benches share: the peer that they measure beside, and numbers by chance that are the same in every run.

pub mod chance;
pub mod prometheus;

/// A folder of this name beside the running program: what is kept there goes when the build does.
///
/// # Errors
/// Where the system does not say which program runs.
pub fn beside(name: &str) -> std::io::Result<std::path::PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}
