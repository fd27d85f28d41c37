//! Records when the binary was built, for `cog --version`, and has it linked to start quickly.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    let seconds = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|value| value.parse().ok())
        .or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .map(|d| d.as_secs())
        })
        .unwrap_or(0);
    println!("cargo:rustc-env=COG_BUILD_TIME={seconds}");
    link_to_fixed_addresses();
}

/// A static program that can lie anywhere corrects tens of thousands of addresses before it begins, which takes longer
/// than `cog --version`; `cog run` starts this program four times, as containers need it. Heap, stack and libraries
/// still lie anywhere.
fn link_to_fixed_addresses() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_static = variable("CARGO_CFG_TARGET_FEATURE")
        .split(',')
        .any(|feature| feature == "crt-static");
    if is_static && variable("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bin=cog=-no-pie");
        println!("cargo:rustc-link-arg-bin=cog=-static");
    }
}
