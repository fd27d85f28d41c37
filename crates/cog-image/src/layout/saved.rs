//! What a daemon hands out of an image: an archive (`docker save`), read in one pass, as it comes as a stream; or files that
//! came one by one ([`receive`](crate::receive)).
//!
//! Layers that are known already are read and dropped; the others are kept as they came until somebody asks for one. All
//! versions list the parts in `manifest.json`, which comes last in some.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tar::EntryType;

use crate::config::{ImageConfig, ParsedConfig};
use crate::digest::{DiffId, HashingWriter};
use crate::error::{Error, Result};
use crate::layer::compress::BlobEncoder;
use crate::layer::decompress::Decompressor;
use crate::layer::limits::Limits;
use crate::layer::tar_reader::TarReader;
use crate::layer::unpack::unpack;
use crate::layer::{Compression, Layer};
use crate::manifest::{Descriptor, MAX_DOCUMENT, parse};
use crate::store::{Scratch, Store};

/// More files than any such archive has.
const MAX_FILES: usize = 10_000;
const MANIFEST: &[u8] = b"manifest.json";

/// An image as a daemon handed it out.
#[derive(Debug)]
pub struct SavedImage {
    config: ParsedConfig,
    layers: Vec<SavedLayer>,
    _scratch: Arc<Scratch>,
}

#[derive(Debug)]
enum SavedLayer {
    /// It was known before.
    Known(Box<Layer>),
    /// Its archive, which may be compressed.
    File(PathBuf),
}

/// A file of the archive.
enum Part {
    /// A layer that is known, which was not kept.
    Known,
    File(PathBuf),
    /// The same as another file.
    Link(Vec<u8>),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

impl SavedImage {
    /// Reads `archive` to its end. Of the `known` layers, nothing is kept.
    pub fn read(store: &Store, archive: impl Read, known: &[Layer]) -> Result<Self> {
        let scratch = store.scratch()?;
        let read = || {
            let parts = Parts::read(&scratch, archive, known)?;
            let entries: Vec<ManifestEntry> =
                parse(&parts.document(MANIFEST)?, "the list of the saved image")?;
            let [entry] = entries.as_slice() else {
                return Err(unreadable(format!("it has {} images", entries.len())));
            };
            let config = parts.document(entry.config.as_bytes())?;
            let config = ParsedConfig::parse(&config, "the config of the saved image")?;
            if entry.layers.len() != config.diff_ids.len() {
                let (listed, described) = (entry.layers.len(), config.diff_ids.len());
                return Err(unreadable(format!(
                    "it lists {listed} layers, and its config {described}"
                )));
            }
            let files = entry.layers.iter().map(|name| parts.file(name.as_bytes()));
            let files = files.collect::<Result<_>>()?;
            Ok((config, files))
        };
        let (config, files) = read().map_err(|error: Error| error.at(store.root()))?;
        Self::of_files(Arc::new(scratch), config, files, known)
    }

