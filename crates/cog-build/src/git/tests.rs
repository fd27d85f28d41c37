use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("git runs");
    assert!(status.success(), "git {arguments:?}");
}

fn read(folder: &Path) -> Revision {
    checkout(folder, |_| None).revision
}

/// A repository with a commit of two files and a tag.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    git(folder.path(), &["init", "-b", "main"]);
    for name in ["model.py", "weights.bin"] {
        fs_err::write(folder.path().join(name), "one\n").expect("written");
    }
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-m", "x"]);
    git(folder.path(), &["tag", "v1"]);
    folder
}

#[test]
fn the_environment_wins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let read = checkout(folder.path(), |name| match name {
        "GITHUB_SHA" => Some("fafafaf".to_owned()),
        _ => Some(String::new()),
    });
    assert_eq!(
        read.revision,
        Revision {
            commit: Some("fafafaf".to_owned()),
            description: None
        }
    );
}

#[test]
fn git_is_asked_in_a_repository() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let project = folder.path().join("models/one");
    fs_err::create_dir_all(&project).expect("created");
    git(folder.path(), &["init"]);
    assert_eq!(read(&project), Revision::default(), "no commit yet");
    git(folder.path(), &["commit", "--allow-empty", "-m", "x"]);
    git(folder.path(), &["tag", "v1"]);
    let found = read(&project);
    assert_eq!(found.commit.expect("there is a commit").len(), 40);
    assert_eq!(found.description.as_deref(), Some("v1"));
}

#[test]
fn changes_and_later_commits_show() {
    let folder = repository();
    let version = || read(folder.path()).description.expect("there is a tag");
    fs_err::write(folder.path().join("untracked"), "x").expect("written");
    assert_eq!(version(), "v1");
    fs_err::write(folder.path().join("model.py"), "two\n").expect("written");
    assert_eq!(version(), "v1-dirty");
    git(folder.path(), &["commit", "-am", "y"]);
    assert!(version().starts_with("v1-1-g"), "{}", version());
    fs_err::remove_file(folder.path().join("model.py")).expect("removed");
    assert!(version().ends_with("-dirty"), "{}", version());
}

#[test]
fn every_form_of_a_repository_is_read() {
    let folder = repository();
    let expected = read(folder.path());
    assert_eq!(expected.description.as_deref(), Some("v1"));
    // Packed, as after `git gc`.
    git(folder.path(), &["pack-refs", "--all"]);
    git(folder.path(), &["repack", "-ad"]);
    assert_eq!(read(folder.path()), expected);
    // A second work tree, whose `.git` is a file.
    let second = folder.path().join("second");
    git(
        folder.path(),
        &["worktree", "add", "--detach", "second", "v1"],
    );
    assert_eq!(read(&second), expected);
    // An index in two parts.
    git(folder.path(), &["update-index", "--split-index"]);
    assert_eq!(read(folder.path()), expected);
    // A shallow clone, which cannot know the tag's history.
    git(folder.path(), &["commit", "--allow-empty", "-m", "y"]);
    let url = format!("file://{}", folder.path().display());
    let clones = tempfile::tempdir().expect("a temporary folder");
    git(clones.path(), &["clone", "--depth", "1", &url, "shallow"]);
    let shallow = read(&clones.path().join("shallow"));
    assert_eq!(shallow.commit.map(|id| id.len()), Some(40));
    assert_eq!(shallow.description, None);
}

#[test]
fn hashes_may_be_longer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    git(folder.path(), &["init", "--object-format=sha256"]);
    git(folder.path(), &["commit", "--allow-empty", "-m", "x"]);
    assert_eq!(read(folder.path()).commit.map(|id| id.len()), Some(64));
}

