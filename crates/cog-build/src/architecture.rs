//! The processors that images are made for: their names, and whether this machine runs programs for them.

use std::fmt;
use std::str::FromStr;

use cog_engine::{Emulation, Emulator, Machine};
use cog_image::Platform;
use serde::{Deserialize, Serialize};

/// A processor's architecture. The system is Linux in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

/// A platform that no image can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("images are made for `linux/amd64` and `linux/arm64`, not for `{0}`")]
pub struct UnknownPlatform(String);

impl Architecture {
    /// That of this machine, which an image has if nothing else is said.
    pub fn host() -> Self {
        match Platform::host().architecture.as_str() {
            "arm64" => Self::Arm64,
            _ => Self::Amd64,
        }
    }

    /// Go's name, and Debian's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As images and indexes have it.
    pub fn platform(self) -> Platform {
        Platform::new("linux", self.name())
    }

    /// Several, as `--platform` takes them.
    pub(crate) fn list(several: &[Self]) -> String {
        let names: Vec<String> = several.iter().map(Self::to_string).collect();
        names.join(",")
    }

    /// Whether this machine is one.
    pub(crate) fn is_host(self) -> bool {
        self == Self::host()
    }

    /// The kernel's name.
    pub(crate) fn machine(self) -> &'static str {
        self.kind().name()
    }

    fn kind(self) -> Machine {
        match self {
            Self::Amd64 => Machine::Amd64,
            Self::Arm64 => Machine::Arm64,
        }
    }

    /// GNU triplet.
    pub(crate) fn triplet(self) -> String {
        format!("{}-linux-gnu", self.machine())
    }

    /// uv's name for the platform of packages that run with the GNU C library `glibc`, such as `2_28`, and newer.
    pub(crate) fn python_platform(self, glibc: &str) -> String {
        format!("{}-manylinux_{glibc}", self.machine())
    }

    /// The same for the archive; nothing where this machine is none that it has bases for.
    pub(crate) fn debian(self) -> Option<cog_debian::Architecture> {
        match self {
            _ if self.is_host() => cog_debian::Architecture::host(),
            Self::Amd64 => Some(cog_debian::Architecture::Amd64),
            Self::Arm64 => Some(cog_debian::Architecture::Arm64),
        }
    }

    /// What the program that begins with `head` is for, in words, if that is not this; also if it is no program.
    pub(crate) fn mismatch(self, head: &[u8]) -> Option<String> {
        // The kind of the file, its word size and byte order, then the machine.
        let Some((&[0x7f, b'E', b'L', b'F', 2, 1, ..], machine)) =
            head.get(..18).zip(head.get(18..20))
        else {
            return Some("no 64-bit Linux program".to_owned());
        };
        let machine = u16::from_le_bytes([machine[0], machine[1]]);
        let known = [Self::Amd64, Self::Arm64];
        match known.into_iter().find(|one| one.kind().number() == machine) {
            Some(one) if one == self => None,
            Some(other) => Some(format!("a program for {other}")),
            None => Some(format!("a program for another machine (number {machine})")),
        }
    }

    /// Whether programs for it run here, also in containers of ours.
    pub fn runs_here(self) -> bool {
        self.is_host() || self.kind().emulation().is_ok()
    }

    /// Why programs for it do not run here; nothing if they do.
    pub fn obstacle(self) -> Option<String> {
        if self.is_host() {
            return None;
        }
        self.kind().emulation().err()
    }

    /// What containers of ours take to run programs for it, besides what the kernel has.
    pub fn emulator(self) -> Option<Emulator> {
        if self.is_host() {
            return None;
        }
        match self.kind().emulation() {
            Ok(Emulation::Own(emulator)) => Some(emulator),
            Ok(Emulation::Registered) | Err(_) => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "linux/{}", self.name())
    }
}

impl FromStr for Architecture {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "linux/amd64" | "linux/x86_64" => Ok(Self::Amd64),
            "linux/arm64" | "linux/arm64/v8" | "linux/aarch64" => Ok(Self::Arm64),
            _ => Err(UnknownPlatform(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a program for a machine.
    fn program(machine: u16) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        head.extend(machine.to_le_bytes());
        head
    }

    #[test]
    fn platforms_are_read_by_their_usual_names() {
        for (text, expected) in [
            ("linux/amd64", Architecture::Amd64),
            ("Linux/x86_64", Architecture::Amd64),
            ("linux/arm64", Architecture::Arm64),
            ("linux/arm64/v8", Architecture::Arm64),
            ("linux/aarch64", Architecture::Arm64),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "linux",
            "linux/arm/v7",
            "windows/amd64",
            "linux/riscv64",
        ] {
            let error = text
                .parse::<Architecture>()
                .expect_err("it is none of them");
            assert!(error.to_string().ends_with(&format!("`{text}`")), "{error}");
        }
        assert_eq!(Architecture::Arm64.to_string(), "linux/arm64");
        assert_eq!(
            Architecture::Arm64.platform(),
            Platform::new("linux", "arm64")
        );
    }

    #[test]
    fn programs_are_known_by_their_machine() {
        let arm = Architecture::Arm64;
        assert_eq!(arm.mismatch(&program(183)), None);
        assert_eq!(
            arm.mismatch(&program(62)).as_deref(),
            Some("a program for linux/amd64")
        );
        assert_eq!(
            arm.mismatch(&program(243)).as_deref(),
            Some("a program for another machine (number 243)")
        );
        for other in [&b"#!/bin/sh\nexec coglet\n"[..], b"\x7fELF", b""] {
            assert_eq!(
                arm.mismatch(other).as_deref(),
                Some("no 64-bit Linux program")
            );
        }
    }
}
