//! The file in which the GNU C library's loader looks libraries up, `/etc/ld.so.cache`, in its format since 2.2
//! (`glibc-ld.so.cache1.1`), with the older one that may stand before it left out.
//!
//! Written here rather than by the image's `ldconfig`, which would be a foreign program run before the container is
//! confined, and which not every image has. What is in a cache may come from an image: nothing in it is believed.

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// The header's mark of a little-endian file.
const LITTLE_ENDIAN: u8 = 2;

const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const HARDWARE_TAG: u32 = 1;

const MAX_LIBRARIES: usize = 100_000;

/// What a cache says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LoaderCache {
    /// In the loader's order.
    entries: Vec<Entry>,
    /// Names of processor families, sorted.
    hardware: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    flags: u32,
    name: Vec<u8>,
    path: Vec<u8>,
    system: u32,
    hardware: u64,
}

impl LoaderCache {
    /// Reads a cache; one that makes no sense is as good as none, to the loader too.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self::try_parse(bytes).unwrap_or_default()
    }

    fn try_parse(bytes: &[u8]) -> Option<Self> {
        let bytes = new_part(bytes)?;
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let count = usize::try_from(u32_at(bytes, 20)?).ok()?;
        if count > MAX_LIBRARIES {
            return None;
        }
        let entries = (0..count)
            .map(|index| Entry::parse(bytes, HEADER + index * ENTRY))
            .collect::<Option<_>>()?;
        let hardware = hardware(bytes).unwrap_or_default();
        Some(Self { entries, hardware })
    }

    /// Each library's name, path and flags.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.entries.iter().filter_map(|entry| {
            let text = |bytes| std::str::from_utf8(bytes).ok();
            Some((text(&entry.name)?, text(&entry.path)?, entry.flags))
        })
    }

    /// Adds a library, which is then found before others of its name.
    pub(crate) fn add(&mut self, name: &str, path: &str, flags: u32) {
        let entry = Entry {
            flags,
            name: name.into(),
            path: path.into(),
            system: 0,
            hardware: 0,
        };
        self.entries.retain(|known| {
            (known.flags, &known.name, &known.path) != (flags, &entry.name, &entry.path)
        });
        let place = self
            .entries
            .iter()
            .position(|known| compare(&known.name, &entry.name).is_le())
            .unwrap_or(self.entries.len());
        self.entries.insert(place, entry);
    }

    /// The file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut strings = Strings {
            start: HEADER + ENTRY * self.entries.len(),
            bytes: Vec::new(),
        };
        let mut entries = Vec::with_capacity(ENTRY * self.entries.len());
        for entry in &self.entries {
            entries.extend(entry.flags.to_le_bytes());
            entries.extend(strings.add(&entry.name).to_le_bytes());
            entries.extend(strings.add(&entry.path).to_le_bytes());
            entries.extend(entry.system.to_le_bytes());
            entries.extend(entry.hardware.to_le_bytes());
        }
        let names: Vec<u32> = self.hardware.iter().map(|name| strings.add(name)).collect();
        let mut file = MAGIC.to_vec();
        let mut number = |number: usize| file.extend(truncated(number).to_le_bytes());
        number(self.entries.len());
        number(strings.bytes.len());
        number(usize::from(LITTLE_ENDIAN));
        let extension = (strings.start + strings.bytes.len()).next_multiple_of(4);
        number(if names.is_empty() { 0 } else { extension });
        file.resize(HEADER, 0);
        file.extend(entries);
        file.extend(strings.bytes);
        if !names.is_empty() {
            file.resize(extension, 0);
            let section = extension + 8 + 16;
            let words = [
                EXTENSION_MAGIC,
                1,
                HARDWARE_TAG,
                0,
                truncated(section),
                truncated(4 * names.len()),
            ];
            file.extend(words.into_iter().chain(names).flat_map(u32::to_le_bytes));
        }
        file
    }
}

impl Entry {
    fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let low = u64::from(u32_at(bytes, at + 16)?);
        let high = u64::from(u32_at(bytes, at + 20)?);
        Some(Self {
            flags: u32_at(bytes, at)?,
            name: string_at(bytes, u32_at(bytes, at + 4)?)?,
            path: string_at(bytes, u32_at(bytes, at + 8)?)?,
            system: u32_at(bytes, at + 12)?,
            hardware: low | high << 32,
        })
    }
}

/// Text behind the entries, each string once.
struct Strings {
    start: usize,
    bytes: Vec<u8>,
}

impl Strings {
    fn add(&mut self, text: &[u8]) -> u32 {
        let place = truncated(self.start + self.bytes.len());
        self.bytes.extend(text);
        self.bytes.push(0);
        place
    }
}

/// Where both formats are in one file, the newer begins at the next multiple of 8.
fn new_part(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(OLD_MAGIC) {
        return Some(bytes);
    }
    let count = usize::try_from(u32_at(bytes, 12)?).ok()?;
    let end = OLD_HEADER.checked_add(count.checked_mul(OLD_ENTRY)?)?;
    bytes.get(end.checked_next_multiple_of(8)?..)
}

