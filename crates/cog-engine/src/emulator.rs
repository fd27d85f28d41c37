//! Programs of another machine than this one, and what interprets them: QEMU in its form for single programs.
//!
//! Where the host's administrator has registered an interpreter that the kernel keeps open, containers have it too, and
//! nothing is to be done. Elsewhere a container registers one for itself: since Linux 6.7 each user namespace may have a
//! list of its own, which takes no rights outside of it. That a program needs nothing of the host's file system is looked
//! at here; registering it is the business of [`crate::embedded`].

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fs_err::File;
use fs_err::os::unix::fs::FileExt as _;
use serde::{Deserialize, Serialize};

use crate::embedded;
use crate::program::DEFAULT_PATH;

/// Names the program that runs those of another platform, or is `none`: then nothing does.
pub const COG_EMULATOR: &str = "COG_EMULATOR";

/// Where the kernel says which programs of other machines it has interpreters for.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Bytes of a program's header, and of an entry of the table that follows.
const HEADER: usize = 64;
const ENTRY: usize = 56;
/// What an entry begins with that names another program to load this one: such a program is not static.
const INTERPRETER: u32 = 3;

/// A kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Machine {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

/// How programs of another machine run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emulation {
    /// The kernel has an interpreter for them that containers reach.
    Registered,
    /// Each container of ours registers one.
    Own(Emulator),
}

/// A static program that runs those of another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    pub(crate) machine: Machine,
    pub(crate) program: PathBuf,
}

impl Machine {
    /// This one.
    fn host() -> Self {
        match std::env::consts::ARCH {
            "aarch64" => Self::Arm64,
            _ => Self::Amd64,
        }
    }

    /// Its number in programs.
    pub fn number(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// The kernel's and QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// How its programs run here, or why they do not. Looked for once.
    pub fn emulation(self) -> Result<Emulation, String> {
        static FOUND: [OnceLock<Result<Emulation, String>>; 2] = [OnceLock::new(), OnceLock::new()];
        let place = &FOUND[usize::from(self == Self::Arm64)];
        place.get_or_init(|| self.find()).clone()
    }

    fn find(self) -> Result<Emulation, String> {
        let given = std::env::var_os(COG_EMULATOR).filter(|text| !text.is_empty());
        if given.as_ref().is_some_and(|given| given == "none") {
            return Err(format!("`{COG_EMULATOR}` is `none`"));
        }
        if self.is_registered() {
            return Ok(Emulation::Registered);
        }
        let program = match given {
            Some(path) => {
                check(Path::new(&path)).map_err(|why| format!("`{COG_EMULATOR}`: {why}"))?;
                path.into()
            }
            None => self.on_path()?,
        };
        embedded::can_register().map_err(|why| {
            format!(
                "`{}` is there, and containers cannot have it, as they can since Linux 6.7: {why}",
                program.display()
            )
        })?;
        Ok(Emulation::Own(Emulator {
            machine: self,
            program,
        }))
    }

    /// QEMU among the programs of this machine.
    fn on_path(self) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let names = ["-static", ""].map(|end| format!("qemu-{}{end}", self.name()));
        let mut reason = format!("there is no `{}` on PATH", names[0]);
        for name in names {
            let mut found = folders.iter().map(|folder| folder.join(&name));
            if let Some(program) = found.find(|program| program.is_file()) {
                match check(&program) {
                    Ok(()) => return Ok(program),
                    Err(why) => reason = why,
                }
            }
        }
        Err(reason)
    }

    fn is_registered(self) -> bool {
        // Where it is not mounted, nothing is known.
        let Ok(entries) = fs_err::read_dir(REGISTERED) else {
            return false;
        };
        let mut texts = entries
            .flatten()
            .filter_map(|entry| fs_err::read_to_string(entry.path()).ok());
        texts.any(|text| self.is_registered_in(&text))
    }

    /// Whether the interpreter that the kernel describes so runs programs for it, whatever can be seen of its file.
    fn is_registered_in(self, text: &str) -> bool {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let [low, high] = self.number().to_le_bytes();
        let machine = format!("{low:02x}{high:02x}");
        let magic = value("magic ").unwrap_or_default();
        text.lines().next() == Some("enabled")
            && value("flags: ").is_some_and(|flags| flags.contains('F'))
            && value("offset ") == Some("0")
            && magic.starts_with("7f454c4602")
            && magic.get(36..40) == Some(&machine)
    }
}

