//! Which Debian package has a shared library that Python could not load.
//!
//! Wheels bring most of what they need, but count on some libraries of the system. Where one is missing, Python names
//! its file; people need the package.

/// What to do about the shared library that `text`, the output of a model or a tool, says is missing.
pub(super) fn advice(text: &str) -> Option<String> {
    let library = missing(text)?;
    let Some(package) = package(library) else {
        return Some(format!(
            "the system library `{library}` is missing: add the Debian package that has it to \
             `build.system_packages` in cog.yaml"
        ));
    };
    Some(format!(
        "the system library `{library}` is missing: add `{package}` to `build.system_packages` in cog.yaml"
    ))
}

/// What the dynamic loader says after the name of a library that it does not find.
const COMPLAINT: &str = ": cannot open shared object file";

/// The last library that is missing: what was tried before may have been done without.
fn missing(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once(COMPLAINT)?;
    let start = before
        .rfind(|character: char| character.is_whitespace() || "'\"(:/".contains(character))
        .map_or(0, |at| at + 1);
    let name = &before[start..];
    let is_library = name.contains(".so")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    is_library.then_some(name)
}

/// The package that has the library with this file name.
fn package(library: &str) -> Option<&'static str> {
    let found = PACKAGES.binary_search_by_key(&library, |(library, _)| library);
    found.ok().map(|at| PACKAGES[at].1)
}

