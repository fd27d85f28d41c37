use super::*;

#[test]
fn names_are_compared_as_written() {
    for (line, expected) in [
        ("torch==2.0.1", Some("torch")),
        ("torch [x]", Some("torch")),
        ("torch[x]==2", Some("torch[x]")),
        ("Torch", Some("Torch")),
        ("ruamel.yaml==0.17", Some("ruamel.yaml")),
        ("torch @ https://x/torch.whl", Some("torch")),
        ("--extra-index-url https://x", None),
        ("-f https://x", None),
        ("https://x/torch-1.whl", None),
        ("git+https://x/torch.git", None),
        ("torch==custom.whl", None),
        ("./torch.tar.gz", None),
        ("", None),
        ("[x", None),
        ("torch[x", Some("torch")),
    ] {
        assert_eq!(name(line), expected, "{line}");
    }
}

#[test]
fn a_version_is_what_follows_the_first_comparison() {
    for (line, expected) in [
        ("torch==2.0.1", "2.0.1"),
        ("torch == 2.0.1", "2.0.1"),
        ("torch>=2.0.1,<3", "2.0.1"),
        ("torch[x]~=2.0; python_version < '3.11'", "2.0"),
        ("torch===2.0", "2.0"),
        ("torch!=1|2", "1"),
        ("torch==1.12.1 --extra-index-url=https://x==y", "1.12.1"),
        ("torch (==2.0)", "2.0"),
        ("torch", ""),
        ("torch; python_version < '3.11'", ""),
        ("torch @ https://x/t.whl ; x", "https://x/t.whl"),
        ("torch==custom.whl", ""),
    ] {
        assert_eq!(found_version(line), expected, "{line}");
    }
}

#[test]
fn of_two_lines_the_one_with_a_version_counts() {
    let lines = ["torch", "torch[x]==1", "Torch==2", "torch==3"].map(str::to_owned);
    assert_eq!(version_of(&lines, "torch"), Some("3"));
    assert_eq!(version_of(&lines[..1], "torch"), Some(""));
    assert_eq!(version_of(&lines, "tensorflow"), None);
}

#[test]
fn an_exact_pin_is_one_equality() {
    for (line, pin) in [
        ("torch == 2.7.0", Some("2.7.0")),
        ("torch[opt]==2.7.0", Some("2.7.0")),
        ("torch==2.7.0 ; python_version >= '3.10'", Some("2.7.0")),
        ("torch==2.7.0+cu128", Some("2.7.0+cu128")),
        ("torch==2.7.0 --hash=sha256:00", Some("2.7.0")),
        ("torch (==2.7.0)", Some("2.7.0")),
        ("torch<2.7.0", None),
        ("torch>=2.7.0", None),
        ("torch~=2.7.0", None),
        ("torch!=2.7.0", None),
        ("torch==2.7.*", None),
        ("torch===2.7.0", None),
        ("torch==2.7.0,!=2.8", None),
        ("torch @ https://x/torch-2.7.0.whl", None),
        ("torch", None),
        ("torch==custom.whl", None),
        ("--extra-index-url https://x/?a==1", None),
    ] {
        assert_eq!(exact_pin(line).as_deref(), pin, "{line}");
    }
}

#[test]
fn places_to_look_are_taken_out_of_their_line() {
    let index = |url: &str| Source::Index(url.to_owned());
    let links = |url: &str| Source::Links(url.to_owned());
    for (line, rest, sources) in [
        (
            "a==1 --extra-index-url=https://x",
            "a==1",
            vec![index("https://x")],
        ),
        (
            "a==1  --extra-index-url https://x -f https://y --find-links=https://z ; m",
            "a==1 ; m",
            vec![index("https://x"), links("https://y"), links("https://z")],
        ),
        ("a==1 --hash=sha256:0", "a==1 --hash=sha256:0", vec![]),
        ("-f https://x", "-f https://x", vec![]),
        ("a==1 -f", "a==1 -f", vec![]),
        ("a  ==  1 ; x", "a  ==  1 ; x", vec![]),
        ("./a -f b.whl", "./a -f b.whl", vec![]),
    ] {
        assert_eq!(split_sources(line), (rest.to_owned(), sources), "{line}");
    }
}
