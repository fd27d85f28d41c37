//! Source distributions that give the same files whenever and wherever they are built.
//!
//! uv builds in folders with random names, and compilers write where they work into what they make: into debug
//! information, and wherever code has `__FILE__`. The compilers of a build container are therefore started through a
//! script that tells them to write a fixed name instead.

/// The first moment that a ZIP archive, which a wheel is, can express.
const OLDEST_DATE: i64 = 315_532_800;

/// Names by which builds start compilers.
const COMPILERS: [&str; 13] = [
    "cc",
    "gcc",
    "clang",
    "c++",
    "g++",
    "clang++",
    "gfortran",
    "x86_64-linux-gnu-gcc",
    "x86_64-linux-gnu-g++",
    "x86_64-linux-gnu-gfortran",
    "aarch64-linux-gnu-gcc",
    "aarch64-linux-gnu-g++",
    "aarch64-linux-gnu-gfortran",
];

/// Stands in for a compiler: it gets the real one's path first. The outermost folder called `src` is where uv unpacks
/// a source distribution. Debug information is left out: it has names of folders that tools make at random, and nobody
/// debugs these files in an image.
const WRAPPER: &str = r#"compiler=$1
shift
at=$PWD
source=
while [ "${at#"$cache"/}" != "$at" ]; do
    [ "${at##*/}" = src ] && source=$at
    at=${at%/*}
done
[ -z "$source" ] || set -- "$@" "-ffile-prefix-map=$source=/src"
for folder in "$cache"/builds-v*/.tmp*; do
    [ ! -d "$folder" ] || set -- "$@" "-ffile-prefix-map=$folder=/build"
done
exec "$compiler" "$@" -g0
"#;

/// Lines of a shell script that put such scripts first in PATH, in the new folder `bin`, for the compilers that there
/// are. uv's cache is the folder `cache`.
pub fn prelude(bin: &str, cache: &str) -> String {
    format!(
        "umask 022\n\
         mkdir -p {bin}\n\
         cat > {bin}/.wrapper <<'END_OF_WRAPPER'\n\
         cache={cache}\n\
         {WRAPPER}END_OF_WRAPPER\n\
         for name in {names}; do\n\
         if program=$(command -v \"$name\"); then\n\
         printf '#!/bin/sh\\nexec /bin/sh {bin}/.wrapper %s \"$@\"\\n' \"$program\" > \"{bin}/$name\"\n\
         chmod 755 \"{bin}/$name\"\n\
         fi\n\
         done\n\
         export PATH=\"{bin}:$PATH\"\n",
        names = COMPILERS.join(" "),
    )
}

/// The date of all that a build starts from, for files of an image that are dated `timestamp`.
pub fn date(timestamp: i64) -> i64 {
    timestamp.max(OLDEST_DATE)
}

/// Variables for builds; `timestamp` is the date of the image's files, in seconds since 1970.
pub fn environment(timestamp: i64) -> Vec<(String, String)> {
    let date = date(timestamp).to_string();
    [
        ("SOURCE_DATE_EPOCH", date.as_str()),
        ("ZERO_AR_DATE", "1"),
        // Generators of code go through sets of names.
        ("PYTHONHASHSEED", "0"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    /// What a compiler is told that is started in `folder` below the cache.
    fn arguments(root: &Path, folder: &str) -> Vec<String> {
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let real = root.join("real");
        fs_err::create_dir_all(&real).unwrap();
        fs_err::create_dir_all(root.join("cache").join(folder)).unwrap();
        let gcc = real.join("gcc");
        fs_err::write(&gcc, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        fs_err::set_permissions(&gcc, std::fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "set -e\n{}cd '{}'\ngcc 'a b.c' -c",
            prelude(&path("bin"), &path("cache")),
            path(&format!("cache/{folder}"))
        );
        let output = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", format!("{}:/usr/bin:/bin", real.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.replace(&path("cache"), "CACHE"))
            .collect()
    }

    #[test]
    fn compilers_write_fixed_names_for_random_folders() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            arguments(root.path(), "sdists-v9/pypi/srcx/1.0/Ab3_x/src/lib/src"),
            [
                "a b.c",
                "-c",
                "-ffile-prefix-map=CACHE/sdists-v9/pypi/srcx/1.0/Ab3_x/src=/src",
                "-g0"
            ]
        );
        fs_err::create_dir_all(root.path().join("cache/builds-v0/.tmpQ")).unwrap();
        assert_eq!(
            arguments(root.path(), "other"),
            [
                "a b.c",
                "-c",
                "-ffile-prefix-map=CACHE/builds-v0/.tmpQ=/build",
                "-g0"
            ]
        );
        assert!(root.path().join("bin/gcc").exists());
        assert!(!root.path().join("bin/aarch64-linux-gnu-gfortran").exists());
    }

    #[test]
    fn no_date_is_older_than_a_wheel_can_say() {
        assert_eq!(environment(0)[0].1, "315532800");
        assert_eq!(environment(1_700_000_000)[0].1, "1700000000");
    }
}
