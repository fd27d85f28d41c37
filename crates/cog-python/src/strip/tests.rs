use super::*;

/// This program: a real file, with all that a compiler leaves in it.
fn program() -> File {
    open(&std::env::current_exe().expect("known"))
}

fn open(path: &std::path::Path) -> File {
    fs_err::File::open(path).expect("readable").into_file()
}

fn strip(file: &File, target: &std::path::Path) -> Option<File> {
    let stripped = Stripped::of(file).expect("readable")?;
    let mut written = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(target)
        .expect("created");
    stripped.write(file, &mut written).expect("written");
    Some(written)
}

fn bytes(file: &File, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("small")];
    file.read_exact_at(&mut bytes, range.start).expect("there");
    bytes
}

#[test]
fn names_of_libraries_are_told_from_others() {
    for library in [
        "a.so",
        "b/c.cpython-311-x86_64-linux-gnu.so",
        "libx.so.12.1",
    ] {
        assert!(is_library(library), "{library}");
    }
    for other in [
        "a.py", "a.sob", ".so", "a.so.py", "a.so.", "a.so/b", "so", "a.so.1x",
    ] {
        assert!(!is_library(other), "{other}");
    }
}

#[test]
fn a_real_program_gets_smaller_and_still_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stripped");
    let original = program();
    let Some(written) = strip(&original, &path) else {
        println!("skipped: the programs of this machine are of another kind");
        return;
    };
    let length = |file: &File| file.metadata().expect("known").len();
    assert!(length(&written) < length(&original));

    let before = Library::read(&original)
        .expect("readable")
        .expect("understood");
    let after = Library::read(&written)
        .expect("readable")
        .expect("understood");
    assert_eq!(before.segments.len(), after.segments.len());
    for (one, other) in before.segments.iter().zip(&after.segments) {
        let skip = if one.file.start == 0 { 4096 } else { 0 };
        let content = |file, range: &Range<u64>| bytes(file, &(range.start + skip..range.end));
        if one.file.end > skip {
            assert!(content(&original, &one.file) == content(&written, &other.file));
        }
        assert_eq!(
            one.file.start % before.page(),
            other.file.start % before.page()
        );
    }
    assert!(
        after
            .sections
            .iter()
            .all(|section| section.is_loaded()
                || !(section.is_debugging() || section.is_symbols()))
    );
    assert!(
        Stripped::of(&written).expect("readable").is_none(),
        "nothing is left to take out"
    );

    written
        .set_permissions(std::fs::Permissions::from_mode(0o755))
        .expect("set");
    drop(written);
    let output = std::process::Command::new(&path)
        .arg("--list")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("a_real_program_gets_smaller_and_still_runs"),
        "{output:?}"
    );
}

#[test]
fn other_files_stay_as_they_are() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in [
        ("empty", &b""[..]),
        ("text", b"text"),
        ("magic", b"\x7fELF\x02\x01\x01"),
    ] {
        let path = folder.path().join(name);
        fs_err::write(&path, content).expect("written");
        let file = open(&path);
        assert!(Stripped::of(&file).expect("readable").is_none(), "{name}");
    }
}

/// A library as linkers make it, and as tools leave it that add to it afterwards: the loaded part `late` lies behind
/// what is taken out.
struct Made {
    bytes: Vec<u8>,
}

const EARLY: &[u8] = b"loaded early";
const LATE: &[u8] = b"loaded late";
const COMMENT: &[u8] = b"made by hand";
const PAGE: u64 = 4096;
const LATE_AT: u64 = 5 * PAGE + 16;

