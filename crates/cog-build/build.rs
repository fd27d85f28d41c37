//! Lists the SDK's source files, which become part of the program and, from there, of images.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .join("../../python/cog/src");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut code = String::from("pub(crate) const FILES: &[(&str, &[u8])] = &[\n");
    for file in &files {
        let name = file
            .strip_prefix(&root)
            .expect("it was found below the root")
            .display();
        let file = file.display();
        writeln!(code, "    (r\"{name}\", include_bytes!(r\"{file}\")),")
            .expect("strings take all");
    }
    code.push_str("];\n");
    let output = env::var("OUT_DIR").expect("cargo sets it");
    fs_err::write(Path::new(&output).join("sdk.rs"), code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = path.extension().unwrap_or_default();
        if path.is_dir() {
            if name != "__pycache__" && suffix != "egg-info" {
                collect(&path, files)?;
            }
        } else if suffix == "py" || suffix == "pyi" || name == "py.typed" {
            files.push(path);
        }
    }
    Ok(())
}
