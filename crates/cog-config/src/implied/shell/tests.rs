use super::*;

fn programs(script: &str) -> Vec<String> {
    let commands = commands(script).into_iter();
    commands.map(|command| command.program).collect()
}

#[test]
fn programs_are_where_commands_begin() {
    for (script, expected) in [
        (
            "curl -o /x -L https://git/wget && chmod +x /x",
            "curl chmod",
        ),
        ("a; b & c | d || e\nf", "a b c d e f"),
        ("(a; b) && { c; }", "a b c"),
        ("if a; then b; elif c; then d; else e; fi", "a b c d e fi"),
        (
            "while a; do b; done; until ! c; do d; done",
            "a b done c d done",
        ),
        ("for x in git curl; do wget $x; done", "wget done"),
        ("A=1 B='x y' git clone x", "git"),
        ("export A=1 && git", "export git"),
        ("sudo -u me -E git; sudo git", "git git"),
        ("env -u X A=1 git", "git"),
        ("ls | xargs -n 1 -I {} git add {}", "ls git"),
        ("nice -n 10 timeout -k 1 30 git; time git", "git git"),
        ("/usr/bin/git x", "git"),
        ("echo 'git; curl' \"wget && a\"", "echo"),
        ("echo git # curl\nwget", "echo wget"),
        ("echo a#b; git", "echo git"),
        ("echo $(git log) `curl x` \"$(wget)\"", "git curl wget echo"),
        ("echo $((1 + (2))) ${A:-$(git)}; a", "echo a"),
        ("echo \"a \\\" $(git)\"", "git echo"),
        ("a > git; b 2>&1 >> curl < wget; c &> d", "a b c"),
        ("diff <(git a) <(curl b)", "git curl diff"),
        ("cat > $(git x); a", "git cat a"),
        ("bash -c 'ln -s {a,b}* /x && git x'", "ln git bash"),
        ("bash -lc \"git x\"; sh script.sh -c", "git bash sh"),
        ("sh -euxc 'a; b'", "a b sh"),
        ("eval 'git x' y", "git eval"),
        (
            "find . -name x -exec git add {} \\; -execdir bash b.sh \\;",
            "git bash find",
        ),
        ("a \\\n  git", "a"),
        ("git=1; c() { git; }; c", "c git } c"),
        ("case $x in a) git;; esac", "git esac"),
        ("\"git\" a; gi't' b; g\\it c", "git git git"),
        ("$GIT a; ${GIT} b", "$GIT $"),
        ("", ""),
        ("'unclosed", "unclosed"),
        ("$(", ""),
    ] {
        let expected: Vec<&str> = expected
            .split_whitespace()
            .filter(|word| *word != "}")
            .collect();
        assert_eq!(programs(script), expected, "{script}");
    }
}

#[test]
fn arguments_are_words() {
    let commands = commands("pip install 'a b' --x=\"$(y)z\" 2>/dev/null c");
    assert_eq!(
        commands.last().expect("one").arguments,
        ["install", "a b", "--x=z", "c"]
    );
}

#[test]
fn nesting_has_an_end() {
    let deep = "sh -c $(".repeat(5000);
    assert!(commands(&deep).len() < 20);
    assert!(programs(&"(".repeat(100_000)).is_empty());
}