/// Everything in a repository that can make Git run a program.
#[test]
fn nothing_of_the_repository_is_executed() {
    let submodule = repository();
    let folder = repository();
    let root = folder.path();
    let url = submodule.path().to_str().expect("UTF-8").to_owned();
    git(root, &["submodule", "add", &url, "sub"]);
    git(root, &["commit", "-m", "y"]);
    let marker = root.join("executed");
    let script = root.join(".git/planted");
    let program = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", marker.display());
    let plant = |path: &Path| {
        fs_err::write(path, &program).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(path, mode).expect("changed");
    };
    plant(&script);
    let planted = script.to_str().expect("UTF-8");
    for repository in [".git", ".git/modules/sub"] {
        let hooks = root.join(repository).join("hooks");
        fs_err::create_dir_all(&hooks).expect("created");
        for hook in [
            "post-index-change",
            "fsmonitor-watchman",
            "reference-transaction",
            "pre-auto-gc",
        ] {
            plant(&hooks.join(hook));
        }
        let config = format!(
            "\n[core]\n\tfsmonitor = {planted}\n\thooksPath = {hooks}\n\tsshCommand = {planted}\n\tpager = {planted}\n\
             \teditor = {planted}\n\taskPass = {planted}\n\talternateRefsCommand = {planted}\n\tgitProxy = {planted}\n\
             [filter \"x\"]\n\tclean = {planted}\n\tsmudge = {planted}\n\tprocess = {planted}\n\trequired = true\n\
             [diff]\n\texternal = {planted}\n[diff \"x\"]\n\ttextconv = {planted}\n\tcommand = {planted}\n\
             [alias]\n\tdescribe = !{planted}\n\tstatus = !{planted}\n\trev-parse = !{planted}\n\
             [gpg]\n\tprogram = {planted}\n[credential]\n\thelper = {planted}\n[pager]\n\tstatus = {planted}\n\
             [extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\turl = ext::{planted}\n\tpromisor = true\n\
             \tuploadpack = {planted}\n[include]\n\tpath = more\n[submodule]\n\trecurse = true\n[status]\n\
             \tsubmoduleSummary = true\n",
            hooks = hooks.display(),
        );
        let file = root.join(repository).join("config");
        let own = fs_err::read_to_string(&file).expect("readable");
        fs_err::write(&file, own + &config).expect("written");
        let more = format!("[core]\n\tfsmonitor = {planted}\n");
        fs_err::write(root.join(repository).join("more"), more).expect("written");
    }
    for tree in [root.to_owned(), root.join("sub")] {
        fs_err::write(tree.join(".gitattributes"), "* filter=x diff=x\n").expect("written");
        // With the same size and another time, it has to be read to be compared.
        fs_err::write(tree.join("model.py"), "two\n").expect("written");
        fs_err::write(tree.join("weights.bin"), "one\n").expect("written");
    }
    // The trap works: an ordinary call runs what was planted.
    let _ = Command::new("git")
        .args(["status", "--porcelain"])
        .current_dir(root)
        .output();
    assert!(
        marker.exists(),
        "the planted programs are run by Git itself"
    );
    fs_err::remove_file(&marker).expect("removed");
    let found = read(root);
    let said = fs_err::read_to_string(&marker).unwrap_or_default();
    assert_eq!(said, "", "something was executed");
    assert_eq!(found.commit.map(|id| id.len()), Some(40));
    assert!(
        found
            .description
            .expect("there is a tag")
            .ends_with("-dirty")
    );
    // Missing objects are not fetched.
    let objects = root.join(".git/objects");
    fs_err::rename(&objects, root.join(".git/gone")).expect("renamed");
    fs_err::create_dir(&objects).expect("created");
    read(root);
    assert!(!marker.exists());
}

#[test]
fn a_repository_that_is_nonsense_says_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let git = folder.path().join(".git");
    fs_err::write(&git, "gitdir: /proc/self/root").expect("written");
    assert_eq!(read(folder.path()), Revision::default());
    fs_err::write(&git, "gitdir: nowhere").expect("written");
    assert_eq!(read(folder.path()), Revision::default());
    fs_err::remove_file(&git).expect("removed");
    fs_err::create_dir(&git).expect("created");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        git.join("HEAD"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("made");
    assert_eq!(read(folder.path()), Revision::default());
}

#[test]
fn only_a_clean_checkout_has_a_date() {
    let folder = repository();
    let date = || checkout(folder.path(), |_| None).date;
    let commit = [
        "commit",
        "--allow-empty",
        "-m",
        "y",
        "--date=2001-01-01T00:00:00Z",
    ];
    git(folder.path(), &commit);
    let made = date().expect("it is clean");
    assert!(
        made > 1_500_000_000,
        "the commit's date, not the author's: {made}"
    );
    // The workflow's names say nothing of the date.
    let named = checkout(folder.path(), |_| Some("x".to_owned()));
    assert_eq!(named.date, Some(made));
    fs_err::write(folder.path().join("model.py"), "two\n").expect("written");
    assert_eq!(date(), None);
}

/// What programs that stand in for filters are called, and what they do.
const FILTERS: [(&str, &str); 2] = [
    ("upper", "tr a-z A-Z"),
    (
        "lfs",
        "cat > $0.file; printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n' \
         $(sha256sum < $0.file | cut -d' ' -f1) $(wc -c < $0.file)",
    ),
];