impl Made {
    /// Sections in the table in the order of `order`: 1 early, 2 debugging, 3 symbols, 4 their names, 5 comment, 6
    /// late, 7 names.
    fn new(order: [usize; 7]) -> Self {
        let names = b"\0.text\0.debug_info\0.symtab\0.strtab\0.comment\0.late\0.shstrtab\0";
        let name = |text: &str| {
            let at = names
                .windows(text.len())
                .position(|part| part == text.as_bytes());
            at.expect("it is one of them") as u64
        };
        let place = |section: usize| {
            1 + order.iter().position(|&one| one == section).expect("there") as u64
        };
        let table_at = LATE_AT + 64;
        let names_at = table_at + 8 * SECTION_SIZE as u64;
        // Name, kind, flags, place, size, link, info.
        let all = [
            (".text", 1, 2, PAGE, EARLY.len() as u64, 0, 0),
            (".debug_info", 1, 0, PAGE + 100, 3 * PAGE, 0, 0),
            (".symtab", 2, 0, 4 * PAGE + 104, 24, place(4), 1),
            (".strtab", 3, 0, 4 * PAGE + 128, 1, 0, 0),
            (".comment", 1, 0, 4 * PAGE + 136, COMMENT.len() as u64, 0, 0),
            (".late", 6, 2, LATE_AT, LATE.len() as u64, 0, 0),
            (".shstrtab", 3, 0, names_at, names.len() as u64, 0, 0),
        ];
        let mut made = Self {
            bytes: vec![0; usize::try_from(names_at).expect("small") + names.len()],
        };
        made.put(0, b"\x7fELF\x02\x01\x01");
        for (at, size, value) in [
            (16, 2, 3),
            (32, 8, 64),
            (40, 8, table_at),
            (52, 2, 64),
            (54, 2, 56),
            (56, 2, 2),
            (58, 2, 64),
            (60, 2, 8),
            (62, 2, place(7)),
        ] {
            made.set(at, size, value);
        }
        for (number, (at, length)) in [(0, PAGE + EARLY.len() as u64), (LATE_AT, LATE.len() as u64)]
            .into_iter()
            .enumerate()
        {
            let entry = 64 + 56 * number as u64;
            for (field, size, value) in [
                (0, 4, 1),
                (8, 8, at),
                (16, 8, at),
                (32, 8, length),
                (48, 8, PAGE),
            ] {
                made.set(entry + field, size, value);
            }
        }
        for section in 1..=7 {
            let (text, kind, flags, at, length, link, info) = all[section - 1];
            let entry = table_at + place(section) * SECTION_SIZE as u64;
            for (field, size, value) in [
                (0, 4, name(text)),
                (4, 4, kind),
                (8, 8, flags),
                (24, 8, at),
                (32, 8, length),
                (40, 4, link),
                (44, 4, info),
                (48, 8, 1),
            ] {
                made.set(entry + field, size, value);
            }
        }
        made.put(PAGE, EARLY);
        made.put(PAGE + 100, &vec![7; 3 * 4096]);
        made.put(4 * PAGE + 136, COMMENT);
        made.put(LATE_AT, LATE);
        made.put(names_at, names);
        made
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("small");
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn set(&mut self, at: u64, size: usize, value: u64) {
        self.put(at, &value.to_le_bytes()[..size]);
    }

    /// What becomes of it.
    fn stripped(&self) -> Option<Library> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("library.so");
        fs_err::write(&path, &self.bytes).expect("written");
        let file = open(&path);
        let written = strip(&file, &folder.path().join("stripped.so"))?;
        let library = Library::read(&written)
            .expect("readable")
            .expect("understood");
        let contents: Vec<Vec<u8>> = library
            .sections
            .iter()
            .filter(|section| section.is_in_file())
            .map(|section| bytes(&written, &section.file))
            .collect();
        for part in [EARLY, LATE, COMMENT] {
            assert!(
                contents.iter().any(|content| content == part),
                "{contents:?}"
            );
        }
        let late = &library.segments[1].file;
        assert_eq!(bytes(&written, late), LATE);
        assert_eq!(late.start % PAGE, LATE_AT % PAGE);
        assert_eq!(bytes(&written, &(PAGE..PAGE + EARLY.len() as u64)), EARLY);
        Some(library)
    }
}

#[test]
fn loaded_parts_behind_the_symbols_move_by_whole_pages() {
    let library = Made::new([1, 6, 2, 3, 4, 5, 7])
        .stripped()
        .expect("it is understood");
    assert_eq!(
        library.sections.len(),
        5,
        "none, early, late, comment, names"
    );
    assert_eq!(library.segments[1].file.start, 2 * PAGE + 16);
    assert_eq!(library.names, 4);
}

#[test]
fn loaded_sections_keep_their_numbers() {
    let library = Made::new([1, 2, 3, 4, 5, 6, 7])
        .stripped()
        .expect("it is understood");
    assert_eq!(
        library.sections.len(),
        8,
        "those before the last loaded section left a place"
    );
    assert!(library.sections[6].is_loaded());
    assert_eq!(library.names, 7);
}

#[test]
fn what_is_not_understood_stays() {
    const SECTIONS: u64 = LATE_AT + 64;
    let entry = |section: u64, field: u64| SECTIONS + section * 64 + field;
    let usual = Made::new([1, 2, 3, 4, 5, 6, 7]);
    assert!(usual.stripped().is_some());
    for (at, size, value, what) in [
        (4, 1, 1, "32 bits"),
        (5, 1, 2, "big endian"),
        (16, 2, 1, "an object file"),
        (56, 2, 0xffff, "too many segments"),
        (60, 2, 0xffff, "too many sections"),
        (62, 2, 99, "names in no section"),
        (40, 8, u64::MAX - 8, "a table outside"),
        (64 + 8, 8, u64::MAX, "a segment outside"),
        (64 + 48, 8, 3, "an alignment that is none"),
        (entry(2, 24), 8, u64::MAX, "a section outside"),
        (entry(2, 0), 4, u64::from(u32::MAX), "a name outside"),
        (entry(3, 40), 4, 99, "a link to no section"),
        (entry(5, 4), 4, 17, "a group"),
        (entry(5, 40), 4, 3, "a section that belongs to the symbols"),
        (LATE_AT + 40, 1, 1, "something that nothing describes"),
    ] {
        let mut made = Made::new([1, 2, 3, 4, 5, 6, 7]);
        made.set(at, size, value);
        assert!(made.stripped().is_none(), "{what}");
    }
}

#[test]
fn no_change_of_a_byte_makes_it_panic() {
    let usual = Made::new([1, 2, 3, 4, 5, 6, 7]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("library.so");
    let tables = (0..64 + 2 * 56).chain(LATE_AT + 64..usual.bytes.len() as u64);
    for at in tables {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = usual.bytes.clone();
            bytes[usize::try_from(at).expect("small")] = value;
            fs_err::write(&path, &bytes).expect("written");
            let file = open(&path);
            if let Some(stripped) = Stripped::of(&file).expect("readable") {
                let mut target = tempfile::tempfile().expect("created");
                stripped.write(&file, &mut target).expect("written");
                assert!(target.metadata().expect("known").len() < bytes.len() as u64);
            }
        }
    }
}