impl Emulator {
    /// What registers it as the interpreter at `path`, in the kernel's form: 64-bit programs for the machine, of whatever
    /// system and kind. The kernel opens the interpreter at once (`F`), hands it the program (`O`) and tells it the name
    /// that the program was called by (`P`).
    pub(crate) fn registration(&self, path: &str) -> String {
        let [low, high] = self.machine.number().to_le_bytes();
        let zeros = "\\x00".repeat(8);
        let any = "\\xff".repeat(7);
        let eight = "\\xff".repeat(8);
        format!(
            ":cog-{}:M:0:\\x7fELF\\x02\\x01\\x01\\x00{zeros}\\x02\\x00\\x{low:02x}\\x{high:02x}:{any}\\x00{eight}\\xfe\\xff\\xff\\xff:{path}:OPF",
            self.machine.name()
        )
    }
}

/// Refuses what is no static program for this machine; says why.
fn check(program: &Path) -> Result<(), String> {
    let shown = program.display();
    match is_static(program) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "`{shown}` is not static, and a container does not have what it needs"
        )),
        Err(error) => Err(format!("`{shown}` is no program for this machine: {error}")),
    }
}

/// Whether a program for this machine needs no other one to load it.
fn is_static(program: &Path) -> std::io::Result<bool> {
    let unlike = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut file = File::open(program)?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let table = header[32..40].try_into().map_err(|_| unlike())?;
    if !header.starts_with(b"\x7fELF\x02\x01") || short(18) != Machine::host().number() {
        return Err(unlike());
    }
    let (table, length, count) = (u64::from_le_bytes(table), short(54), short(56));
    if usize::from(length) != ENTRY {
        return Err(unlike());
    }
    for number in 0..u64::from(count) {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table + number * ENTRY as u64)?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interpreters_that_containers_reach_count() {
        let text = |state: &str, flags: &str, machine: &str| {
            format!(
                "{state}\ninterpreter /usr/bin/qemu-aarch64-static\nflags: {flags}\noffset 0\n\
                 magic 7f454c460201010000000000000000000200{machine}00\nmask ffffffffffffff00\n"
            )
        };
        let arm = Machine::Arm64;
        assert!(arm.is_registered_in(&text("enabled", "OCF", "b7")));
        assert!(!arm.is_registered_in(&text("enabled", "OC", "b7")));
        assert!(!arm.is_registered_in(&text("disabled", "OCF", "b7")));
        assert!(!arm.is_registered_in(&text("enabled", "OCF", "3e")));
        assert!(!arm.is_registered_in("enabled\n"));
        assert!(!arm.is_registered_in(""));
        assert!(Machine::Amd64.is_registered_in(&text("enabled", "F", "3e")));
    }

    #[test]
    fn registrations_have_a_magic_and_a_mask_of_one_length() {
        for machine in [Machine::Amd64, Machine::Arm64] {
            let emulator = Emulator {
                machine,
                program: PathBuf::new(),
            };
            let line = emulator.registration("/proc/self/fd/7");
            let parts: Vec<&str> = line.split(':').collect();
            let [_, name, kind, offset, magic, mask, path, flags] = parts[..] else {
                panic!("{line}")
            };
            assert_eq!(name, format!("cog-{}", machine.name()));
            assert_eq!(
                (kind, offset, path, flags),
                ("M", "0", "/proc/self/fd/7", "OPF")
            );
            let bytes = |text: &str| {
                text.replace("ELF", "\\x45\\x4c\\x46")
                    .matches("\\x")
                    .count()
            };
            assert_eq!((bytes(magic), bytes(mask)), (20, 20), "{line}");
            assert!(line.len() < 256, "the kernel takes no longer ones");
        }
    }

    #[test]
    fn programs_that_need_others_are_known() {
        // This very program is static, or it is not: the linker knows.
        let own = is_static(Path::new("/proc/self/exe")).expect("it is a program");
        assert_eq!(own, cfg!(target_feature = "crt-static"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("script");
        fs_err::write(&path, "#!/bin/sh\n").expect("written");
        let why = check(&path).expect_err("it is a script");
        assert!(why.contains("is no program for this machine"), "{why}");
        fs_err::write(&path, [0x7f; 200]).expect("written");
        assert!(check(&path).is_err());
        assert!(check(&folder.path().join("absent")).is_err());
    }
}