/// A repository with the filters, in whose configuration they are, and a commit of files that go through them. Its index
/// does not know the files, as where they were copied.
fn filtered() -> tempfile::TempDir {
    let folder = repository();
    let root = folder.path();
    for (name, script) in FILTERS {
        let program = root.join(".git").join(name);
        let text = format!("#!/bin/sh\ntouch $0.executed\n{script}\n");
        fs_err::write(&program, text).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(&program, mode).expect("changed");
        let program = program.to_str().expect("UTF-8");
        git(root, &["config", &format!("filter.{name}.clean"), program]);
    }
    let attributes = "*.up filter=upper\n*.bin filter=lfs\n*.odd filter=none\n";
    for (name, text) in [
        (".gitattributes", attributes),
        ("text.up", "text\n"),
        ("weights.bin", "weights\n"),
        ("plain.odd", "plain\n"),
    ] {
        fs_err::write(root.join(name), text).expect("written");
    }
    git(root, &["add", "."]);
    git(root, &["commit", "-m", "y"]);
    git(root, &["tag", "v2"]);
    for (name, _) in FILTERS {
        let marker = root.join(".git").join(format!("{name}.executed"));
        fs_err::remove_file(marker).expect("it was run");
    }
    for name in ["text.up", "weights.bin", "plain.odd", "model.py"] {
        make_old(&root.join(name));
    }
    folder
}

fn make_old(path: &Path) {
    let file = fs_err::File::open(path).expect("it is there");
    let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    file.file().set_times(times).expect("changed");
}

#[test]
fn what_goes_through_a_filter_has_not_changed_for_that() {
    let folder = filtered();
    let root = folder.path();
    let version = || {
        let found = checkout(root, |_| None);
        let version = found.revision.description.expect("there is a tag");
        assert_eq!(found.date.is_some(), !version.ends_with("-dirty"));
        version
    };
    let with = |name: &str, text: &str| {
        let before = fs_err::read(root.join(name)).expect("it is there");
        fs_err::write(root.join(name), text).expect("written");
        let version = version();
        fs_err::write(root.join(name), before).expect("written");
        version
    };
    assert_eq!(version(), "v2");
    // The size is the same.
    assert_eq!(with("weights.bin", "WEIGHTS\n"), "v2-dirty");
    assert_eq!(with("weights.bin", "more weights\n"), "v2-dirty");
    assert_eq!(with("plain.odd", "PLAIN\n"), "v2-dirty");
    assert_eq!(with("model.py", "two\n"), "v2-dirty");
    // What the filter would make of it is not known.
    assert_eq!(with("text.up", "other\n"), "v2");
    assert_eq!(version(), "v2");

    let mode = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(root.join("text.up"), mode).expect("changed");
    assert_eq!(version(), "v2-dirty");
    for (name, _) in FILTERS {
        let marker = root.join(".git").join(format!("{name}.executed"));
        assert!(!marker.exists(), "{name} was executed");
    }
}

#[test]
fn the_users_own_settings_count() {
    let folder = filtered();
    let root = folder.path();
    let home = tempfile::tempdir().expect("a temporary folder");
    let variable = |name: &str| {
        let home = home.path().to_str().expect("UTF-8");
        (name == "HOME").then(|| home.to_owned())
    };
    let version = || checkout(root, variable).revision.description;
    // As it is where it was checked out with this setting, and copied.
    fs_err::remove_file(root.join("model.py")).expect("removed");
    git(root, &["-c", "core.autocrlf=true", "checkout", "model.py"]);
    let text = fs_err::read_to_string(root.join("model.py")).expect("it is there");
    assert_eq!(text, "one\r\n");
    make_old(&root.join("model.py"));
    fs_err::write(root.join("plain.odd"), "other\n").expect("written");
    assert_eq!(version().as_deref(), Some("v2-dirty"));
    let more = "[core]\n\tautocrlf = true\n\tattributesFile = ~/mine\n\tfsmonitor = false\n";
    fs_err::write(home.path().join("more"), more).expect("written");
    let config = "[include]\n\tpath = more\n[filter \"none\"]\n\tprocess = false\n";
    fs_err::write(home.path().join(".gitconfig"), config).expect("written");
    assert_eq!(version().as_deref(), Some("v2"));

    fs_err::write(root.join("model.py"), "two\n").expect("written");
    assert_eq!(version().as_deref(), Some("v2-dirty"));
    fs_err::write(home.path().join("mine"), "model.py filter=none\n").expect("written");
    assert_eq!(version().as_deref(), Some("v2"));
}

#[test]
fn what_takes_too_long_is_left_out_and_told() {
    let folder = filtered();
    let found = checkout_within(Duration::ZERO, folder.path(), |_| None);
    assert_eq!((found.revision.description, found.date), (None, None));
    assert!(found.took_too_long);
    assert!(!checkout(folder.path(), |_| None).took_too_long);
    let nowhere = tempfile::tempdir().expect("a temporary folder");
    assert!(!checkout_within(Duration::ZERO, nowhere.path(), |_| None).took_too_long);
}