/// Libraries that wheels count on, and the packages of Debian 12 and 13 that have them, sorted. Where the two differ
/// in the name alone (`libasound2` and `libasound2t64`), the older one is provided by the newer.
const PACKAGES: &[(&str, &str)] = &[
    ("libEGL.so.1", "libegl1"),
    ("libGL.so.1", "libgl1"),
    ("libGLESv2.so.2", "libgles2"),
    ("libGLU.so.1", "libglu1-mesa"),
    ("libGLX.so.0", "libglx0"),
    ("libGLdispatch.so.0", "libglvnd0"),
    ("libICE.so.6", "libice6"),
    ("libOSMesa.so.8", "libosmesa6"),
    ("libOpenGL.so.0", "libopengl0"),
    ("libSDL2-2.0.so.0", "libsdl2-2.0-0"),
    ("libSM.so.6", "libsm6"),
    ("libX11-xcb.so.1", "libx11-xcb1"),
    ("libX11.so.6", "libx11-6"),
    ("libXcomposite.so.1", "libxcomposite1"),
    ("libXcursor.so.1", "libxcursor1"),
    ("libXdamage.so.1", "libxdamage1"),
    ("libXext.so.6", "libxext6"),
    ("libXfixes.so.3", "libxfixes3"),
    ("libXft.so.2", "libxft2"),
    ("libXi.so.6", "libxi6"),
    ("libXinerama.so.1", "libxinerama1"),
    ("libXrandr.so.2", "libxrandr2"),
    ("libXrender.so.1", "libxrender1"),
    ("libXt.so.6", "libxt6"),
    ("libXtst.so.6", "libxtst6"),
    ("libXxf86vm.so.1", "libxxf86vm1"),
    ("libaio.so.1", "libaio1"),
    ("libasound.so.2", "libasound2"),
    ("libatk-1.0.so.0", "libatk1.0-0"),
    ("libatk-bridge-2.0.so.0", "libatk-bridge2.0-0"),
    ("libatlas.so.3", "libatlas3-base"),
    ("libblas.so.3", "libblas3"),
    ("libcairo.so.2", "libcairo2"),
    ("libcups.so.2", "libcups2"),
    ("libdbus-1.so.3", "libdbus-1-3"),
    ("libdrm.so.2", "libdrm2"),
    ("libespeak-ng.so.1", "libespeak-ng1"),
    ("libfontconfig.so.1", "libfontconfig1"),
    ("libfreetype.so.6", "libfreetype6"),
    ("libgbm.so.1", "libgbm1"),
    ("libgdk-3.so.0", "libgtk-3-0"),
    ("libgdk_pixbuf-2.0.so.0", "libgdk-pixbuf-2.0-0"),
    ("libgfortran.so.5", "libgfortran5"),
    ("libgio-2.0.so.0", "libglib2.0-0"),
    ("libglib-2.0.so.0", "libglib2.0-0"),
    ("libgobject-2.0.so.0", "libglib2.0-0"),
    ("libgomp.so.1", "libgomp1"),
    ("libgstreamer-1.0.so.0", "libgstreamer1.0-0"),
    ("libgthread-2.0.so.0", "libglib2.0-0"),
    ("libgtk-3.so.0", "libgtk-3-0"),
    ("libharfbuzz.so.0", "libharfbuzz0b"),
    ("libibverbs.so.1", "libibverbs1"),
    ("liblapack.so.3", "liblapack3"),
    ("libmagic.so.1", "libmagic1"),
    ("libmp3lame.so.0", "libmp3lame0"),
    ("libnspr4.so", "libnspr4"),
    ("libnss3.so", "libnss3"),
    ("libnuma.so.1", "libnuma1"),
    ("libopenblas.so.0", "libopenblas0"),
    ("libopenjp2.so.7", "libopenjp2-7"),
    ("libopus.so.0", "libopus0"),
    ("libpango-1.0.so.0", "libpango-1.0-0"),
    ("libpangocairo-1.0.so.0", "libpangocairo-1.0-0"),
    ("libpangoft2-1.0.so.0", "libpangoft2-1.0-0"),
    ("libpci.so.3", "libpci3"),
    ("libportaudio.so.2", "libportaudio2"),
    ("libpq.so.5", "libpq5"),
    ("libpulse.so.0", "libpulse0"),
    ("librdmacm.so.1", "librdmacm1"),
    ("libsndfile.so.1", "libsndfile1"),
    ("libsox.so.3", "libsox3"),
    ("libsqlite3.so.0", "libsqlite3-0"),
    ("libtk8.6.so", "libtk8.6"),
    ("libusb-1.0.so.0", "libusb-1.0-0"),
    ("libvulkan.so.1", "libvulkan1"),
    ("libwayland-client.so.0", "libwayland-client0"),
    ("libxcb-cursor.so.0", "libxcb-cursor0"),
    ("libxcb-icccm.so.4", "libxcb-icccm4"),
    ("libxcb-image.so.0", "libxcb-image0"),
    ("libxcb-keysyms.so.1", "libxcb-keysyms1"),
    ("libxcb-randr.so.0", "libxcb-randr0"),
    ("libxcb-render-util.so.0", "libxcb-render-util0"),
    ("libxcb-shape.so.0", "libxcb-shape0"),
    ("libxcb-xinerama.so.0", "libxcb-xinerama0"),
    ("libxcb-xkb.so.1", "libxcb-xkb1"),
    ("libxcb.so.1", "libxcb1"),
    ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
    ("libxkbcommon.so.0", "libxkbcommon0"),
    ("libxml2.so.2", "libxml2"),
    ("libxslt.so.1", "libxslt1.1"),
    ("libzmq.so.5", "libzmq5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_each_library_once() {
        assert!(PACKAGES.is_sorted_by(|(one, _), (other, _)| one < other));
    }

    #[test]
    fn the_package_of_a_missing_library_is_named() {
        let traceback = "Traceback (most recent call last):\n  File \"/src/run.py\", line 1, in <module>\n    \
            import cv2\nImportError: libGL.so.1: cannot open shared object file: No such file or directory\n";
        assert_eq!(
            advice(traceback).unwrap(),
            "the system library `libGL.so.1` is missing: add `libgl1` to `build.system_packages` in cog.yaml"
        );
        let table = [
            ("OSError: libsndfile.so.1", "`libsndfile1`"),
            (
                "OSError: cannot load library 'libportaudio.so.2'",
                "missing",
            ),
            (
                "OSError: dlopen: /usr/lib/libgthread-2.0.so.0",
                "`libglib2.0-0`",
            ),
            (
                "error while loading shared libraries: libgomp.so.1",
                "`libgomp1`",
            ),
            (
                "(libfoo-bar+1.so.7",
                "`libfoo-bar+1.so.7` is missing: add the Debian package",
            ),
        ];
        for (before, expected) in table {
            let text = format!("{before}{COMPLAINT}: No such file or directory");
            let Some(advice) = advice(&text) else {
                assert_eq!(expected, "missing", "{text}");
                continue;
            };
            assert!(advice.contains(expected), "{advice}");
        }
    }

    #[test]
    fn of_several_the_last_one_counts() {
        let text = "libSM.so.6: cannot open shared object file: x\nthen\n\
            libXext.so.6: cannot open shared object file: x";
        assert!(advice(text).unwrap().contains("`libxext6`"));
    }

    #[test]
    fn other_failures_get_no_such_advice() {
        for text in [
            "",
            "ModuleNotFoundError: No module named 'cv2'",
            ": cannot open shared object file",
            "/weights/model.bin: cannot open shared object file",
            "ünïcödé.so: cannot open shared object file",
        ] {
            assert_eq!(advice(text), None, "{text}");
        }
    }
}