    /// An image of `config` and of layers as they came, each in a file of `scratch` unless it is `known`.
    pub(crate) fn of_files(
        scratch: Arc<Scratch>,
        config: ParsedConfig,
        files: Vec<Option<PathBuf>>,
        known: &[Layer],
    ) -> Result<Self> {
        let layers = files.into_iter().zip(&config.diff_ids);
        let layers = layers.map(|(file, diff_id)| {
            // A daemon may compress a layer otherwise than we do: what it is counts.
            if let Some(known) = known.iter().find(|one| one.diff_id == *diff_id) {
                return Ok(SavedLayer::Known(Box::new(known.clone())));
            }
            let missing = || unreadable(format!("the layer {diff_id} is not in it"));
            file.map(SavedLayer::File).ok_or_else(missing)
        });
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            config,
            _scratch: scratch,
        })
    }

    /// What containers of it start with.
    pub fn config(&self) -> &ImageConfig {
        &self.config.config
    }

    /// The number of layers.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Unpacks the layer `number`, counted from the lowest, into the empty folder `into`. Deletions are in the form that
    /// overlayfs has in an upper directory. A layer that was known is not here.
    pub fn unpack(&self, number: usize, into: &std::path::Path) -> Result<()> {
        let expected = self.config.diff_ids[number];
        let SavedLayer::File(path) = &self.layers[number] else {
            return Err(unreadable(format!("layer {expected} was not kept")));
        };
        let file = fs_err::File::open(path)?;
        let limits = Limits::for_blob(file.metadata()?.len());
        let (unpacked, _) = unpack(BufReader::new(file), into, expected.digest(), limits)?;
        check(expected, unpacked.diff_id)
    }

    /// All layers, lowest first. Those that are new to the store are compressed and stored as they are.
    pub fn layers(
        &self,
        store: &Store,
        compression: Compression,
        threads: usize,
    ) -> Result<Vec<Layer>> {
        let layers = self.layers.iter().enumerate();
        let stored = |(number, layer): (usize, &SavedLayer)| match layer {
            SavedLayer::Known(layer) => Ok((**layer).clone()),
            SavedLayer::File(path) => {
                let expected = self.config.diff_ids[number];
                let mut encoder = BlobEncoder::new(store.blob_writer()?, compression, threads);
                let mut plain = Decompressor::new(fs_err::File::open(path)?)?;
                io::copy(&mut plain, &mut encoder)?;
                let (writer, written) = encoder.finish()?;
                check(expected, written.diff_id)?;
                writer.commit_as(written.digest)?;
                Ok(Layer {
                    diff_id: expected,
                    blob: Descriptor::new(compression.media_type(), written.digest, written.size),
                    created_by: self.config.created_by[number].clone(),
                })
            }
        };
        let stored: Result<_> = layers.map(stored).collect();
        stored.map_err(|error| error.at(store.root()))
    }
}

/// The files of an archive, by their names in it.
struct Parts(HashMap<Vec<u8>, Part>);

impl Parts {
    fn read(scratch: &Scratch, archive: impl Read, known: &[Layer]) -> Result<Self> {
        let mut archive = BufReader::new(archive);
        let mut reader = TarReader::new(&mut archive);
        let mut parts = HashMap::new();
        while let Some(entry) = reader.next().map_err(unreadable)? {
            let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
            let name = name.to_vec();
            let part = match entry.kind {
                EntryType::Regular => {
                    let path = scratch.path().join(parts.len().to_string());
                    let mut file = HashingWriter::new(fs_err::File::create_new(&path)?);
                    io::copy(&mut reader.content(), &mut file)?;
                    let diff_id = DiffId::new(file.finish().1);
                    if known.iter().any(|one| one.diff_id == diff_id) {
                        fs_err::remove_file(path)?;
                        Part::Known
                    } else {
                        Part::File(path)
                    }
                }
                EntryType::Symlink => Part::Link(beside(&name, &entry.link)),
                EntryType::Link => Part::Link(entry.link),
                _ => continue,
            };
            parts.insert(name, part);
            if parts.len() > MAX_FILES {
                return Err(unreadable(format!("more than {MAX_FILES} files")));
            }
        }
        // Whoever writes it is not to be hung up on.
        io::copy(&mut archive, &mut io::sink())?;
        Ok(Self(parts))
    }

    /// The file `name`, behind at most one link: layers that are the same link to the first of them.
    fn find(&self, name: &[u8]) -> Result<&Part> {
        let part = match self.0.get(name) {
            Some(Part::Link(target)) => self.0.get(target),
            found => found,
        };
        part.ok_or_else(|| unreadable(format!("`{}` is not in it", String::from_utf8_lossy(name))))
    }

    /// The file of the layer `name`; none of one that is known.
    fn file(&self, name: &[u8]) -> Result<Option<PathBuf>> {
        Ok(match self.find(name)? {
            Part::File(path) => Some(path.clone()),
            Part::Known | Part::Link(_) => None,
        })
    }

    fn document(&self, name: &[u8]) -> Result<Vec<u8>> {
        let Part::File(path) = self.find(name)? else {
            let name = String::from_utf8_lossy(name);
            return Err(unreadable(format!("`{name}` is a layer")));
        };
        let size = fs_err::metadata(path)?.len();
        if size > MAX_DOCUMENT {
            return Err(unreadable(format!("a document of {size} bytes")));
        }
        Ok(fs_err::read(path)?)
    }
}

