//! The virtual environment of an image: where it is, and for which interpreter.

/// Where the environment is, without leading slash.
pub const VENV: &str = "opt/venv";

/// The interpreter that the environment uses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Interpreter {
    /// Absolute path in the image, such as `/usr/bin/python3.11`.
    pub path: String,
    /// Major and minor version, such as `3.11`.
    pub minor: String,
}

impl Interpreter {
    /// The folder for packages, without leading slash.
    pub fn site_packages(&self) -> String {
        format!("{VENV}/lib/python{}/site-packages", self.minor)
    }
}