/// The names of processor families, which the last part of the file may have.
fn hardware(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let extension = usize::try_from(u32_at(bytes, 32)?).ok()?;
    if extension == 0 || u32_at(bytes, extension)? != EXTENSION_MAGIC {
        return None;
    }
    let sections = usize::try_from(u32_at(bytes, extension + 4)?).ok()?;
    for index in 0..sections.min(64) {
        let at = extension + 8 + 16 * index;
        if u32_at(bytes, at)? != HARDWARE_TAG {
            continue;
        }
        let start = usize::try_from(u32_at(bytes, at + 8)?).ok()?;
        let size = usize::try_from(u32_at(bytes, at + 12)?).ok()?;
        return (0..(size / 4).min(1024))
            .map(|index| string_at(bytes, u32_at(bytes, start + 4 * index)?))
            .collect();
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

fn string_at(bytes: &[u8], at: u32) -> Option<Vec<u8>> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
    Some(rest[..end].to_vec())
}

/// Sizes in the file are of 32 bits, and so are those of what was read from such a file.
fn truncated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The loader's order, which the file has backwards: numbers in names count as numbers.
fn compare(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut one, mut other) = (one, other);
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match (one.first(), other.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, b) = (&one[..digits(one)], &other[..digits(other)]);
                let number = |text: &[u8]| {
                    let text: Vec<u8> = text
                        .iter()
                        .copied()
                        .skip_while(|byte| *byte == b'0')
                        .collect();
                    (text.len(), text)
                };
                match number(a).cmp(&number(b)) {
                    Ordering::Equal => (one, other) = (&one[a.len()..], &other[b.len()..]),
                    unequal => return unequal,
                }
            }
            (Some(a), Some(_)) if a.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(b)) if b.is_ascii_digit() => return Ordering::Less,
            (Some(a), Some(b)) if a == b => (one, other) = (&one[1..], &other[1..]),
            // As signed characters, like the loader.
            (Some(a), Some(b)) => return a.cast_signed().cmp(&b.cast_signed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry for certain processors: the lower half of its number says which name in the extension they have.
    const HARDWARE: u64 = 1 << 62;

    /// The host's own.
    fn real() -> Option<LoaderCache> {
        fs_err::read("/etc/ld.so.cache")
            .ok()
            .and_then(|bytes| LoaderCache::try_parse(&bytes))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut cache = LoaderCache {
            hardware: vec![b"x86-64-v3".to_vec()],
            ..LoaderCache::default()
        };
        cache.add("libb.so.1", "/lib/libb.so.1", 0x303);
        cache.add("liba.so.10", "/lib/liba.so.10", 0x303);
        cache.add("liba.so.9", "/lib/liba.so.9", 0x303);
        cache.add("libb.so.1", "/better/libb.so.1", 0x303);
        cache.add("libb.so.1", "/better/libb.so.1", 0x303);
        cache.entries[0].hardware = HARDWARE;
        let read = LoaderCache::try_parse(&cache.to_bytes()).unwrap();
        assert_eq!(read, cache);
        let paths: Vec<_> = read.libraries().map(|(_, path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "/better/libb.so.1",
                "/lib/libb.so.1",
                "/lib/liba.so.10",
                "/lib/liba.so.9"
            ]
        );
    }

    #[test]
    fn the_order_is_the_loaders() {
        let Some(cache) = real() else { return };
        for pair in cache.entries.windows(2) {
            assert!(compare(&pair[0].name, &pair[1].name).is_ge(), "{pair:?}");
        }
    }

    #[test]
    fn a_real_cache_keeps_everything() {
        let Some(cache) = real() else { return };
        assert!(!cache.entries.is_empty());
        assert_eq!(LoaderCache::try_parse(&cache.to_bytes()).unwrap(), cache);
    }

    #[test]
    fn the_older_format_before_it_is_passed_over() {
        let mut cache = LoaderCache::default();
        cache.add("liba.so.1", "/lib/liba.so.1", 0x303);
        let mut both = OLD_MAGIC.to_vec();
        both.extend(3_u32.to_le_bytes());
        both.resize((OLD_HEADER + 3 * OLD_ENTRY).next_multiple_of(8), 0);
        both.extend(cache.to_bytes());
        assert_eq!(LoaderCache::parse(&both), cache);
    }

    #[test]
    fn nonsense_is_an_empty_cache() {
        let mut cache = LoaderCache {
            hardware: vec![b"v3".to_vec()],
            ..LoaderCache::default()
        };
        cache.add("liba.so.1", "/lib/liba.so.1", 0x303);
        let whole = cache.to_bytes();
        for bytes in [&b""[..], b"text", MAGIC, &[0xff; 100]] {
            assert_eq!(LoaderCache::parse(bytes), LoaderCache::default());
        }
        for length in 0..whole.len() {
            let _ = LoaderCache::parse(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] = 0xff;
            let _ = LoaderCache::parse(&broken);
        }
    }
}