/// Where the link `target` in the file `name` leads to.
fn beside(name: &[u8], target: &[u8]) -> Vec<u8> {
    let mut path: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    path.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.join(&b'/')
}

fn check(expected: DiffId, actual: DiffId) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::WrongDiffId {
        layer: expected.digest(),
        expected,
        actual,
    })
}

fn unreadable(reason: String) -> Error {
    Error::Unsupported {
        what: "the image that the daemon handed out".to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tar_writer::{Meta, TarWriter};
    use crate::layer::{Entry, EntryKind, LayerOptions};
    use crate::layout::{ExportOptions, ExportTarget, export};

    struct Here {
        _folder: tempfile::TempDir,
        store: Store,
        layers: Vec<Layer>,
        archive: Vec<u8>,
    }

    /// An image of two layers, as a daemon would hand it out.
    fn saved() -> Here {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let layer = |name: &str| {
            let entry = Entry {
                path: name.into(),
                kind: EntryKind::Bytes(name.into()),
                mode: 0o644,
            };
            let options = LayerOptions::default();
            store.add_layer_from_entries(vec![entry], &options).unwrap()
        };
        let layers = vec![layer("low"), layer("high")];
        let mut config = ImageConfig::default();
        config.set_env("A", "b");
        let image = store.put_image("a:b", &config, &layers).unwrap();
        let path = folder.path().join("archive");
        let options = ExportOptions::default();
        export(&store, &image, ExportTarget::DockerArchive, &path, &options).unwrap();
        Here {
            archive: fs_err::read(path).unwrap(),
            _folder: folder,
            store,
            layers,
        }
    }

    #[test]
    fn new_layers_are_kept_and_known_ones_are_not() {
        let Here {
            _folder,
            store,
            layers,
            archive,
        } = saved();
        let saved = SavedImage::read(&store, archive.as_slice(), &layers[..1]).unwrap();
        assert_eq!(saved.config().env_value("A"), Some("b"));
        assert_eq!(saved.layer_count(), 2);
        let into = tempfile::tempdir().unwrap();
        saved.unpack(1, into.path()).unwrap();
        assert_eq!(fs_err::read(into.path().join("high")).unwrap(), b"high");
        assert!(saved.unpack(0, into.path()).is_err());
        let stored = saved.layers(&store, Compression::Zstd, 0).unwrap();
        assert_eq!(stored[0], layers[0]);
        assert_eq!(stored[1].diff_id, layers[1].diff_id);
        assert_eq!(stored[1].blob, layers[1].blob);
    }

    #[test]
    fn links_lead_from_where_they_are() {
        assert_eq!(beside(b"b/layer.tar", b"../a/layer.tar"), b"a/layer.tar");
        assert_eq!(beside(b"b", b"a"), b"a");
        assert_eq!(beside(b"b/c", b"../../../a"), b"a");
    }

    #[test]
    fn what_is_missing_or_another_is_told() {
        let Here {
            _folder,
            store,
            layers,
            archive,
        } = saved();
        let told = |archive: &[u8]| {
            let error = SavedImage::read(&store, archive, &[]).expect_err("it is broken");
            error.to_string()
        };
        assert!(told(&[]).contains("`manifest.json` is not in it"));
        assert!(told(&archive[..archive.len() / 2]).contains("it ends within"));
        // The name of one layer, the content of another one.
        let mut writer = TarWriter::new(Vec::new());
        let meta = Meta {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
        };
        let config = ImageConfig::default().to_document(&layers[..1]);
        let list = br#"[{"Config":"c","Layers":["l"]}]"#;
        for (name, content) in [
            (&b"l"[..], &b"no archive"[..]),
            (b"c", &config),
            (b"manifest.json", list),
        ] {
            writer.bytes(name, meta, content).unwrap();
        }
        let archive = writer.finish().unwrap();
        let saved = SavedImage::read(&store, archive.as_slice(), &[]).unwrap();
        let refused = saved.layers(&store, Compression::None, 1);
        assert!(
            matches!(refused, Err(Error::WrongDiffId { .. })),
            "{refused:?}"
        );
    }
}
